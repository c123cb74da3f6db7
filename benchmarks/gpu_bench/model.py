"""The shapes of RedNet, the fewest bytes and products each call needs, and what the project asks of a GPU.

No torch here: these numbers stand before anything is measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

BYTES = {"float32": 4, "float16": 2, "bfloat16": 2, "float64": 8}
DIRECTIONS = ("forward", "grad_input", "grad_kernels", "backward")

# An H200 by its data sheet and by a copy seen on one: what the predictions stand on.
COPY_BANDWIDTH = 4.3e12  # bytes read and written in a second
FP32_RATE = 67e12  # float32 operations in a second, two for a multiply-add


@dataclass(frozen=True)
class Shape:
    """One call of the operator with `same` padding; `size` is that of the map it reads."""

    name: str
    batch: int
    channels: int
    size: int
    kernel_size: int = 7
    stride: int = 1
    group_channels: int = 16

    @property
    def groups(self) -> int:
        return self.channels // self.group_channels

    @property
    def padding(self) -> int:
        return (self.kernel_size - 1) // 2

    @property
    def out(self) -> int:
        return (self.size + 2 * self.padding - self.kernel_size) // self.stride + 1

    @property
    def geometry(self) -> tuple[int, int, int, int]:
        """(K, stride, dilation, padding), as the operator takes them."""
        return (self.kernel_size, self.stride, 1, self.padding)

    @property
    def text(self) -> str:
        strided = f" /{self.stride}" if self.stride > 1 else ""
        return f"{self.channels}x{self.size}x{self.size} K{self.kernel_size}{strided}"

    def elements(self) -> dict[str, int]:
        """Return how many values the map (x), the kernels (w) and the result (y) hold."""
        positions = self.batch * self.out**2
        return {
            "x": self.batch * self.channels * self.size**2,
            "w": positions * self.groups * self.kernel_size**2,
            "y": positions * self.channels,
        }

    def bytes(self, direction: str, dtype: str) -> int:
        """Return the fewest bytes of a direction: every tensor once.

        Backward is that of one fused kernel: both gradients from one reading of the gradient, the map and the kernels.
        """
        n = self.elements()
        moved = {
            "forward": n["x"] + n["w"] + n["y"],
            "grad_input": n["y"] + n["w"] + n["x"],
            "grad_kernels": n["y"] + n["x"] + n["w"],
            "backward": n["y"] + 2 * n["x"] + 2 * n["w"],
        }
        return moved[direction] * BYTES[dtype]

    def macs(self, direction: str) -> int:
        """Return the multiply-adds of a direction; products with padding are counted."""
        once = self.elements()["y"] * self.kernel_size**2
        return 2 * once if direction == "backward" else once

    def floor_us(self, direction: str, dtype: str, bandwidth: float = COPY_BANDWIDTH) -> float:
        """Return the microseconds of the byte roofline."""
        return 1e6 * self.bytes(direction, dtype) / bandwidth

    def arithmetic_us(self, direction: str, rate: float = FP32_RATE) -> float:
        """Return the microseconds of the multiply-adds alone, in float32 as all types but float64 accumulate."""
        return 1e6 * 2 * self.macs(direction) / rate


STAGES = (
    Shape("stage 1", 64, 64, 56),
    Shape("stage 2", 64, 128, 28),
    Shape("stage 3", 64, 256, 14),
    Shape("stage 4", 64, 512, 7),
)
OTHERS = (
    Shape("stem", 64, 32, 112, kernel_size=3),
    Shape("into stage 2", 64, 128, 56, stride=2),
    Shape("into stage 3", 64, 256, 28, stride=2),
    Shape("into stage 4", 64, 512, 14, stride=2),
)
SHAPES = STAGES + OTHERS
DTYPES = ("float32", "float16", "bfloat16")

# The same families, small enough for loops on a processor: odd sides, a side below K, a stem, strides over odd sides.
SMALL = (
    Shape("stage 1", 2, 32, 9),
    Shape("stage 4", 1, 48, 5),
    Shape("stem", 1, 32, 11, kernel_size=3),
    Shape("into stage 2", 1, 32, 11, stride=2),
    Shape("one wide group", 1, 24, 6, kernel_size=5, group_channels=24),
)


@dataclass(frozen=True)
class Target:
    """A figure the project asks for: `must` is the least that counts as done (None: report it), `aim` the hope."""

    name: str
    must: float | None
    aim: float
    higher: bool = True  # whether more is better

    def verdict(self, value: float | None) -> str:
        if value is None:
            return "not measured"
        if self._reaches(value, self.aim):
            return "aim reached"
        return "pass" if self.must is None or self._reaches(value, self.must) else "miss"

    def _reaches(self, value: float, bound: float) -> bool:
        return value >= bound if self.higher else value <= bound


FORWARD_SHARE = Target("share of the byte roofline, forward", 0.5, 0.8)
BACKWARD_SHARE = Target("share of the byte roofline, fused backward", 0.4, 0.7)
OVER_PUBLISHED = Target("over the published mapping, fp32, forward + backward", 3, 8)
NETWORK_RATIO = Target("RedNet-50 over ResNet-50", 1.0, 0.66, higher=False)
MEMORY_RATIO = Target("peak memory of a training step, RedNet-50 over ResNet-50", None, 1.0, higher=False)
HOST_COST = Target("host cost per call beyond an empty torch op, us", 20, 10, higher=False)
COMPILATIONS = Target("compilations for a new batch size", 0, 0, higher=False)

# Guesses of what our kernels reach, written before any GPU had run them. Half types move half the bytes for the same
# products, so instructions bind sooner; the gradient of the input reads a halo of kernels, so backward is lower.
EXPECTED_SHARE = {
    "forward": {"float32": 0.75, "float16": 0.6, "bfloat16": 0.6},
    "backward": {"float32": 0.55, "float16": 0.45, "bfloat16": 0.45},
}


def predictions(bandwidth: float = COPY_BANDWIDTH, shapes: Sequence[Shape] = SHAPES) -> list[dict[str, object]]:
    """Return one row for each shape and dtype: bytes, both floors and the expected times, in microseconds."""
    rows: list[dict[str, object]] = []
    for shape in shapes:
        for dtype in DTYPES:
            row: dict[str, object] = {"shape": shape.text, "name": shape.name, "batch": shape.batch, "dtype": dtype}
            for direction in ("forward", "backward"):
                floor = shape.floor_us(direction, dtype, bandwidth)
                row[direction] = {
                    "bytes": shape.bytes(direction, dtype),
                    "byte_floor_us": round(floor, 2),
                    "arithmetic_floor_us": round(shape.arithmetic_us(direction), 2),
                    "expected_us": round(floor / EXPECTED_SHARE[direction][dtype], 1),
                }
            rows.append(row)
    return rows
