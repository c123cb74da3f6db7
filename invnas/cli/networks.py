"""The commands about one network. Their docstrings are the help."""

from __future__ import annotations

from typing import Literal

from invnas.cli.words import image_shape
from invnas.errors import BadInput
from invnas.latency.settings import Latency
from invnas.task import head_of


def profile(
    network: str,
    *,
    input: str | None = None,
    classes: int | None = None,
    task: str | None = None,
    convention: Literal["macs", "published", "published-segmentation"] = "macs",
    latency: bool = False,
    runtime: Literal["torch", "onnxruntime", "executorch", "openvino"] | None = None,
    threads: int | None = None,
    batch: int | None = None,
    on: str | None = None,
    space: str | None = None,
    json: bool = False,
) -> None:
    """Say what a network costs, stage by stage: multiply-adds, parameters, peak memory of its maps, latency.

    Args:
        network: Name of a published network such as rednet50, resnet101 or rednet50-stem7 (as in the paper's tables), a
            JSON file of an architecture, or the folder of an export.
        input: Channels, height and width of an image; by default those of the export, or else 3x224x224.
        classes: Number of classes; by default those of the export, or else 1000.
        task: What the network is for: classification, segmentation, detection, or a class path; by default that of the
            export, or else classification.
        convention: What MACs count: macs (multiply-adds alone), published (as the paper of involution counts), or
            published-segmentation (as its table of segmentation does, without synchronised norms).
        latency: Also measure a forward pass.
        runtime: Who runs it then: torch (by default), onnxruntime, executorch or openvino.
        threads: Threads of a forward pass; by default 1.
        batch: Images of a forward pass; by default 1.
        on: Where: local (by default), or ssh://user@host:port/path/of/python.
        space: Name or Python file of the space that defines your own types, when the network has any.
        json: Print the result as JSON.
    """
    shape = None if input is None else image_shape(input)
    if task is not None and classes is None:
        raise BadInput(f"`task` is '{task}', but how many classes it has is open: give --classes too")
    head = None if classes is None else head_of(task or "classification", shape or (3, 224, 224), classes)
    given = {"runtime": runtime, "threads": threads, "batch": batch, "on": on}
    asked = {name: value for name, value in given.items() if value is not None}
    if asked and not latency:
        raise BadInput(f"`{next(iter(asked))}` says how a latency is measured: it needs --latency")
    where = Latency(**asked) if latency else None  # type: ignore[arg-type]
    from invnas.cli.tables import print_json, print_profile
    from invnas.profile import profile as profiled

    found = profiled(network, shape, head, convention=convention, latency=where, space=space)
    if json:
        print_json(found.to_dict())
    else:
        print_profile(network, found, convention)
