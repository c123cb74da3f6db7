"""Involution as products of matrices: the kernels of a few positions beside each other are a band in a matrix.

T positions of a row meet K rows of L pixels, L = (T - 1) * stride + dilation * (K - 1) + 1. Their kernels are a matrix
(T, K * L), a tap of position t being `stride` columns further right than that of position t - 1, and their results its
product with the pixels (K * L, C / G). The multiply-adds are L / K as many or more, but those of a product of matrices.

The band costs nothing to shift. The kernels are made positions first with a zero for every pixel that no tap meets and
`stride` zeros more, by weights that hold these zeros: rows of K * L + stride numbers. Read as one row after the other
and taken as rows of K * L, each starts `stride` numbers earlier in its kernel than the one before it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import gcd

from invnas.export.onnx_steps import Geometry, Steps

#: Numbers of one image that a step may hold: 1 MB, what a second-level cache takes.
STEP = 1 << 18

#: As many parts of a map are done one after the other, even if a part is larger than STEP then.
MOST_PARTS = 64

#: On maps of more positions than these, products whose channels times K are no more than LEAST_WIDTH are too narrow.
FEW_POSITIONS, LEAST_WIDTH = 64, 32

#: Up to so many channels of the map that the kernels are made from, its product with weights that hold the zeros takes
#: less time than a convolution without them whose result is laid out anew.
MOST_HIDDEN = 16


def suits(geometry: Geometry) -> bool:
    """Tell whether this form is the fastest that is known for a shape."""
    K = geometry.window.kernel_size
    if geometry.size is None or K == 1:
        return False
    height, width = geometry.out
    return height * width <= FEW_POSITIONS or geometry.channels // geometry.groups * K > LEAST_WIDTH


@dataclass(frozen=True)
class _Tiles:
    """How a map is cut: each row into tiles of T positions, and groups and rows into parts that fit a cache."""

    geometry: Geometry

    @property
    def positions(self) -> int:
        """T: of 4 to 8 that for which the tiles reach least beyond the row, and of these the largest."""
        width = self.geometry.out[1]
        return min(range(min(8, width), min(4, width) - 1, -1), key=lambda many: -(-width // many) * many)

    @property
    def across(self) -> int:
        """Tiles of a row."""
        return -(-self.geometry.out[1] // self.positions)

    @property
    def pixels(self) -> int:
        """L, of the map under a tile."""
        window = self.geometry.window
        return (self.positions - 1) * window.stride + window.dilation * (window.kernel_size - 1) + 1

    @property
    def taps(self) -> list[int]:
        """The tap of each number of a row of the matrix, K * K where there is none."""
        window, K = self.geometry.window, self.geometry.window.kernel_size
        of = {v * window.dilation: v for v in range(K)}
        met = [u * K + of[x] if x in of else K * K for u in range(K) for x in range(self.pixels)]
        return met + [K * K] * window.stride

    def meeting(self, steps: Steps, groups: range, rows: range) -> str:
        """Return where the K rows that each tile meets are in `_pixels`: (groups, rows, tiles, K)."""
        window, across = self.geometry.window, self.across
        assert self.geometry.size is not None
        group = (self.geometry.size[0] + 2 * window.padding) * across
        return steps.sums(
            [index * group for index in groups],
            [index * window.stride * across for index in rows],
            range(across),
            [index * window.dilation * across for index in range(window.kernel_size)],
        )

    def split(self, steps: Steps, value: str, axis: int) -> dict[int, str]:
        """Return the parts of a value along its positions, by the first row of each."""
        rows = sorted({(part.start, len(part)) for _, part in self.parts()})
        sizes = [count * self.across * self.positions for _, count in rows]
        return dict(zip((start for start, _ in rows), steps.split(value, axis, sizes), strict=True))

    def parts(self) -> list[tuple[range, range]]:
        """Return (groups, rows of positions) of each part, in the order of the result: several of one of the two."""
        at, height = self.geometry, self.geometry.out[0]
        pixels = at.window.kernel_size * self.pixels * at.channels // at.groups
        row = self.across * (self.positions * len(self.taps) + pixels)
        groups = max(1, -(-at.groups // MOST_PARTS), STEP // (row * height))
        rows = height if groups > 1 else min(height, max(-(-height // (MOST_PARTS // at.groups)), STEP // row, 1))
        return [
            (range(group, min(group + groups, at.groups)), range(first, min(first + rows, height)))
            for group in range(0, at.groups, groups)
            for first in range(0, height, rows)
        ]


def band(steps: Steps, geometry: Geometry) -> str:
    """Return the involution; the kernels are made within where the node has the weights for that."""
    tiles, (height, width), K = _Tiles(geometry), geometry.out, geometry.window.kernel_size
    T, across, channels = tiles.positions, tiles.across, geometry.channels // geometry.groups
    numbers, row = K * tiles.pixels, len(tiles.taps)
    direct = geometry.hidden is not None and geometry.hidden <= MOST_HIDDEN
    rows_of_kernels, map = (_from_hidden if direct else _from_kernels)(steps, tiles), _pixels(steps, tiles)
    results = []
    for groups, rows in tiles.parts():
        part = (0, len(groups), len(rows), across)
        matrices = steps("Reshape", rows_of_kernels(groups, rows), steps.ints(*part, T * row))
        matrices = steps("Slice", matrices, steps.ints(0), steps.ints(T * numbers), steps.ints(4))
        matrices = steps("Reshape", matrices, steps.ints(*part, T, numbers))
        pixels = steps("Gather", map, tiles.meeting(steps, groups, rows), axis=1)
        pixels = steps("Reshape", pixels, steps.ints(*part, numbers, channels))
        places = len(groups) * len(rows) * across * T
        results.append(steps("Reshape", steps("MatMul", matrices, pixels), steps.ints(0, places, channels)))
    whole = steps("Concat", *results, axis=1) if len(results) > 1 else results[0]
    whole = steps("Reshape", whole, steps.ints(0, geometry.groups, height * across * T, channels))
    whole = steps("Transpose", whole, perm=[0, 1, 3, 2])
    whole = steps("Reshape", whole, steps.ints(0, geometry.channels, height, across * T))
    return steps("Slice", whole, steps.ints(0), steps.ints(width), steps.ints(3)) if across * T > width else whole


def _pixels(steps: Steps, tiles: _Tiles) -> str:
    """Return what each tile of a row meets of each row of the padded map: (B, G * rows * tiles, L * C / G)."""
    geometry, window, L = tiles.geometry, tiles.geometry.window, tiles.pixels
    assert geometry.size is not None
    p, groups, (height, width) = window.padding, geometry.groups, geometry.size
    channels, step = geometry.channels // groups, tiles.positions * window.stride
    block = gcd(step, L) if tiles.across > 1 else L  # pixels that are always met together
    full = -(-max((tiles.across - 1) * step + L, width + 2 * p) // block)
    map = steps("Reshape", "input", steps.ints(0, groups, channels, height * width))
    map = steps("Reshape", steps("Transpose", map, perm=[0, 1, 3, 2]), steps.ints(0, groups, height, width * channels))
    right = full * block - width - p
    if right:
        map = steps("Pad", map, steps.ints(0, 0, p, p * channels, 0, 0, p, right * channels))
    if full * block > L:
        map = steps("Reshape", map, steps.ints(0, groups, height + 2 * p, full, block * channels))
        starts = [index * step // block for index in range(tiles.across)]
        map = steps("Gather", map, steps.sums(starts, range(L // block)), axis=3)
    return steps("Reshape", map, steps.ints(0, groups * (height + 2 * p) * tiles.across, L * channels))


#: Gives the kernels of some groups at some rows, a row for each position.
_Rows = Callable[[range, range], str]


def _from_hidden(steps: Steps, tiles: _Tiles) -> _Rows:
    """Make them by weights that hold the zeros; their last channel is one, and its weights the bias."""
    geometry, hidden, across = tiles.geometry, tiles.geometry.hidden, tiles.across * tiles.positions
    assert hidden is not None
    height, width = geometry.out
    bias = steps("Reshape", "span_bias", steps.ints(geometry.groups, 1, geometry.window.taps))
    weights = steps("Pad", steps("Concat", "span", bias, axis=1), steps.ints(0, 0, 0, 0, 0, 1))
    weights = steps("Gather", weights, steps.ints(*tiles.taps), axis=2)
    one = steps("CastLike", steps("Constant", value_float=1.0), "span")
    map = steps("Pad", "kernels", steps.ints(0, 0, 0, 0, 0, 1, 0, across - width), one)
    map = steps("Transpose", steps("Reshape", map, steps.ints(0, hidden + 1, height * across)), perm=[0, 2, 1])
    places = tiles.split(steps, steps("Unsqueeze", map, steps.ints(1)), 2)

    def rows_of(groups: range, rows: range) -> str:
        of = steps("Slice", weights, steps.ints(groups.start), steps.ints(groups.stop), steps.ints(0))
        return steps("MatMul", places[rows.start], of)

    return rows_of


def _from_kernels(steps: Steps, tiles: _Tiles) -> _Rows:
    """Lay them out from a map of them, with a tap of zeros beside the others of a group."""
    geometry, taps, (height, width) = tiles.geometry, tiles.geometry.window.taps, tiles.geometry.out
    across, beyond = tiles.across * tiles.positions, tiles.across * tiles.positions - width
    if geometry.hidden is None:
        map = steps("Reshape", "kernels", steps.ints(0, geometry.groups, taps, height, width))
        map = steps("Pad", map, steps.ints(0, 0, 0, 0, 0, 0, 0, 1, 0, beyond))
    else:
        weights = steps("Pad", steps("Transpose", "span", perm=[0, 2, 1]), steps.ints(0, 0, 0, 0, 1, 0))
        weights = steps("Reshape", weights, steps.ints(-1, geometry.hidden, 1, 1))
        bias = steps("Pad", steps("Reshape", "span_bias", steps.ints(-1, taps)), steps.ints(0, 0, 0, 1))
        map = steps("Pad", "kernels", steps.ints(0, 0, 0, 0, 0, 0, 0, beyond)) if beyond else "kernels"
        map = steps("Conv", map, weights, steps("Reshape", bias, steps.ints(-1)), kernel_shape=[1, 1])
    map = steps("Reshape", map, steps.ints(0, geometry.groups * (taps + 1), height * across))
    places = tiles.split(steps, map, 2)

    def rows_of(groups: range, rows: range) -> str:
        of = steps.sums([group * (taps + 1) for group in groups], tiles.taps)
        return steps("Transpose", steps("Gather", places[rows.start], of, axis=1), perm=[0, 1, 3, 2])

    return rows_of
