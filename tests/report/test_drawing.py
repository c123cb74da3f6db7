"""Drawings are well-formed, say every operator, stay inside their width, and escape what users wrote."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

import pytest

from invnas import (
    BasicBlock,
    Bottleneck,
    Convolution,
    DepthwiseConvolution,
    HybridNet,
    InvertedResidual,
    Involution,
    PlainStem,
    PointwiseBlock,
    Stage,
    zoo,
)
from invnas.architecture import Architecture
from invnas.report.drawing import WIDTH, drawing_of, operator_label, summary
from invnas.space import load_space

SVG = "{http://www.w3.org/2000/svg}"


@dataclass(frozen=True)
class Own:
    name: str
    width: int = 3
    parts: tuple[Any, ...] = ()


def texts(svg: str) -> list[str]:
    return ["".join(e.itertext()) for e in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def check_inside(svg: str) -> None:
    root = ElementTree.fromstring(svg)
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    assert width == WIDTH
    for box in root.iter(f"{SVG}rect"):
        x, y, w, h = (float(box.attrib[name]) for name in ("x", "y", "width", "height"))
        assert w > 0
        assert x >= 0
        assert x + w <= width
        assert y + h <= height


@pytest.mark.parametrize(
    "network",
    [
        HybridNet(PlainStem(8, 3, 1, False), ()),
        HybridNet(PlainStem(8, 3, 1, False), (Stage(8, ()),)),
        HybridNet(Own("a"), (Stage(8, (Own("b"),)),)),
        Own("alone"),
        Own("deep", 1, (Own("x", 1, (Own("y", 1, (Own("z"),) * 3),)), Convolution(3))),
    ],
    ids=["no stage", "no block", "own parts", "own root", "nested"],
)
def test_degenerate_and_own_networks(network: Any) -> None:
    svg = drawing_of(Architecture(network))
    check_inside(svg)
    assert summary(Architecture(network))


def test_every_operator_is_named_in_order() -> None:
    rng = random.Random(3)
    for _ in range(20):
        _, architecture = load_space("digits").sample(rng)
        svg = drawing_of(architecture)
        check_inside(svg)
        drawn = [text for text in texts(svg) if text.startswith(("inv", "conv")) and "→" not in text]
        labels = [operator_label(operator) for _, operator in architecture.operators]
        folded = [label for i, label in enumerate(labels) if label in drawn[i : i + 1] or label in drawn]
        assert len(folded) == len(labels)
        assert set(drawn) == set(labels)


def test_equal_blocks_are_folded() -> None:
    svg = drawing_of(zoo.rednet(152))
    check_inside(svg)
    assert [text for text in texts(svg) if text.startswith("× ")] == ["× 3", "× 8", "× 36", "× 3"]
    assert "stage 3: 1024 channels, stride 2, 36 × inv 7×7 g16 r4" in summary(zoo.rednet(152))


def test_the_other_blocks_are_drawn_as_what_they_are() -> None:
    blocks = (InvertedResidual(DepthwiseConvolution(3), 6, squeeze_ratio=4),) * 3
    network = HybridNet(PlainStem(8, 3, 1, False), (Stage(16, blocks, 2), Stage(16, (BasicBlock(), PointwiseBlock()))))
    svg = drawing_of(Architecture(network))
    check_inside(svg)
    drawn = texts(svg)
    assert [text for text in drawn if text.startswith(("gate", "× "))] == ["gate 12", "gate 24", "× 2"]
    wide = [text for text in drawn if text.startswith("1×1")]
    assert wide == ["1×1 → 48", "1×1 → 16", "1×1 → 96", "1×1 → 16", "1×1 → 16"]
    assert drawn.count("conv 3×3 → 16") == 2
    assert summary(Architecture(network))[1:] == [
        "stage 1: 16 channels, stride 2, 3 × depthwise 3×3 e6 se4",
        "stage 2: 16 channels, basic 3×3, conv 1×1",
    ]


def test_operators_differ_in_colour() -> None:
    def drawn(operator: Any) -> str:
        return drawing_of(Architecture(HybridNet(PlainStem(8, 3, 1, False), (Stage(8, (Bottleneck(operator, 1),)),))))

    def colours(svg: str) -> set[str]:
        return {box.attrib["fill"] for box in ElementTree.fromstring(svg).iter(f"{SVG}rect")}

    assert len(colours(drawn(Involution(3, 4, 2))) - colours(drawn(Convolution(3)))) == 1


def test_text_of_users_is_escaped_and_cut_with_its_full_form_kept() -> None:
    name = "<script>&\"'" + "long" * 60
    svg = drawing_of(Architecture(Own(name)))
    assert "<script>" not in svg
    (text,) = texts(svg)
    assert name in text
    assert "…" in text
