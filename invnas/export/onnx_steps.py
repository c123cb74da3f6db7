"""What the bodies of involution nodes are written with: the geometry they depend on, and their operators one by one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from invnas.ops.geometry import Window


@dataclass(frozen=True)
class Geometry:
    """What the body of a node depends on.

    Attributes:
        window: The window.
        groups: G.
        channels: C.
        size: (H, W) of the map; None where it takes maps of any size.
        bounds: (low, high) of the result where scale and bias are inputs of the node, or None.
        hidden: Channels of the map that the kernels are made from within the node, or None.
    """

    window: Window
    groups: int
    channels: int
    size: tuple[int, int] | None
    bounds: tuple[float, float] | None = None
    hidden: int | None = None

    @property
    def out(self) -> tuple[int, int]:
        """(H', W') of the result."""
        assert self.size is not None
        return self.window.out(self.size[0]), self.window.out(self.size[1])


class Steps:
    """The nodes of a body as they are written down: a call adds an operator and returns the name of its result."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self._constants: dict[tuple[tuple[int, ...], int], str] = {}

    def __call__(self, operator: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        """Add a node; return the name of its output, or a list of them."""
        from onnx import helper

        first = len(self.nodes)
        names = [f"t{first}_{i}" if outputs > 1 else f"t{first}" for i in range(outputs)]
        self.nodes.append(helper.make_node(operator, inputs, names, **attributes))
        return names if outputs > 1 else names[0]

    def ints(self, *values: int, after: int = 0) -> str:
        """Return a constant of one dimension, with `after` dimensions of 1 behind it, as a tensor.

        onnxruntime 1.23 does not see through `value_ints`.
        """
        from onnx import TensorProto, helper

        if (values, after) not in self._constants:
            tensor = helper.make_tensor("", TensorProto.INT64, [len(values), *[1] * after], values)
            self._constants[values, after] = self("Constant", value=tensor)
        return self._constants[values, after]

    def sums(self, *axes: Iterable[int]) -> str:
        """Return the sums of one number of each axis, an axis a dimension: a runtime adds them up as it loads them."""
        total = ""
        for index, axis in enumerate(axes):
            numbers = self.ints(*axis, after=len(axes) - 1 - index)
            total = self("Add", total, numbers) if total else numbers
        return total

    def split(self, value: str, axis: int, sizes: list[int]) -> list[str]:
        """Return parts of a value; a single part is the value itself."""
        if len(sizes) == 1:
            return [value]
        return self("Split", value, self.ints(*sizes), axis=axis, outputs=len(sizes))
