"""What a network ends in: the contract between a task and the networks that are searched for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from invnas.errors import BadInput, InvalidArchitecture, shown
from invnas.gate import user_code
from invnas.rules import CLASSES, whole

if TYPE_CHECKING:
    from torch import nn


class FeatureMap(NamedTuple):
    """What leaves the stem or a stage of a network.

    Attributes:
        channels: Channels of the map.
        stride: Pixels of the image for one pixel of the map, along each side.
    """

    channels: int
    stride: int


class Head(Protocol):
    """The last layers of a network, as a frozen value that can be hashed: equal heads are equal modules.

    A class of your own needs no base class; `tasks/classification/head.py` is an example.
    """

    def __hash__(self) -> int: ...

    @property
    def given(self) -> Mapping[str, Any]:
        """What the `build` method of a user's own whole network is given besides `input_shape`."""
        ...

    def wanted(self, maps: Sequence[FeatureMap]) -> tuple[int, ...]:
        """Return which maps the module takes, in its order: 0 is the stem's, 1 that of the first stage, and so on."""
        ...

    def build(self, maps: Sequence[FeatureMap], input_shape: tuple[int, int, int]) -> nn.Module:
        """Return the module, which is called with one tensor (B, C, H, W) for each wanted map and returns one tensor.

        Args:
            maps: The wanted maps, in that order.
            input_shape: (channels, height, width) of one image.
        """
        ...

    def problem(self, input_shape: tuple[int, int, int], output_shape: tuple[int, ...]) -> str | None:
        """Return what is wrong with the shape a network returns for one image (without the batch), or None."""
        ...


def check_output(
    head: Head,
    input_shape: tuple[int, int, int],
    output_shape: tuple[int, ...],
    refusal: type[BadInput] = InvalidArchitecture,
) -> None:
    """Raise what a head says against the shape that a network returns for one image (without the batch).

    Raises:
        BadInput: A `refusal` with its sentence, or, if it says something else than a sentence or None, BadInput itself.
    """
    called = f"`{type(head).__name__}.problem`"
    with user_code(called):
        found: Any = head.problem(input_shape, output_shape)
    if found is None:
        return
    if not isinstance(found, str) or not found.strip():
        raise BadInput(f"{called} must return one sentence on what is wrong, or None, but returns {shown(found, 60)}")
    raise refusal(found)


def as_head(head: Head | int) -> Head:
    """Return a head; a number is that of the classes a score is wanted for.

    Raises:
        BadInput: If no network has so many classes.
    """
    from invnas.tasks.classification.head import ClassScores

    if not isinstance(head, int):
        return head
    for problem in whole("classes", head, CLASSES):
        raise BadInput(problem)
    return ClassScores(head)
