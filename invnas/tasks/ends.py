"""Heads of tasks that are made by the architecture: the task says how many classes, and what must come out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from invnas.errors import BadInput, InvalidArchitecture
from invnas.head import FeatureMap
from invnas.hybrid import HybridNet

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class DenseEnds:
    """What a DenseNet makes with its own neck and head; a subclass says what is wrong with an output.

    Attributes:
        classes: Number of classes.
        lacking: What is said of a network without such a head.
    """

    classes: int
    lacking: ClassVar[str]

    @property
    def given(self) -> Mapping[str, Any]:
        """The number of classes."""
        return {"classes": self.classes}

    @classmethod
    def check_network(cls, network: Any) -> None:
        """Raise BadInput for a network (or a space of such) that ends in no head of its own."""
        if isinstance(network, HybridNet):
            raise BadInput(cls.lacking)

    def wanted(self, maps: Sequence[FeatureMap]) -> tuple[int, ...]:
        """Raise InvalidArchitecture: this is asked of a network without a head of its own."""
        raise InvalidArchitecture(self.lacking)

    def build(self, maps: Sequence[FeatureMap], input_shape: tuple[int, int, int]) -> nn.Module:
        """Raise InvalidArchitecture, as `wanted` does."""
        raise InvalidArchitecture(self.lacking)
