from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from invnas import (
    Architecture,
    Bottleneck,
    Convolution,
    ConvolutionFPN,
    DenseNet,
    HybridNet,
    PlainStem,
    RCNNHeads,
    SemanticFPN,
    Stage,
)
from invnas.cost import cost, segments
from invnas.latency.table import COLUMNS, tabulator
from invnas.space import load_space
from invnas.tasks.detection.head import Boxes
from invnas.tasks.segmentation.head import PixelScores
from invnas.zoo import NAMES, by_name, small_networks

MACS = [place for place, name in enumerate(COLUMNS) if name.endswith("_macs") and "small" not in name]
SPACES = {name: load_space(name) for name in ("digits", "hybrid_cifar")}


def macs_before_the_head(architecture: Architecture, shape: Any) -> int:
    return sum(one.cost.macs for one in segments(architecture, shape, 10) if one.name != "head")


@given(st.sampled_from(sorted(SPACES)), st.integers(0, 10**6))
def test_every_multiply_add_stands_in_one_column(name: str, seed: int) -> None:
    one = SPACES[name].sample(random.Random(seed))[1]
    shape = (3, 32, 32)
    row = tabulator(shape, 10)(one)
    assert row[MACS].sum() == pytest.approx(macs_before_the_head(one, shape))
    assert (row >= 0).all()


@pytest.mark.parametrize("name", [*NAMES[::3], *list(small_networks())[::7]])
def test_published_networks_have_a_table_too(name: str) -> None:
    one = small_networks()[name] if name in small_networks() else by_name(name)
    row = tabulator((3, 64, 64), 10)(one)
    assert row[MACS].sum() == pytest.approx(macs_before_the_head(one, (3, 64, 64)))


@pytest.mark.parametrize("head", [SemanticFPN(8), RCNNHeads(mask=Convolution(3), box_width=8, proposals=5)])
def test_what_a_dense_network_has_behind_its_stages_stands_there_too(head: Any) -> None:
    backbone = HybridNet(PlainStem(8, 3, 1, False), (Stage(8, (Bottleneck(Convolution(3), 2),)),))
    one, shape = Architecture(DenseNet(backbone, ConvolutionFPN(8), head)), (3, 16, 16)
    ends = PixelScores(4) if isinstance(head, SemanticFPN) else Boxes(4)
    row, price = tabulator(shape, ends)(one), cost(one, shape, ends)
    assert row[MACS].sum() == pytest.approx(price.macs)


@dataclass(frozen=True)
class Mine:
    """An operator of a user's own."""

    def build(self, channels: int, stride: int) -> nn.Module:
        return nn.Conv2d(channels, channels, 3, stride, 1)


@dataclass(frozen=True)
class Whole:
    """A network of a user's own."""

    def build(self, input_shape: tuple[int, int, int], classes: int) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(input_shape)), classes))


def test_what_nobody_knows_is_counted_as_other() -> None:
    own = Architecture(HybridNet(PlainStem(8, 3, 1, False), (Stage(8, (Bottleneck(Mine(), 2),)),)))
    row = tabulator((3, 8, 8), 10)(own)
    assert row[MACS].sum() == macs_before_the_head(own, (3, 8, 8))
    assert row[COLUMNS.index("other_macs")] == 4 * 4 * 9 * 64
    whole = tabulator((3, 8, 8), 10)(Architecture(Whole()))
    assert whole[COLUMNS.index("other_macs")] == 1920
