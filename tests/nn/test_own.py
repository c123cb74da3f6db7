"""A user's own operator, block, stem and network: frozen dataclasses with a `build` method, nothing else."""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import nn

from invnas import Bottleneck, Choice, Convolution, HybridNet, PlainStem, Repeat, Space, Stage
from invnas.architecture import Architecture
from invnas.cost import cost
from invnas.errors import BadInput, InvalidArchitecture
from invnas.nn import Involution2d, build


@dataclass(frozen=True)
class Blur:
    """An own operator with a rule of its own."""

    size: int = 3

    def problems(self, channels: int) -> Iterator[str]:
        if self.size > channels:
            yield f"`size` must be at most the channels, but got {self.size} and {channels}"

    def build(self, channels: int, stride: int) -> nn.Module:
        return nn.AvgPool2d(self.size, stride, self.size // 2, ceil_mode=False)


@dataclass(frozen=True)
class Plain:
    """An own block."""

    kernel_size: int = 3

    def build(self, in_channels: int, width: int, stride: int) -> nn.Module:
        return nn.Conv2d(in_channels, width, self.kernel_size, stride, self.kernel_size // 2)


@dataclass(frozen=True)
class Patches:
    """An own stem."""

    width: int
    patch: int = 2

    def build(self, in_channels: int) -> nn.Module:
        return nn.Conv2d(in_channels, self.width, self.patch, self.patch)


@dataclass(frozen=True)
class Flat:
    """An own network."""

    hidden: int

    def build(self, input_shape: tuple[int, int, int], classes: int) -> nn.Module:
        pixels = math.prod(input_shape)
        return nn.Sequential(nn.Flatten(), nn.Linear(pixels, self.hidden), nn.ReLU(), nn.Linear(self.hidden, classes))


MIXED = Space(
    HybridNet(
        Choice(Patches(Choice(4, 8)), PlainStem(8, 3, 1, False)),
        [
            Stage(
                8, Repeat(Choice(Plain(Choice(1, 3)), Bottleneck(Choice(Blur(Choice(3, 5)), Convolution(3)), 2)), 2), 2
            ),
        ],
    )
)


def test_own_values_are_sampled_priced_built_run_and_kept_as_json() -> None:
    rng, seen = random.Random(0), set()
    for _ in range(20):
        decisions, architecture = MIXED.sample(rng)
        assert Architecture.from_json(architecture.to_json(), MIXED.types) == architecture
        assert MIXED.decisions(architecture) == decisions
        network = build(architecture, (3, 9, 8), 4).eval()
        assert network(torch.randn(2, 3, 9, 8)).shape == (2, 4)
        price = cost(architecture, (3, 9, 8), 4)
        assert price.parameters == sum(parameter.numel() for parameter in network.parameters())
        seen |= {type(module).__name__ for module in network.modules()}
    assert "AvgPool2d" in seen


def test_the_own_types_of_a_space_are_known_by_name() -> None:
    assert MIXED.types == {"Blur": Blur, "Plain": Plain, "Patches": Patches}


def test_the_own_rule_is_told_with_its_place() -> None:
    network = HybridNet(PlainStem(8), (Stage(8, (Bottleneck(Blur(5), 2),)),))
    with pytest.raises(InvalidArchitecture) as error:
        Architecture(network).check()
    assert str(error.value) == "`size` must be at most the channels, but got 5 and 4 (stage 1, block 1)"


@dataclass(frozen=True)
class Saying:
    said: str

    def problems(self, channels: int) -> Any:
        return {"empty": [""], "none": [None], "blank": iter(["  "]), "text": "too wide", "nothing": None}[self.said]

    def build(self, channels: int, stride: int) -> nn.Module:
        return nn.Identity()


@pytest.mark.parametrize(
    ("said", "what"),
    [
        ("empty", "yields ''"),
        ("none", "yields None"),
        ("blank", "yields '  '"),
        ("text", "returns 'too wide'"),
        ("nothing", "returns None"),
    ],
)
def test_rules_that_are_no_sentences_are_refused_by_what_they_must_be(said: str, what: str) -> None:
    network = HybridNet(PlainStem(8), (Stage(8, (Bottleneck(Saying(said), 2),)),))
    sentence = f"`Saying.problems` must yield one sentence for each rule that is broken, but {what}"
    with pytest.raises(BadInput, match=f"^{sentence}"):
        Architecture(network).check()


def test_a_whole_own_network_is_a_space() -> None:
    space = Space(Flat(Choice(4, 8)))
    assert space.size == 2
    for _, architecture in space.enumerate():
        assert architecture.kind == "own"
        assert build(architecture, (1, 4, 4), 3)(torch.zeros(2, 1, 4, 4)).shape == (2, 3)
        hidden = architecture.network.hidden
        assert cost(architecture, (1, 4, 4), 3).macs == 16 * hidden + 3 * hidden


def within(spatial: Any) -> Architecture:
    return Architecture(HybridNet(PlainStem(8, 3, 1, False), (Stage(8, (Bottleneck(spatial, 2),)),)))


@dataclass(frozen=True)
class Nothing:
    def build(self, channels: int, stride: int) -> nn.Module:
        return None  # type: ignore[return-value]


@dataclass(frozen=True)
class Function:
    def build(self, channels: int, stride: int) -> nn.Module:
        return torch.relu  # type: ignore[return-value]


@dataclass(frozen=True)
class Greedy:
    def build(self, channels: int) -> nn.Module:
        return nn.Identity()


@dataclass(frozen=True)
class Raising:
    def build(self, channels: int, stride: int) -> nn.Module:
        raise ZeroDivisionError("no")


@dataclass(frozen=True)
class Dumb:
    size: int = 3


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (Nothing(), "Nothing.build must return a torch.nn.Module, but returned NoneType"),
        (Function(), "Function.build must return a torch.nn.Module, but returned builtin_function_or_method"),
        (Greedy(), "Greedy.build(channels=4, stride=1) raised TypeError: Greedy.build() got an unexpected keyword"),
        (Raising(), "Raising.build(channels=4, stride=1) raised ZeroDivisionError: no"),
        (Dumb(), "Dumb(size=3) stands where a spatial operator is wanted: take Convolution, DepthwiseConv"),
    ],
)
def test_an_own_operator_that_cannot_be_built_is_named(value: Any, sentence: str) -> None:
    for ask in (build, cost):
        with pytest.raises(BadInput) as error:
            ask(within(value), (1, 8, 8), 3)  # type: ignore[operator]
        assert str(error.value).startswith(sentence)


@dataclass(frozen=True)
class Mute:
    def build(self, in_channels: int) -> nn.Module:
        return nn.Identity()


def test_an_own_stem_states_its_width() -> None:
    with pytest.raises(
        InvalidArchitecture, match=r"`width` must be a whole number from 1 to .*, but got None \(stem\)"
    ):
        Architecture(HybridNet(Mute(), ())).check()


@dataclass(frozen=True)
class Refusing:
    """Cannot be built, in one of the ways a user's code ends."""

    how: str

    def build(self, channels: int, stride: int) -> nn.Module:
        if self.how == "exit":
            sys.exit("bye")
        if self.how == "assert":
            assert channels > 1000, "too few channels"
        if self.how == "layer":
            return Involution2d(channels, 3, 1, 3)
        if self.how == "run":
            return nn.Conv2d(channels + 1, channels, 1)
        if self.how == "exit in forward":
            return Leaving()
        return nn.Conv2d(channels, channels, 3, stride, 1)


class Leaving(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        sys.exit(3)


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ("exit", "Refusing.build(channels=4, stride=1) called sys.exit('bye')"),
        ("assert", "Refusing.build(channels=4, stride=1) raised AssertionError: too few channels"),
        ("layer", "`group_channels` must divide the channels, but got group_channels=3 and 4 channels"),
        ("run", "Refusing on an input of shape (4, 8, 8) raised RuntimeError: "),
        ("exit in forward", "Refusing on an input of shape (4, 8, 8) called sys.exit(3)"),
    ],
)
def test_an_option_that_cannot_be_built_is_one_invalid_architecture(how: str, sentence: str) -> None:
    with pytest.raises(InvalidArchitecture) as error:
        cost(within(Refusing(how)), (1, 8, 8), 3)
    assert str(error.value).startswith(sentence)
    assert cost(within(Refusing("not")), (1, 8, 8), 3).macs > 0
