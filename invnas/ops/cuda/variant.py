"""What is compiled: the dtype, K, the vector width and the stride, and nothing else."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from invnas.ops.geometry import Window

KERNELS = ("forward", "grad_input", "grad_kernels", "folded")
SIZE = {"float32": 4, "float64": 8, "float16": 2, "bfloat16": 2}
COMPILED = (3, 5, 7, 9)
_TYPE = {"float32": "float", "float64": "double", "float16": "Half", "bfloat16": "Bfloat"}
_MATRIX = 4  # channels of one load for the matrix unit, which takes 16 of half types from 4 threads
_VECTORS = {"float32": (4, 1), "float64": (2, 1), "float16": (8, 4, 1), "bfloat16": (8, 4, 1)}


@dataclass(frozen=True)
class Variant:
    """Everything that is compiled in.

    Attributes:
        kernel: "forward", "grad_input", "grad_kernels" or "folded", which is forward with scale, bias and limits.
        dtype: "float32", "float64", "float16" or "bfloat16".
        kernel_size: K, or 0 where it is read at run time.
        vector: Channels that one load brings, a power of two of at most 16 bytes.
        stride: 1 or 2, with dilation 1; 0 for any window, read at run time.
    """

    kernel: str
    dtype: str
    kernel_size: int
    vector: int
    stride: int

    @property
    def function(self) -> str:
        """Name of the entry point."""
        return f"invnas_{self.kernel}_{self.dtype}_k{self.kernel_size}_v{self.vector}_s{self.stride}"

    @property
    def kind(self) -> str:
        """Form of the kernel: "any" window, "strips", or "matrix" for the matrix unit, by warps instead of threads."""
        if self.kernel_size and self.kernel == "grad_kernels" and self.vector == _MATRIX and SIZE[self.dtype] == 2:
            return "matrix"
        return "strips" if self.kernel_size else "any"

    @property
    def strip(self) -> int:
        """Neighbouring pixels one thread computes, or one warp; the text says the same."""
        if self.kind == "matrix":
            return 8
        if self.kernel == "grad_kernels" and (self.kernel_size > 7 or self.stride > 1):
            return 2
        return 4 if self.kernel_size else 1

    @property
    def strip_rows(self) -> int:
        """Neighbouring rows in which one thread computes a strip; the text says the same."""
        return 2 if self.kernel_size and self.kernel != "grad_kernels" else 1

    @property
    def entry(self) -> str:
        """The line that makes this variant when it follows `source()`."""
        return f"INVNAS_ENTRY({', '.join(map(str, self._parts.values()))})"

    @property
    def defines(self) -> tuple[str, ...]:
        """Options of the compiler with which `source()` makes this variant."""
        return tuple(f"-DINVNAS_{name}={value}" for name, value in self._parts.items())

    @property
    def _parts(self) -> dict[str, str | int]:
        numbers = {"K": self.kernel_size, "V": self.vector, "S": self.stride}
        return {"NAME": self.function, "KIND": f"{self.kernel}_{self.kind}", "T": _TYPE[self.dtype], **numbers}


def variants() -> Iterator[Variant]:
    """Return everything that `plan` can ask for."""
    for kernel, dtype in itertools.product(KERNELS, SIZE):
        for vector in _VECTORS[dtype]:
            for stride, K in itertools.product((1, 2), COMPILED):
                if _compiled(kernel, dtype, K, vector, stride):
                    yield Variant(kernel, dtype, K, vector, stride)
            yield Variant(kernel, dtype, 0, vector, 0)


def _compiled(kernel: str, dtype: str, K: int, vector: int, stride: int) -> bool:
    if Variant(kernel, dtype, K, vector, stride).kind == "matrix":
        return K in COMPILED and stride == 1
    # float64 is for tests, and narrow vectors for groups of odd sizes: they need no speed.
    full = vector == _VECTORS[dtype][0] and dtype != "float64"
    spills = (
        kernel in ("forward", "folded") and K == 9 and SIZE[dtype] == 2
    )  # what 128 registers do not hold at stride 2
    return full and K in COMPILED and (stride == 1 or (stride == 2 and kernel != "grad_input" and not spills))


def choose(kernel: str, dtype: str, group_channels: int, window: Window, alignment: int) -> Variant:
    """Return the fastest variant whose vectors divide a group and the addresses."""
    size = SIZE[dtype]
    fitting = [v for v in _VECTORS[dtype] if group_channels % v == 0 and (v == 1 or alignment % (v * size) == 0)]
    K, stride = window.kernel_size, window.stride if window.dilation == 1 else 0
    made = [Variant(kernel, dtype, K, v, stride) for v in fitting if _compiled(kernel, dtype, K, v, stride)]
    made = [variant for variant in made if variant.kind != "matrix" or group_channels % 16 == 0]
    # The matrix unit comes last, and is the fastest.
    return made[-1] if made else Variant(kernel, dtype, 0, fitting[0], 0)
