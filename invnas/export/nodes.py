"""Nodes put before and behind the network of an ONNX file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

FLOAT, UINT8, INT64, STRING, DOUBLE = 1, 2, 7, 8, 11  # types of ONNX

#: What the numbers of the network are called in a file whose own outputs have the name.
RAW = "raw_scores"


class Nodes:
    """Nodes as they are added; an array among the inputs becomes a constant.

    Args:
        prefix: How what they name begins; a graph within a graph has another.
    """

    def __init__(self, prefix: str = "around") -> None:
        self.prefix = prefix
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def __call__(self, kind: str, *inputs: Any, **attributes: Any) -> str:
        """Add a node of one output and return the output's name."""
        output = attributes.pop("output", f"{self.prefix}_{len(self.nodes)}")
        self._add(kind, inputs, [output], attributes)
        return str(output)

    def two(self, kind: str, *inputs: Any, **attributes: Any) -> tuple[str, str]:
        """Add a node of two outputs and return their names."""
        first, second = f"{self.prefix}_{len(self.nodes)}", f"{self.prefix}_{len(self.nodes)}_too"
        self._add(kind, inputs, [first, second], attributes)
        return first, second

    def best(self, values: str, count: int) -> tuple[str, str]:
        """Add what returns the largest `count` of each row, best first, and their places."""
        return self.two("TopK", values, [count])

    def network(self, graph: Any, scores: str = "scores") -> None:
        """Add the nodes of a network's file, whose output gets a name."""
        for node in graph.node:
            for names in (node.input, node.output):
                names[:] = [scores if name == "scores" else name for name in names]
            self.nodes.append(node)

    def _add(self, kind: str, inputs: Sequence[Any], outputs: Sequence[str], attributes: Mapping[str, Any]) -> None:
        from onnx import helper

        names = [one if isinstance(one, str) else self._constant(np.asarray(one)) for one in inputs]
        self.nodes.append(helper.make_node(kind, names, outputs, f"{outputs[0]}_node", **attributes))

    def _constant(self, value: np.ndarray) -> str:
        from onnx import numpy_helper

        name = f"{self.prefix}_constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(value, name))
        return name


#: A value that enters or leaves a file: its type, and its sides, each a number or a name.
Side = tuple[int, Sequence[int | str]]


def infos(values: Mapping[str, Side]) -> list[Any]:
    """Return what enters or leaves a graph as it stands there."""
    from onnx import helper

    return [helper.make_tensor_value_info(name, *value) for name, value in values.items()]


def rewired(model: Any, nodes: Nodes, inputs: Mapping[str, Side], outputs: Mapping[str, Side]) -> Any:
    """Return a model whose nodes, inputs and outputs are others."""
    graph, kept = model.graph, list(nodes.nodes)
    for part in (graph.node, graph.input, graph.output, graph.value_info):
        del part[:]
    graph.node.extend(kept)
    graph.initializer.extend(nodes.constants)
    graph.input.extend(infos(inputs))
    graph.output.extend(infos(outputs))
    return model


def session(model: Any, *also: str) -> Any:
    """Return what runs a model, or the file of one, in onnxruntime: from inputs by name to outputs by name, of which
    some are inner values.
    """
    import onnx
    import onnxruntime
    from onnx import helper

    if isinstance(model, Path):
        model = onnx.load(model)
    model.graph.output.extend(helper.make_tensor_value_info(name, FLOAT, None) for name in also)
    opened = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [one.name for one in opened.get_outputs()]
    return lambda **given: dict(zip(names, opened.run(names, given), strict=True))
