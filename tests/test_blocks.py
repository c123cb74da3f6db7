"""Blocks and operators as values: their rules in sentences, what they count as, their way through a space and JSON."""

from __future__ import annotations

import random
from typing import Any

import pytest

from invnas import (
    BasicBlock,
    Bottleneck,
    Choice,
    Convolution,
    DepthwiseConvolution,
    HybridNet,
    InvertedResidual,
    Involution,
    PlainStem,
    PointwiseBlock,
    Repeat,
    Space,
    Stage,
)
from invnas.architecture import Architecture

STEM = PlainStem(8, 3, 1, False)


def network(*blocks: Any, width: int = 12) -> Architecture:
    return Architecture(HybridNet(STEM, (Stage(width, blocks),)))


@pytest.mark.parametrize(
    ("block", "said"),
    [
        (BasicBlock(2), "`kernel_size` must be odd so that the map keeps its size, but got 2; nearest: 1, 3"),
        (InvertedResidual(Convolution(3), 0), "`expansion` must be a whole number from 1 to 65,536, but got 0"),
        (InvertedResidual(Convolution(3), 1.5), "`expansion` must be a whole number from 1 to 65,536, but got 1.5"),
        (
            InvertedResidual(DepthwiseConvolution(3), 6, squeeze_ratio=5),
            "`squeeze_ratio` must divide the channels, but got squeeze_ratio=5 and 48 channels; nearest: 3, 4, 6",
        ),
        (
            InvertedResidual(DepthwiseConvolution(3), 6, squeeze_ratio=0),
            "`squeeze_ratio` must be a whole number from 1 to 65,536, but got 0",
        ),
        (
            InvertedResidual(Involution(3, 10, 2), 3),
            "`group_channels` must divide the channels, but got group_channels=10 and 24 channels; nearest: ",
        ),
        (
            InvertedResidual(DepthwiseConvolution(4)),
            "`kernel_size` must be odd so that the map keeps its size, but got 4; nearest: 3, 5",
        ),
        (
            InvertedResidual(DepthwiseConvolution(3), activation="relu7"),  # type: ignore[arg-type]
            "unknown activation 'relu7'; nearest: 'relu'; valid: relu, relu6, hardswish",
        ),
        (PointwiseBlock("gelu"), "unknown activation 'gelu'; nearest: 'relu'; valid: relu, relu6, hardswish"),
        (InvertedResidual(3), "3 stands where a spatial operator is wanted: take Convolution, DepthwiseConvolution, "),
    ],
    ids=str,
)
def test_a_broken_rule_is_said_in_a_sentence_with_its_place(block: Any, said: str) -> None:
    problem = network(block).problem
    assert problem is not None
    assert problem.startswith(said)
    assert problem.endswith("(stage 1, block 1)")


def test_the_channels_in_the_middle_are_those_that_enter_times_the_expansion() -> None:
    gated = InvertedResidual(DepthwiseConvolution(3), 1, squeeze_ratio=12)
    assert network(BasicBlock(), gated).problem is None
    assert "squeeze_ratio=12 and 8 channels" in str(network(gated, BasicBlock()).problem)


@pytest.mark.parametrize(
    ("blocks", "kind", "paths"),
    [
        ((BasicBlock(),), "convolution", ["stages.0.blocks.0"]),
        ((InvertedResidual(DepthwiseConvolution(3)),), "convolution", ["stages.0.blocks.0.spatial"]),
        ((InvertedResidual(Involution(3, 2, 2)), PointwiseBlock()), "involution", ["stages.0.blocks.0.spatial"]),
        (
            (BasicBlock(), Bottleneck(Involution(3, 2, 2), 2)),
            "hybrid",
            ["stages.0.blocks.0", "stages.0.blocks.1.spatial"],
        ),
        ((PointwiseBlock(),), "own", []),
    ],
    ids=str,
)
def test_blocks_count_by_their_spatial_operators(blocks: Any, kind: str, paths: list[str]) -> None:
    found = network(*blocks)
    assert found.kind == kind
    assert [path for path, _ in found.operators] == paths


def test_a_space_chooses_between_blocks_and_inside_them() -> None:
    spatial = Choice(DepthwiseConvolution(Choice(3, 5)), Involution(3, 4, 2))
    inverted = InvertedResidual(spatial, Choice(1, 2), Choice(None, 4), Choice("relu6", "hardswish"))
    block = Choice(inverted, BasicBlock(Choice(1, 3)), Bottleneck(Convolution(3), 2), PointwiseBlock())
    space = Space(HybridNet(STEM, [Stage(8, Repeat(block, times=Choice(1, 2)), 2)]))
    one = 3 * 2 * 2 * 2 + 2 + 1 + 1
    assert space.size == one + one**2
    for seed in range(12):
        decisions, architecture = space.sample(random.Random(seed))
        assert architecture.problem is None
        assert Architecture.from_json(architecture.to_json()) == architecture
        assert space.decisions(architecture) == decisions
