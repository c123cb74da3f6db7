"""How a kernel is launched: plain numbers, neither torch nor CuPy.

Every size is an argument of the kernels, so a new batch, map, channel count or group count compiles nothing.

A block computes a tile of pixels for a slice of the channels: whole groups, or a part of one wide group. Its threads
are (channel vector, strip of neighbouring pixels, row or pair of rows). The kernel values of the tile lie in shared
memory, which bounds the tile; among the tiles that fit, the one that should take the least time is taken.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from invnas.ops.cuda.banks import pad
from invnas.ops.cuda.variant import KERNELS, SIZE, Variant, choose, variants

if TYPE_CHECKING:
    from invnas.ops.geometry import Window

__all__ = ["FIELDS", "KERNELS", "Launch", "Variant", "plan", "source", "variants"]

_THREADS = 256  # in a block; the text has the same number
_LANES = 16  # most channel vectors of a slice, where groups are narrower
_MATRIX_GROUPS = 4  # of a slice for the matrix unit: more leave fewer rows to share what is loaded
_SHARED = 48 * 1024  # what every device grants a block without asking

# The device that tiles are chosen for: multiprocessors, and the shared memory and the warps of 128 registers a thread
# that one of them holds.
_PROCESSORS, _PROCESSOR_SHARED, _PROCESSOR_WARPS = 132, 228 * 1024, 16

_TEXT = tuple("types.cuh tile.cuh forward.cuh grad_input.cuh grad_kernels.cuh grad_matrix.cuh involution.cu".split())

# struct Sizes, in this order.
FIELDS = tuple(
    "batch channels groups group_channels in_height in_width out_height out_width kernel_size stride dilation padding "
    "slices slice_groups parts group_lanes tiles_x tiles_y tile_rows "
    "word pixel_pitch strip_pitch staged tap_step".split()
)


@dataclass(frozen=True)
class Launch:
    """One launch: what is called, by how many threads, with which numbers.

    Attributes:
        variant: What is called.
        grid: Blocks.
        block: Threads of a block.
        shared_bytes: Shared memory of a block.
        sizes: The int64 fields of `struct Sizes`, named by FIELDS.
    """

    variant: Variant
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    shared_bytes: int
    sizes: tuple[int, ...]


@functools.cache
def source() -> str:
    """Return the text of the kernels, in one piece."""
    folder = Path(__file__).parent
    return "".join((folder / name).read_text() for name in _TEXT)


@functools.lru_cache(maxsize=1024)
def plan(
    kernel: str,
    dtype: str,
    batch: int,
    channels: int,
    groups: int,
    size: tuple[int, int],
    out: tuple[int, int],
    window: Window,
    alignment: int,
    shared_limit: int = _SHARED,
) -> Launch:
    """Return how one call is launched.

    Args:
        kernel: "forward", "grad_input", "grad_kernels" or "folded".
        dtype: "float32", "float64", "float16" or "bfloat16".
        batch: Images, at least 1.
        channels: C, a multiple of `groups`.
        groups: G.
        size: (H, W) of the input, at least 1 x 1.
        out: (H', W') of the output, at least 1 x 1.
        window: K, stride, dilation, padding.
        alignment: Largest power of two that divides every address, at least the size of an element; 16 is enough.
        shared_limit: Bytes of shared memory a block may have.
    """
    variant = choose(kernel, dtype, channels // groups, window, alignment)
    case = _Case(variant, batch, channels, groups, size, out, window, min(alignment, 16), shared_limit)
    return case.launch()


@dataclass(frozen=True)
class _Slice:
    """Which channels a block computes: whole groups, or a part of one group that is wider than a slice."""

    groups: int
    parts: int
    group_lanes: int  # threads that share a group

    @property
    def lanes(self) -> int:
        return self.groups * self.group_lanes


@dataclass(frozen=True)
class _Tile:
    slice: _Slice
    strips: int
    rows: int  # of threads
    height: int  # rows of pixels
    word: int = 1  # bytes of one copy between global and shared memory
    pixel_pitch: int = 0  # elements from pixel to pixel in shared memory, and from strip to strip
    strip_pitch: int = 0
    shared_bytes: int = 0

    @property
    def staged(self) -> bool:
        return self.shared_bytes > 0


@dataclass(frozen=True)
class _Case:
    variant: Variant
    batch: int
    channels: int
    groups: int
    size: tuple[int, int]
    out: tuple[int, int]
    window: Window
    alignment: int
    shared_limit: int

    @property
    def walks(self) -> bool:
        """Whether the rows of threads walk down the map together."""
        return self.variant.kernel == "grad_input" and self.variant.kernel_size > 0

    @property
    def map(self) -> tuple[int, int]:
        """Sides of the map that is cut into tiles."""
        return self.size if self.variant.kernel == "grad_input" else self.out

    def launch(self) -> Launch:
        variant = self.variant
        if variant.kernel_size == 0 and variant.kernel == "grad_kernels":  # one kernel value a thread
            elements = self.batch * math.prod(self.out) * self.groups * self.window.taps
            return self._launch((math.ceil(elements / _THREADS), 1, 1), (_THREADS, 1, 1), (0,) * 11, 0)
        tile = self._best()
        if variant.kernel_size and not tile.staged:  # only the other form can do without shared memory
            return replace(self, variant=replace(variant, kernel_size=0, stride=0)).launch()
        cut = tile.slice
        across, down = math.ceil(self.map[1] / (tile.strips * self.variant.strip)), math.ceil(self.map[0] / tile.height)
        slices = self._slice_count(cut)
        numbers = (slices, cut.groups, cut.parts, cut.group_lanes, across, down, tile.height)
        shared = (tile.word, tile.pixel_pitch, tile.strip_pitch, int(tile.staged))
        blocks = slices * across * down * self.batch
        return self._launch((blocks, 1, 1), (cut.lanes, tile.strips, tile.rows), numbers + shared, tile.shared_bytes)

    def _launch(
        self, grid: tuple[int, int, int], block: tuple[int, int, int], numbers: tuple[int, ...], shared_bytes: int
    ) -> Launch:
        window = self.window
        geometry = (window.kernel_size, window.stride, window.dilation, window.padding)
        shapes = (
            self.batch,
            self.channels,
            self.groups,
            self.channels // self.groups,
            *self.size,
            *self.out,
            *geometry,
        )
        step = window.stride // math.gcd(window.stride, window.dilation)
        return Launch(self.variant, grid, block, shared_bytes, (*shapes, *numbers, step))

    def _best(self) -> _Tile:
        """Return the cheapest tile, of very narrow slices only where the kernel values of others do not fit."""
        tiles: list[_Tile] = []
        for cut in self._slices():
            if tiles and cut.lanes < _LANES // 2:
                break
            fitted = (self._fitted(cut, *shape) for shape in self._shapes(cut))
            tiles += [tile for tile in fitted if tile.shared_bytes <= self.shared_limit]
        return min(tiles or (_Tile(cut, *shape) for shape in self._shapes(cut)), key=self._cost)

    def _slice_count(self, cut: _Slice) -> int:
        return self.groups * cut.parts if cut.parts > 1 else math.ceil(self.groups / cut.groups)

    def _slices(self) -> Iterator[_Slice]:
        """Return slices from the wanted width down to one group."""
        vectors = self.channels // self.groups // self.variant.vector
        if self.variant.kind == "matrix":
            lanes, parts = 32, 1
        elif self.variant.kernel == "grad_kernels":
            lanes, parts = math.gcd(vectors, self.variant.strip), 1
        else:
            parts = math.ceil(vectors / 32)
            lanes = math.ceil(vectors / parts)
        wanted = _MATRIX_GROUPS if self.variant.kind == "matrix" else max(1, _LANES // lanes)
        wanted = math.ceil(self.groups / math.ceil(self.groups / wanted))  # no slice much emptier than the others
        while wanted:
            yield _Slice(wanted, parts, lanes)
            wanted //= 2

    def _shapes(self, cut: _Slice) -> Iterator[tuple[int, int, int]]:
        """Return strips, rows of threads and rows of pixels of every tile worth a thought."""
        strips, held = math.ceil(self.map[1] / self.variant.strip), self.variant.strip_rows
        if self.variant.kind == "matrix":  # a warp takes a pair of rows, then the next that no other warp has
            pairs = math.ceil(min(self.map[0], 64) / 2)
            for count in range(1, min(_THREADS // cut.lanes, strips) + 1):
                for rows in range(1, min(_THREADS // cut.lanes // count, pairs) + 1):
                    yield from ((count, rows, 2 * rows * steps) for steps in range(1, math.ceil(pairs / rows) + 1))
            return
        if self.walks:  # as many rows of threads as hold all rows in reach of one
            rows = (self.variant.kernel_size + 1) // held
            most = max(1, _THREADS // (cut.lanes * rows))
            for height in sorted({min(side, self.map[0]) for side in (4, 8, 14, 16, 28, 32, 56)}):
                yield from ((count, rows, height) for count in range(1, min(most, strips) + 1))
            return
        for count in range(1, min(_THREADS // cut.lanes, strips, 64) + 1):
            for rows in range(1, min(_THREADS // cut.lanes // count, math.ceil(self.map[0] / held), 64) + 1):
                yield count, rows, rows * held

    def _fitted(self, cut: _Slice, strips: int, rows: int, height: int) -> _Tile:
        """Return a tile with its room in shared memory."""
        variant, taps = self.variant, self.window.taps
        if variant.kernel == "grad_input" and not self.walks:
            return _Tile(cut, strips, rows, height)
        size = SIZE[variant.dtype]
        chunk = cut.groups * taps
        if variant.kind == "matrix":  # 8 pixels write 8 taps each at once: to other banks at odd multiples of 16 bytes
            word = math.gcd(self.alignment, self.groups * taps * size, chunk * size, 16)
            pitch = chunk + (8 - chunk) % 16
            room = strips * height * variant.strip * pitch * size
            return _Tile(cut, strips, rows, height, word, pitch, variant.strip * pitch, room)
        word = math.gcd(self.alignment, self.groups * taps * size, chunk * size, 16)
        strip = variant.strip * chunk
        skipped = 0 if self.walks else (variant.strip_rows - 1) * strips  # strips from a thread's row to the next one's
        pitch = strip + pad(size, word, cut.lanes, cut.group_lanes, taps, strip, min(strips, 32), min(skipped, 32))
        if self.walks:  # two rows of the output, with what the windows of the last strip reach beyond it
            count = 2 * math.ceil((strips * variant.strip + variant.kernel_size - 1) / variant.strip)
        else:
            count = strips * height
        return _Tile(cut, strips, rows, height, word, chunk, pitch, count * pitch * size)

    def _cost(self, tile: _Tile) -> float:
        """Return about the time of one element of the result, in units of one byte passing the L2 cache."""
        K, stride, (height, width) = self.window.kernel_size, self.window.stride, self.map
        across, lanes = tile.strips * self.variant.strip, tile.slice.lanes
        pixels = tile.height * across
        tiles = math.ceil(height / tile.height) * math.ceil(width / across)
        waste = tiles * pixels / (height * width)
        kernels = self.window.taps * self.groups / self.channels
        reach = min((tile.height - 1) * stride + K, self.size[0]) * min((across - 1) * stride + K, self.size[1])
        halo = reach / min(pixels, height * width)
        moved = (1 + kernels) * halo + 1 if self.walks else halo + kernels + 1
        # A multiply-add of a thread, with all that it needs, is issued in the time of 0.3 bytes, a warp's copy of a
        # pixel's kernel values in that of 200. Pairs of rows are at different tap rows: a warp issues for each pair.
        alike = lanes * tile.strips * (1 if self.variant.strip_rows > 1 else tile.rows)
        adds = 0.3 * self.window.taps / _full_warps(alike)
        copies = tile.staged * 200 / (lanes * self.variant.vector) * (halo if self.walks else 1)
        blocks = tiles * self.batch * self._slice_count(tile.slice)
        return (moved * SIZE[self.variant.dtype] + adds + copies) * waste * self._slowness(tile, blocks)

    def _slowness(self, tile: _Tile, blocks: int) -> float:
        """Return how much longer it takes than with every multiprocessor busy all the time."""
        warps, most = math.ceil(tile.slice.lanes * tile.strips * tile.rows / 32), math.ceil(blocks / _PROCESSORS)
        held = max(1, min(most, _PROCESSOR_SHARED // (tile.shared_bytes + 1024), _PROCESSOR_WARPS // warps))
        active: float = held * warps
        if self.walks:  # rows of threads begin one after another, and end so; at every row a block waits for its last
            active *= tile.height / (tile.height + self.window.kernel_size - 1) * held / (held + 0.5)
        return (1 + 4 / active) * most / (blocks / _PROCESSORS)


def _full_warps(threads: int) -> float:
    return threads / 32 / math.ceil(threads / 32)
