"""The commands about one network. Their docstrings are the help."""

from __future__ import annotations

from typing import Literal

from invnas.cli.words import image_shape
from invnas.head import as_head


def profile(
    network: str,
    *,
    input: str | None = None,
    classes: int | None = None,
    convention: Literal["macs", "published"] = "macs",
    latency: bool = False,
    space: str | None = None,
    json: bool = False,
) -> None:
    """Say what a network costs, stage by stage: multiply-adds, parameters, peak memory of its maps, latency.

    Args:
        network: Name of a published network such as rednet50, resnet101 or rednet50-stem7 (as in the paper's tables), a
            JSON file of an architecture, or the folder of an export.
        input: Channels, height and width of an image; by default those of the export, or else 3x224x224.
        classes: Number of classes; by default those of the export, or else 1000.
        convention: What MACs count: macs (multiply-adds alone), or published (as the paper of involution counts).
        latency: Also measure a forward pass of one image on the CPU.
        space: Name or Python file of the space that defines your own types, when the network has any.
        json: Print the result as JSON.
    """
    head = None if classes is None else as_head(classes)
    shape = None if input is None else image_shape(input)
    from invnas.cli.tables import print_json, print_profile
    from invnas.profile import profile as profiled

    found = profiled(network, shape, head, convention=convention, latency=latency, space=space)
    if json:
        print_json(found.to_dict())
    else:
        print_profile(network, found, convention)
