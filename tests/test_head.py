"""A head that is no classifier: every pixel gets scores, from two maps of different strides."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from invnas import Bottleneck, Convolution, HybridNet, Involution, PlainStem, Stage
from invnas.architecture import Architecture, DeepStem
from invnas.cost import cost, segments
from invnas.errors import BadInput, InvalidArchitecture
from invnas.head import FeatureMap, Head, as_head
from invnas.meter import _Meter
from invnas.nn import build
from invnas.nn.network import Network, parts
from invnas.nn.skeleton import skeleton
from invnas.profile import profile
from invnas.tasks.classification.head import ClassScores


class Sum(nn.Module):
    """A 1 x 1 convolution of each map, the coarse one upsampled to the fine one, their sum to the size of the image."""

    def __init__(self, maps: Sequence[FeatureMap], scores: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.fine, self.coarse = (nn.Conv2d(one.channels, scores, 1, bias=False) for one in maps)
        self.size = size

    def forward(self, fine: torch.Tensor, coarse: torch.Tensor) -> torch.Tensor:
        both = self.fine(fine) + F.interpolate(self.coarse(coarse), fine.shape[2:])
        return F.interpolate(both, self.size)


@dataclass(frozen=True)
class PerPixel:
    """Scores for every pixel, from the map of one place and the last one."""

    scores: int
    fine: int = 1

    @property
    def given(self) -> Mapping[str, Any]:
        return {"scores": self.scores}

    def wanted(self, maps: Sequence[FeatureMap]) -> tuple[int, ...]:
        return self.fine, len(maps) - 1

    def build(self, maps: Sequence[FeatureMap], input_shape: tuple[int, int, int]) -> nn.Module:
        return Sum(maps, self.scores, input_shape[1:])

    def problem(self, input_shape: tuple[int, int, int], output_shape: tuple[int, ...]) -> str | None:
        wanted = (self.scores, *input_shape[1:])
        return None if output_shape == wanted else f"the network must return {wanted}, but returns {output_shape}"


def three_stages(stem: Any = PlainStem(4, 3, 1, False), blocks: int = 2) -> HybridNet:  # noqa: B008
    middle = Bottleneck(Involution(3, 2, 2), 2)
    return HybridNet(
        stem,
        (
            Stage(8, (Bottleneck(Convolution(3), 2),) * blocks, 2),
            Stage(16, (middle,) * blocks, 2),
            Stage(8, (Bottleneck(Convolution(1), 2),) * blocks, 1),
        ),
    )


SIDES = st.tuples(st.integers(1, 17), st.integers(1, 17))


@given(SIDES, st.integers(1, 3), st.integers(1, 3), st.integers(0, 3))
def test_a_dense_head_is_built_and_costs_its_formula(
    size: tuple[int, int], scores: int, blocks: int, fine: int
) -> None:
    architecture, shape = Architecture(three_stages(blocks=blocks)), (3, *size)
    head: Head = PerPixel(scores, fine)
    network = build(architecture, shape, head).eval()
    assert isinstance(network, Network)
    assert network(torch.randn(2, *shape)).shape == (2, scores, *size)
    price, classifier = cost(architecture, shape, head), cost(architecture, shape, 1)
    sides = [[math.ceil(side / stride) for side in size] for stride in (1, 2, 4, 4)]
    channels = (4, 8, 16, 8)
    maps = [width * math.prod(area) for width, area in zip(channels, sides, strict=True)]
    assert segments(architecture, shape, head)[-1].cost.macs == scores * (maps[fine] + maps[-1])
    assert price.macs == classifier.macs - 8 + scores * (maps[fine] + maps[-1])
    assert price.parameters == sum(parameter.numel() for parameter in network.parameters())
    assert price.parameters == classifier.parameters - 9 + scores * (channels[fine] + 8)


@given(SIDES, st.integers(1, 2), st.integers(0, 3))
def test_maps_a_head_waits_for_are_part_of_the_peak(size: tuple[int, int], blocks: int, fine: int) -> None:
    # Block by block by hand, each map dropped as soon as neither a block nor the head needs it.
    network, shape = three_stages(blocks=blocks), (3, *size)
    whole = skeleton(lambda: build(Architecture(network), shape, PerPixel(2, fine)))
    assert isinstance(whole, Network)
    wanted, peaks = (fine, 3), []
    groups = [[whole.stem], *([*stage] for stage in whole.stages)]
    here: tuple[int, ...] = shape
    held: dict[int, tuple[int, ...]] = {}
    for place, group in enumerate(groups):
        for module in group:
            meter = _Meter(whole, "macs", False)
            with torch.no_grad(), meter:
                waiting = [torch.empty((1, *kept), device="meta") for kept in held.values() if kept is not here]
                out = module(torch.empty((1, *here), device="meta"))
            peaks.append(meter.peak)
            here = tuple(out.shape[1:])
            del waiting
        if place in wanted:
            held[place] = here
    found = segments(Architecture(network), shape, PerPixel(2, fine))
    assert max(peaks) == max(one.cost.activation_bytes for one in found[:-1])


def test_a_classifier_holds_no_map_but_the_last() -> None:
    # The stem's map, 4 x 8 x 8 in float32, waits for the dense head while the later stages run.
    architecture, shape = Architecture(three_stages()), (3, 8, 8)
    dense = segments(architecture, shape, PerPixel(1, 0))
    plain = segments(architecture, shape, 1)
    waits = [one.cost.activation_bytes - other.cost.activation_bytes for one, other in zip(dense, plain, strict=True)]
    assert waits[0] == 0
    assert waits[2:4] == [4 * 4 * 64] * 2


@dataclass(frozen=True)
class Patches:
    width: int = 8

    def build(self, in_channels: int) -> nn.Module:
        return nn.Conv2d(in_channels, self.width, 4, 4)


@dataclass(frozen=True)
class Shrinking:
    def build(self, in_channels: int, width: int, stride: int) -> nn.Module:
        return nn.Conv2d(in_channels, width, 3, 2 * stride, 1)


@pytest.mark.parametrize(
    ("network", "strides"),
    [
        (three_stages(), (1, 2, 4, 4)),
        (three_stages(PlainStem(8, 7, 2, True)), (4, 8, 16, 16)),
        (three_stages(DeepStem(Convolution(3), 8, 2, False)), (2, 4, 8, 8)),
        (three_stages(Patches()), (4, 8, 16, 16)),
        (HybridNet(Patches(), (Stage(8, (Shrinking(), Bottleneck(Convolution(3), 2))),)), (4, 8)),
        (HybridNet(PlainStem(4, 3, 1, False), ()), (1,)),
    ],
    ids=str,
)
def test_a_network_gives_its_maps_with_channels_and_strides(network: HybridNet, strides: tuple[int, ...]) -> None:
    module = build(Architecture(network), (3, 64, 32), 10).eval()
    assert isinstance(module, Network)
    assert tuple(one.stride for one in module.feature_maps) == strides
    maps = module.features(torch.randn(2, 3, 64, 32))
    assert [tuple(one.shape) for one in maps] == [
        (2, one.channels, 64 // one.stride, 32 // one.stride) for one in module.feature_maps
    ]
    assert len(maps) == len(parts(network, 3))


def test_the_scores_are_the_head_of_the_last_map() -> None:
    module = build(Architecture(three_stages()), (3, 9, 7), 5).eval()
    assert isinstance(module, Network)
    x = torch.randn(2, 3, 9, 7)
    assert torch.equal(module(x), module.head(module.features(x)[-1]))
    names = {name.partition(".")[0] for name in module.state_dict()}
    assert (names, list(module.head.state_dict())) == ({"stem", "stages", "head"}, ["2.weight", "2.bias"])


def test_a_number_is_the_head_of_a_classifier() -> None:
    assert as_head(7) == ClassScores(7)
    assert as_head(PerPixel(2)) == PerPixel(2)
    architecture = Architecture(three_stages())
    assert cost(architecture, (3, 8, 8), ClassScores(7)) == cost(architecture, (3, 8, 8), 7)
    assert profile("resnet26", (3, 32, 32), ClassScores(7)).cost == profile("resnet26", (3, 32, 32), 7).cost


@dataclass(frozen=True)
class Whole:
    """A whole network of the user's own, for a task of the user's own."""

    side: int = 1

    def build(self, input_shape: tuple[int, int, int], scores: int) -> nn.Module:
        return nn.Conv2d(input_shape[0], scores, 3, self.side, 1)


def test_a_whole_network_is_given_what_the_head_gives_and_checked_by_it() -> None:
    shape, head = (3, 8, 8), PerPixel(2)
    assert build(Architecture(Whole()), shape, head)(torch.zeros(1, 3, 8, 8)).shape == (1, 2, 8, 8)
    assert cost(Architecture(Whole()), shape, head).macs == 2 * 27 * 64
    with pytest.raises(InvalidArchitecture, match=r"^the network must return \(2, 8, 8\), but returns \(2, 4, 4\)$"):
        cost(Architecture(Whole(2)), shape, head)


@dataclass(frozen=True)
class Wrong(PerPixel):
    def build(self, maps: Sequence[FeatureMap], input_shape: tuple[int, int, int]) -> nn.Module:
        return Sum(maps, self.scores + 1, input_shape[1:])


def test_a_head_that_returns_something_else_is_refused_in_its_own_words() -> None:
    with pytest.raises(InvalidArchitecture, match=r"must return \(2, 8, 8\), but returns \(3, 8, 8\)$"):
        cost(Architecture(three_stages()), (3, 8, 8), Wrong(2))


@dataclass(frozen=True)
class Says(PerPixel):
    """A head whose `problem` returns anything, or raises it."""

    said: Any = None

    def problem(self, input_shape: tuple[int, int, int], output_shape: tuple[int, ...]) -> str | None:
        if isinstance(self.said, Exception):
            raise self.said
        found: str | None = self.said
        return found


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (False, "must return one sentence on what is wrong, or None, but returns False"),
        (True, "or None, but returns True"),
        ((), r"or None, but returns \(\)"),
        (("too large",), r"or None, but returns \('too large',\)"),
        (" ", "or None, but returns ' '"),
        (3, "or None, but returns 3"),
        (KeyError("scores"), "raised KeyError: 'scores'"),
    ],
)
def test_a_head_that_says_something_else_than_a_sentence_is_refused(said: Any, words: str) -> None:
    with pytest.raises(BadInput, match=f"^`Says.problem` .*{words}$") as caught:
        cost(Architecture(three_stages()), (3, 8, 8), Says(2, said=said))
    assert not isinstance(caught.value, InvalidArchitecture)  # no other architecture would do
    assert cost(Architecture(three_stages()), (3, 8, 8), Says(2)).macs
