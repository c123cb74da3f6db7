"""What a network costs stage by stage, from a name, a file or an export."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from invnas import zoo
from invnas.architecture import Architecture
from invnas.cost import segments
from invnas.errors import BadInput, nearest
from invnas.export.description import read, refuse_own_task
from invnas.files import read_json
from invnas.head import Head
from invnas.latency.settings import Latency
from invnas.latency.stopwatch import Stopwatch, Timing
from invnas.measurement import SPREAD, Cost, Segment, total
from invnas.shipped import find
from invnas.space import load_space

_IMAGENET = ((3, 224, 224), 1000)


@dataclass(frozen=True)
class Profile:
    """The price of a network for one image.

    Attributes:
        segments: The stem, each stage, the head.
        timing: What a forward pass takes; None when not measured.
        latency: Where it was measured.
        version: That of the runtime.
    """

    segments: tuple[Segment, ...]
    timing: Timing | None = None
    latency: Latency | None = None
    version: str = ""

    @property
    def latency_ms(self) -> float | None:
        """Milliseconds of a forward pass; None when not measured."""
        return None if self.timing is None else self.timing.ms

    @property
    def cost(self) -> Cost:
        """The price of the whole network."""
        return total([segment.cost for segment in self.segments])

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data."""
        whole = self.cost
        where: dict[str, Any] = {}
        if self.timing is not None and self.latency is not None:
            where = {SPREAD: self.timing.spread_ms, **asdict(self.latency), "version": self.version}
        return {
            "parameters": whole.parameters,
            "macs": whole.macs,
            "activation_bytes": whole.activation_bytes,
            "latency_ms": self.latency_ms,
            **where,
        }


def profile(
    network: str,
    input_shape: tuple[int, int, int] | None = None,
    head: Head | int | None = None,
    *,
    convention: str = "macs",
    latency: Latency | None = None,
    space: str | None = None,
) -> Profile:
    """Return what a network costs, stage by stage.

    Args:
        network: A name of the zoo such as rednet50, a JSON file of an architecture, or the folder of an export.
        input_shape: (channels, height, width); by default those of the export, or else 3 x 224 x 224.
        head: What the network ends in; a number means one score for each of so many classes. By default the number
            of the export, or else 1000.
        convention: What `macs` counts, a key of `CONVENTIONS`.
        latency: Where a forward pass is also measured.
        space: The space file (or shipped name) that defines the user's own types, when the network has any.

    Raises:
        BadInput: If there is no such network, it cannot be built for this image, or no latency can be measured there.
    """
    architecture, own_shape, own_head = _find(network, load_space(space).types if space is not None else None, head)
    shape, head = input_shape or own_shape, own_head if head is None else head
    found = segments(architecture, shape, head, convention)
    if latency is None:
        return Profile(found)
    own = "" if space is None else find("search_spaces", space).read_text(encoding="utf-8")
    with Stopwatch(latency, shape, head, own=own) as stopwatch:
        return Profile(found, stopwatch(architecture), latency, stopwatch.version)


def _find(
    network: str, types: Mapping[str, type] | None, head: Head | int | None
) -> tuple[Architecture, tuple[int, int, int], Head | int]:
    """Return an architecture, and the image and head it is for; the head that is given, where one is."""
    path = Path(network)
    facts: tuple[tuple[int, int, int], Head | int]
    if network in zoo.NAMES:  # before a file or folder of that name, which can be given as ./rednet50
        return zoo.by_name(network), *_IMAGENET
    if path.is_dir():
        description = read(path)
        plain: Any = description.architecture
        if head is None:
            refuse_own_task(path, description, "name the task that you trust by --task, with --classes")
        facts = description.input_shape, description.head if head is None else head
    elif path.is_file():
        plain, facts = _architecture_in(path), _IMAGENET
    elif path.suffix or len(path.parts) > 1:
        raise BadInput(f"there is no file '{network}'; or give the name of a network: {nearest(path.stem, zoo.NAMES)}")
    else:
        return zoo.by_name(network), *_IMAGENET  # raises, with the nearest name
    try:
        return Architecture.from_dict(plain, types), *facts
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from None


def _architecture_in(path: Path) -> Any:
    """Return the plain data of a file: an architecture, or an object that holds one under `architecture`."""
    data = read_json(path)
    return data["architecture"] if isinstance(data, dict) and "architecture" in data else data
