from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from invnas import (
    BasicBlock,
    Bottleneck,
    Convolution,
    DeepStem,
    DepthwiseConvolution,
    HybridNet,
    InvertedResidual,
    Involution,
    PlainStem,
    PointwiseBlock,
    Stage,
)
from invnas.architecture import Architecture
from invnas.cost import cost
from invnas.errors import BadInput, InvalidArchitecture
from invnas.nn import Involution2d, build
from invnas.nn.blocks import BuiltBlock, block, operator, stem
from invnas.space import load_space
from invnas.zoo import rednet, resnet

SIDES = st.tuples(st.integers(1, 2), st.integers(1, 9), st.integers(1, 9))
OPERATORS = st.sampled_from((Convolution(3), Convolution(5, 4), Involution(3, 4, 2), Involution(7, 1, 1)))


@given(OPERATORS, st.integers(1, 3), SIDES)
def test_an_operator_keeps_the_channels_and_divides_the_map_upwards(
    value: Any, stride: int, size: tuple[int, int, int]
) -> None:
    batch, height, width = size
    y = operator(value, 8, stride).eval()(torch.randn(batch, 8, height, width))
    assert y.shape == (batch, 8, -(-height // stride), -(-width // stride))


@given(OPERATORS, st.sampled_from((1, 2, 4)), st.sampled_from((8, 16, 32)), st.integers(1, 3), SIDES)
def test_a_bottleneck_has_the_width_and_the_map_its_stage_wants(
    value: Any, expansion: int, channels: int, stride: int, size: tuple[int, int, int]
) -> None:
    batch, height, width = size
    module = block(Bottleneck(value, expansion), channels, 32, stride).eval()
    y = module(torch.randn(batch, channels, height, width))
    assert y.shape == (batch, 32, -(-height // stride), -(-width // stride))
    assert isinstance(module, BuiltBlock)
    assert isinstance(module.shortcut, nn.Identity) == (channels == 32 and stride == 1)


BLOCKS = st.sampled_from(
    (
        BasicBlock(3),
        BasicBlock(1),
        InvertedResidual(DepthwiseConvolution(5), 6, 4, "hardswish"),
        InvertedResidual(DepthwiseConvolution(3), 1),
        InvertedResidual(Involution(3, 4, 2), 2, 8, "relu"),
        PointwiseBlock("hardswish"),
    )
)


@given(BLOCKS, st.sampled_from((8, 16)), st.integers(1, 3), SIDES)
def test_the_other_blocks_too_and_each_adds_its_input_where_it_says_so(
    value: Any, channels: int, stride: int, size: tuple[int, int, int]
) -> None:
    batch, height, width = size
    module = block(value, channels, 16, stride).eval()
    x = torch.randn(batch, channels, height, width)
    y = module(x)
    assert y.shape == (batch, 16, -(-height // stride), -(-width // stride))
    if isinstance(value, PointwiseBlock) or (isinstance(value, InvertedResidual) and (stride > 1 or channels != 16)):
        assert module.shortcut is None
        assert y.any()
    elif stride == 1 and channels == 16:
        # The last norm of a path that is added to its input starts at zero.
        torch.testing.assert_close(y, x.relu() if isinstance(value, BasicBlock) else x)


def test_an_inverted_residual_is_that_of_the_paper_written_by_hand() -> None:
    torch.manual_seed(0)
    module = block(InvertedResidual(DepthwiseConvolution(3), 2, 4), 8, 12, 2).eval()
    x = torch.randn(2, 8, 7, 5)
    wide, deep, narrow = (module.get_parameter(f"{role}.0.weight") for role in ("enter", "spatial", "leave"))
    reduce, expand = (module.get_parameter(f"gate.{name}.weight")[:, :, 0, 0] for name in ("reduce", "expand"))
    scale = (1 + 1e-5) ** -0.5  # a batch norm that has seen nothing
    y = (nn.functional.conv2d(x, wide) * scale).clamp(0, 6)
    y = (nn.functional.conv2d(y, deep, stride=2, padding=1, groups=16) * scale).clamp(0, 6)
    gates = ((y.mean((2, 3)) @ reduce.T).relu() @ expand.T + 3).clamp(0, 6) / 6
    expected = nn.functional.conv2d(y * gates[:, :, None, None], narrow) * scale
    torch.testing.assert_close(module(x), expected)


@pytest.mark.parametrize(
    ("value", "side"),
    [
        (PlainStem(8, 3, 1, False), 9),
        (PlainStem(8, 7, 2, True), 3),
        (PlainStem(8, 1, 3, False), 3),
        (DeepStem(Involution(3, 4, 2), 8, 1, False), 9),
        (DeepStem(Convolution(5), 8, 2, True), 3),
    ],
    ids=str,
)
def test_a_stem_has_its_width_and_its_strides(value: Any, side: int) -> None:
    assert stem(value, 3).eval()(torch.randn(2, 3, 9, 9)).shape == (2, 8, side, side)


@pytest.mark.parametrize(
    ("name", "size", "examples"),
    [("digits", (8, 8), 12), ("hybrid_cifar", (17, 12), 6), ("hybrid_imagenet", (33, 9), 2)],
)
def test_every_architecture_of_a_shipped_space_classifies(name: str, size: tuple[int, int], examples: int) -> None:
    space = load_space(name)

    @settings(max_examples=examples)
    @given(st.integers(0, 10**6), st.integers(1, 4), st.integers(2, 11), st.integers(0, 2))
    def classifies(seed: int, channels: int, classes: int, batch: int) -> None:
        _, architecture = space.sample(random.Random(seed))
        network = build(architecture, (channels, *size), classes).eval()
        with torch.no_grad():
            scores = network(torch.randn(batch, channels, *size))
        assert scores.shape == (batch, classes)
        assert scores.isfinite().all()

    classifies()


@pytest.mark.parametrize("name", ["digits", "hybrid_cifar"])
def test_channels_last_is_kept_through_the_network_and_back(name: str) -> None:
    rng, space = random.Random(1), load_space(name)
    for _ in range(4):
        network = build(space.sample(rng)[1], (3, 16, 16), 4)
        seen: list[str] = []

        def look(module: nn.Module, inputs: Any, output: torch.Tensor, seen: list[str] = seen) -> None:
            if output.dim() == 4 and min(output.shape[1:]) > 1:  # otherwise both formats are one
                assert output.is_contiguous(memory_format=torch.channels_last), type(module).__name__
                seen.append(type(module).__name__)

        for module in network.modules():
            module.register_forward_hook(look)
        x = torch.randn(2, 3, 16, 16).contiguous(memory_format=torch.channels_last).requires_grad_()
        network(x).sum().backward()
        assert {"Conv2d", "BatchNorm2d", "BuiltBlock"} <= set(seen)
        assert x.grad is not None
        assert x.grad.is_contiguous(memory_format=torch.channels_last)


def test_every_weight_is_channels_last() -> None:
    network = build(resnet(26), (3, 32, 32), 10)
    weights = [parameter for parameter in network.parameters() if parameter.dim() == 4]
    assert weights
    assert all(weight.is_contiguous(memory_format=torch.channels_last) for weight in weights)


@pytest.mark.parametrize("awake", [False, True])
@pytest.mark.parametrize("make", [resnet, rednet])
def test_signals_neither_fade_nor_explode_over_fifty_layers(make: Any, awake: bool) -> None:
    torch.manual_seed(0)
    network = build(make(50), (3, 64, 64), 10).train()
    spreads: list[float] = []
    for module in network.modules():
        if isinstance(module, BuiltBlock):
            module.register_forward_hook(lambda _, __, y: spreads.append(float(y.detach().std())))
        if awake and isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)  # the last norm of a block starts at zero, and will not stay there
    scores = network(torch.randn(4, 3, 64, 64))
    assert len(spreads) == 16
    assert min(spreads) > 0.1
    assert max(spreads) < 10
    assert 0.01 < float(scores.detach().std()) < 2
    nn.functional.cross_entropy(scores, torch.arange(4)).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_a_block_starts_as_its_shortcut_and_all_else_as_the_reference_says() -> None:
    torch.manual_seed(0)
    network = build(rednet(26), (3, 32, 32), 10)
    for module in network.modules():
        if isinstance(module, BuiltBlock):
            last = list(module.leave.children())[-1]
            assert isinstance(last, nn.BatchNorm2d)
            assert not last.weight.any()
        elif isinstance(module, Involution2d):
            assert module.span.bias is not None
            assert not module.span.bias.any()
        elif isinstance(module, nn.Conv2d):
            spread = (2 / (module.out_channels * module.kernel_size[0] ** 2)) ** 0.5
            assert float(module.weight.detach().std()) == pytest.approx(spread, rel=0.15)
        elif isinstance(module, nn.Linear):
            assert float(module.weight.detach().std()) == pytest.approx(0.01, rel=0.1)
            assert not module.bias.any()
    x = torch.randn(2, 256, 4, 4).relu()
    identity = block(Bottleneck(Involution(7, 16, 4)), 256, 256, 1).eval()
    torch.testing.assert_close(identity(x), x)


def test_a_network_trains_in_half_precision() -> None:
    _, architecture = load_space("digits").sample(random.Random(5))
    network = build(architecture, (1, 8, 8), 10)
    with torch.autocast("cpu", torch.bfloat16):
        loss = nn.functional.cross_entropy(network(torch.randn(4, 1, 8, 8)), torch.arange(4))
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_a_network_without_stages_is_a_stem_and_a_head() -> None:
    network = build(Architecture(HybridNet(PlainStem(4, 3, 1, False), ())), (1, 1, 1), 2).eval()
    assert network(torch.zeros(1, 1, 1, 1)).shape == (1, 2)


@pytest.mark.parametrize("shape", [(), (3, 8), (3, 8, 0), (3, -8, 8), (10**20, 8, 8), (3, 8, 2.5), "388", None])
def test_an_image_that_cannot_be_is_refused_before_torch_is_asked(shape: Any) -> None:
    network = Architecture(HybridNet(PlainStem(4), ()))
    for asked in (build, cost):
        with pytest.raises(BadInput, match=r"^`input_shape` must be \(channels, height, width\), each a whole"):
            asked(network, shape, 10)


@pytest.mark.parametrize("classes", [0, -3, 2**24 + 1, pytest.param(10**5000, id="huge")])
def test_classes_that_cannot_be_are_refused_before_torch_is_asked(classes: int) -> None:
    for asked in (build, cost):
        with pytest.raises(BadInput, match=r"^`classes` must be a whole number from 1 to 16,777,216, but got"):
            asked(Architecture(HybridNet(PlainStem(4), ())), (3, 8, 8), classes)


@pytest.mark.parametrize(
    ("network", "sentence"),
    [
        (HybridNet(PlainStem(0), ()), "`width` must be a whole number from 1 to 65,536, but got 0 (stem)"),
        (HybridNet(PlainStem(8, 2), ()), "`kernel_size` must be odd so that the map keeps its size, but got 2"),
        (HybridNet(PlainStem(8, 3, 0), ()), "`stride` must be a whole number from 1 to 65,536, but got 0 (stem)"),
        (HybridNet(DeepStem(Convolution(3), 7), ()), "`width` of a DeepStem must be even, but got 7 (stem)"),
        (HybridNet(DeepStem(Convolution(3), 0), ()), "`width` must be a whole number"),
        (HybridNet(DeepStem(Convolution(3, 3), 8), ()), "`groups` must divide the channels, but got groups=3 and 4"),
        (
            HybridNet(DeepStem(7, 8), ()),
            "7 stands where a spatial operator is wanted: take Convolution, DepthwiseConv",
        ),
        (HybridNet(None, ()), "None stands where a stem is wanted: take PlainStem, DeepStem, or a frozen dataclass"),
        (HybridNet(PlainStem(8), None), "`stages` must be a list of Stage, but got None"),
        (HybridNet(PlainStem(8), (3,)), "3 stands where a Stage is wanted (stage 1)"),
        (
            HybridNet(PlainStem(8), (Stage(8, ()),)),
            "`blocks` must be a list of at least one block, but got () (stage 1)",
        ),
        (HybridNet(PlainStem(8), (Stage(8, None),)), "`blocks` must be a list of at least one block, but got None"),
        (HybridNet(PlainStem(8), (Stage(-8, (3,)),)), "`width` must be a whole number from 1 to 65,536, but got -8"),
        (HybridNet(PlainStem(8), (Stage("8", (3,)),)), "`width` must be a whole number from 1 to 65,536, but got '8'"),
        (HybridNet(PlainStem(8), (Stage(8, (3,), 0),)), "`stride` must be a whole number from 1 to 65,536, but got 0"),
        (HybridNet(PlainStem(8), (Stage(8, (3,)),)), "3 stands where a block is wanted: take Bottleneck, BasicBlock,"),
        (
            HybridNet(PlainStem(8), (Stage(8, (Convolution(3),)),)),
            "Convolution(kernel_size=3, groups=1) stands where a block is wanted: take Bottleneck, BasicBlock,",
        ),
        (
            HybridNet(PlainStem(8), (Stage(8, (Bottleneck(Convolution(3), 3),)),)),
            "`expansion` must divide the channels, but got expansion=3 and 8 channels; nearest: 1, 2, 4",
        ),
        (
            HybridNet(PlainStem(8), (Stage(8, (Bottleneck(Convolution(3.0), 2),)),)),  # type: ignore[arg-type]
            "`kernel_size` must be a whole number from 1 to 65,536, but got 3.0 (stage 1, block 1)",
        ),
        (
            HybridNet(PlainStem(8), (Stage(8, (Bottleneck(Convolution(3), 2), Bottleneck(Involution(3, 3), 2))),)),
            "`group_channels` must divide the channels, but got group_channels=3 and 4 channels; nearest: 1, 2, 4 "
            "(stage 1, block 2)",
        ),
        (
            Bottleneck(Convolution(3)),
            "stands where a network is wanted: take HybridNet, DenseNet, or a frozen dataclass",
        ),
        (None, "None stands where a network is wanted: take HybridNet, DenseNet, or a frozen dataclass of your own"),
    ],
)
def test_a_broken_rule_is_refused_with_reason_and_place_before_torch_is_asked(network: Any, sentence: str) -> None:
    with pytest.raises(InvalidArchitecture) as error:
        build(Architecture(network), (3, 8, 8), 10)
    assert sentence in str(error.value)


def test_a_value_without_build_is_refused_by_the_builder_too() -> None:
    with pytest.raises(
        BadInput, match=r"int stands where a operator is wanted, so it needs a method build\(self, chan"
    ):
        operator(3, 8)
