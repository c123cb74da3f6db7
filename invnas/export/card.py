"""The model card: README.md of an exported folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

from invnas.architecture import Architecture
from invnas.cost import cost
from invnas.errors import BadInput
from invnas.export.description import Description
from invnas.export.graph import OPSET
from invnas.head import Head
from invnas.hybrid import HybridNet
from invnas.measurement import MAC_CONVENTION
from invnas.task import load_task

#: What a format is and how three lines load it, by name.
USES: Mapping[str, tuple[str, str]] = {
    "onnx": (
        f"ONNX, opset {OPSET}, standard operators only",
        "import numpy, onnxruntime\n"
        'session = onnxruntime.InferenceSession("model.onnx")\n'
        'scores = session.run(["scores"], {{"images": numpy.zeros({shape}, "float32")}})[0]',
    ),
    "pt2": (
        "a torch.export program; needs torch, not invnas",
        "import torch\n"
        'network = torch.export.load("model.pt2").module()\n'
        "scores = network(torch.zeros({shape}))",
    ),
    "safetensors": (
        "weights, rebuilt by invnas from architecture.json without unpickling anything",
        "import invnas, torch\n"
        'network = invnas.load_model("."{space})\n'
        "scores = network(torch.zeros({shape}))",
    ),
}  # fmt: skip


def card(
    description: Description,
    architecture: Architecture,
    errors: Mapping[str, float],
    facts: Mapping[str, str],
    own_types: Sequence[str],
) -> str:
    """Return the Markdown of a model card.

    Args:
        description: What is exported.
        architecture: The same as a value.
        errors: The parity error of each exported format.
        facts: What the caller knows: data set, accuracy, run, seeds, versions, input normalisation.
        own_types: Names of the user's own types in it.
    """
    shape, task = description.input_shape, load_task(description.task)
    sections = {
        f"{type(architecture.network).__name__} {architecture.fingerprint}": [
            f"A network for {task.name} ({architecture.kind}) exported by invnas {description.invnas}, "
            "neural architecture search over hybrids of convolution and involution.",
            _table(
                {
                    "input `images`": f"(batch, {shape[0]}, {shape[1]}, {shape[2]}): channels, height, width; float32",
                    "output `scores`": task.output(description.facts),
                    **task.describe(description.facts),
                    **_price(architecture, shape, description.head),
                }
            ),
            f"{MAC_CONVENTION}. Activation bytes are the peak of feature maps alive at once, float32.",
        ],
        "Layers": ["\n".join(f"- {line}" for line in _layers(architecture))],
        "Input": [_normalisation(facts)],
        "Facts": [_table(facts) if facts else "None were given."],
        "Files": list(_files(errors, shape, own_types)),
        "Classes": [", ".join(f"{i} {_cell(name)}" for i, name in enumerate(description.class_names or ()))],
        "Limits": [
            f"- Images must be {shape[1]} x {shape[2]}; only the batch size is free.\n"
            "- Accuracy is known only where the facts above state it, on images like those of that data set.\n"
            "- Parity was checked in float32 on a CPU; half precision and other hardware differ more."
        ],
    }
    if not description.class_names:
        del sections["Classes"]
    texts = ["\n\n".join(["# " + title, *body]) for title, body in sections.items()]
    return texts[0] + "".join(f"\n\n#{text}" for text in texts[1:]) + "\n"


def _price(architecture: Architecture, shape: tuple[int, int, int], head: Head) -> dict[str, str]:
    try:
        price = cost(architecture, shape, head)
    except BadInput as error:  # an operator nobody priced is no reason to withhold the model
        return {"multiply-adds": f"unknown: {error}"}
    return {
        "multiply-adds (MACs) of one image": f"{price.macs:,}",
        "parameters": f"{price.parameters:,}",
        "activation bytes of one image": f"{price.activation_bytes:,}",
    }


def _layers(architecture: Architecture) -> Iterator[str]:
    network = architecture.network
    if not isinstance(network, HybridNet):
        yield f"`{network}`"
        return
    yield f"stem: `{network.stem}`"
    for number, stage in enumerate(network.stages, start=1):  # as the report counts
        for block, same in groupby(stage.blocks):
            yield f"stage {number} (width {stage.width}, stride {stage.stride}): {len(list(same))} x `{block}`"
    yield "global average pool and a linear layer"


def _normalisation(facts: Mapping[str, str]) -> str:
    if "input normalisation" in facts:
        return f"Images enter as {facts['input normalisation']}: subtract the mean, divide by the deviation."
    return "The normalisation of the images was not given: use that of the data set the network was trained on."


def _files(errors: Mapping[str, float], shape: tuple[int, int, int], own_types: Sequence[str]) -> Iterator[str]:
    for name, error in errors.items():
        what, code = USES[name]
        space = ', space="my_space.py"' if own_types else ""
        yield f"`model.{name}`: {what}. Differs from the network by {error:.1g} of its largest score."
        yield f"```python\n{code.format(shape=(1, *shape), space=space)}\n```"
        if own_types and name == "safetensors":
            yield f"`my_space.py` is the space file that defines {', '.join(own_types)}."


def _table(rows: Mapping[str, str]) -> str:
    return "\n".join(["| | |", "|---|---|", *(f"| {_cell(key)} | {_cell(value)} |" for key, value in rows.items())])


def _cell(value: object) -> str:
    return " ".join(str(value).replace("|", "\\|").split())
