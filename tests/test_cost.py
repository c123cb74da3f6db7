from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import flop_registry, register_flop_formula

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
)
from invnas.architecture import Architecture
from invnas.blocks import ACTIVATIONS
from invnas.cost import cost, price_part, pricer
from invnas.errors import BadInput, InvalidArchitecture, UnpricedOperator
from invnas.meter import metered
from invnas.nn import Involution2d, build
from invnas.nn.network import Part
from invnas.space import load_space
from invnas.zoo import by_name, rednet, resnet

IMAGENET = ((3, 224, 224), 1000)

# Parameters with K_stem 3 and 7, GMAC of conv + linear + local with K_stem 3, the same without local.
REDNETS = {
    26: (9_233_166, 9_233_886, 1.6852, 1.6508),
    38: (12_386_986, 12_387_706, 2.1668, 2.1141),
    50: (15_540_806, 15_541_526, 2.6485, 2.5773),
    101: (25_652_950, 25_653_670, 4.6590, 4.5460),
    152: (33_984_582, 33_985_302, 6.6793, 6.5147),
}
RESNETS = {
    26: (13_696_552, 2.3423),
    38: (19_626_792, 3.2157),
    50: (25_557_032, 4.0892),
    101: (44_549_160, 7.8014),
    152: (60_192_808, 11.5136),
}


def counted(network: nn.Module, image: torch.Tensor) -> tuple[int, int]:
    """Return multiply-adds of convolutions and linear layers, and those of involution, by hooks and closed forms."""
    layers, local = [0], [0]

    def count(module: nn.Module, inputs: Any, output: torch.Tensor) -> None:
        if isinstance(module, nn.Conv2d):
            layers.append(output.numel() * module.in_channels // module.groups * math.prod(module.kernel_size))
        elif isinstance(module, nn.Linear):
            layers.append(output.numel() * module.in_features)
        elif isinstance(module, Involution2d):
            local.append(output.numel() * module.kernel_size**2)

    hooks = [module.register_forward_hook(count) for module in network.modules()]
    with torch.no_grad():
        network.eval()(image)
    for hook in hooks:
        hook.remove()
    return sum(layers), sum(local)


def numel(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("depth", REDNETS)
def test_rednets_cost_what_the_reference_computed(depth: int) -> None:
    parameters, parameters_of_7, giga, giga_without_local = REDNETS[depth]
    price = cost(rednet(depth), *IMAGENET)
    assert (price.parameters, round(price.macs / 1e9, 4)) == (parameters, giga)
    assert cost(rednet(depth, 7), *IMAGENET).parameters == parameters_of_7
    with torch.device("meta"):
        layers, local = counted(build(rednet(depth), *IMAGENET), torch.empty(1, *IMAGENET[0]))
    assert round(layers / 1e9, 4) == giga_without_local
    assert layers + local == price.macs


@pytest.mark.parametrize("depth", RESNETS)
def test_resnets_cost_what_the_reference_computed(depth: int) -> None:
    price = cost(resnet(depth), *IMAGENET)
    assert (price.parameters, round(price.macs / 1e9, 4)) == RESNETS[depth]


@pytest.mark.parametrize(
    ("name", "parameters", "macs"),
    [
        ("resnet18", 11_689_512, 1_814_073_344),
        ("resnet34", 21_797_672, 3_663_761_408),
        ("mobilenet_v2", 3_504_872, 300_774_272),
    ],
)
def test_networks_of_other_blocks_cost_what_torchvision_states(name: str, parameters: int, macs: int) -> None:
    price = cost(by_name(name), *IMAGENET)
    assert (price.parameters, price.macs) == (parameters, macs)


@pytest.mark.parametrize(
    ("name", "input_shape", "classes", "samples"),
    [
        ("digits", (1, 8, 8), 10, 12),
        ("digits", (3, 7, 5), 2, 4),
        ("hybrid_cifar", (3, 32, 32), 10, 6),
        ("hybrid_imagenet", (3, 33, 48), 7, 2),
        ("plain_function", (1, 8, 8), 10, 6),
        ("mobile", (3, 9, 12), 10, 4),
    ],
)
def test_a_random_architecture_costs_what_hooks_count_on_a_real_forward(
    name: str, input_shape: tuple[int, int, int], classes: int, samples: int
) -> None:
    space, rng, price = load_space(name), random.Random(0), pricer(input_shape, classes)
    for _ in range(samples):
        _, architecture = space.sample(rng)
        network = build(architecture, input_shape, classes)
        found = price(architecture)
        assert found.macs == sum(counted(network, torch.randn(1, *input_shape)))
        assert found.parameters == numel(network)


@st.composite
def operators(draw: st.DrawFn) -> Convolution | DepthwiseConvolution | Involution:
    kernel_size = draw(st.sampled_from((1, 3, 5, 7)))
    if draw(st.booleans()):
        return DepthwiseConvolution(kernel_size)
    if draw(st.booleans()):
        return Convolution(kernel_size, draw(st.sampled_from((1, 2, 4))))
    return Involution(kernel_size, draw(st.sampled_from((1, 2, 4))), draw(st.sampled_from((1, 2, 4))))


@st.composite
def blocks(draw: st.DrawFn) -> Any:
    spatial, activation = draw(operators()), draw(st.sampled_from(ACTIVATIONS))
    return draw(
        st.sampled_from(
            (
                Bottleneck(spatial, draw(st.sampled_from((1, 2, 4)))),
                BasicBlock(draw(st.sampled_from((1, 3, 5)))),
                InvertedResidual(spatial, draw(st.integers(1, 3)), draw(st.sampled_from((None, 1, 2, 4))), activation),
                PointwiseBlock(activation),
            )
        )
    )


@given(
    blocks(),
    st.sampled_from((4, 8, 16)),
    st.sampled_from((8, 16, 32)),
    st.integers(1, 3),
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
)
def test_the_price_by_pieces_is_the_price_of_the_whole_block(
    value: Any, channels: int, width: int, stride: int, size: tuple[int, int]
) -> None:
    part = Part("block", value, channels, width, stride)
    with torch.device("meta"):
        module = part.build().eval()
    assert price_part(part, (channels, *size)) == metered(module, (channels, *size))


def small(width: int, stride: int, spatial: Any = Convolution(3)) -> Architecture:  # noqa: B008
    stage = Stage(width, (Bottleneck(spatial, 2),), stride)
    return Architecture(HybridNet(PlainStem(4, 3, 1, False), (stage,)))


def test_activation_bytes_by_hand() -> None:
    # On 8 x 8 in float32, four channels are 1024 bytes. The stem holds image, convolution, norm: 768 + 2 * 1024; the
    # first 1 x 1 of the block holds its input, convolution and norm: 3 * 1024. With stride 2, that is the peak.
    assert cost(small(8, 2), (3, 8, 8), 5).activation_bytes == 3 * 1024
    # With stride 1 to eight channels, the sum holds the input, both paths and itself: 1024 + 3 * 2048.
    assert cost(small(8, 1), (3, 8, 8), 5).activation_bytes == 1024 + 3 * 2048
    # With the identity as shortcut, the last 1 x 1 holds the block's input, its own of two channels, and two maps.
    assert cost(small(4, 1), (3, 8, 8), 5).activation_bytes == 1024 + 512 + 2 * 1024
    # Inside an involution of 2 channels on 4 x 4: kernels of 49 taps, 3136 bytes a group, are the largest map.
    assert cost(small(4, 1, Involution(7, 1, 1)), (1, 4, 4), 5).activation_bytes == 256 + 128 + 2 * 49 * 64 + 128


def test_weights_are_no_feature_maps() -> None:
    # One pixel: a head of 100 x 1000 weights would be 400 kB, its feature maps are 400 bytes twice and the scores.
    network = Architecture(HybridNet(PlainStem(100, 1, 1, False), ()))
    assert cost(network, (1, 1, 1), 1000).activation_bytes == 400 + 4 * 1000 + 400


def test_one_image_of_one_pixel_has_a_price() -> None:
    price = cost(small(8, 2, Involution(7, 2, 1)), (1, 1, 1), 2)
    network = build(small(8, 2, Involution(7, 2, 1)), (1, 1, 1), 2)
    assert (price.macs, price.parameters) == (sum(counted(network, torch.zeros(1, 1, 1, 1))), numel(network))


def test_a_broken_rule_is_found_before_torch_is_asked() -> None:
    with pytest.raises(InvalidArchitecture, match=r"`groups` must divide the channels.*\(stage 1, block 1\)"):
        cost(small(8, 1, Convolution(3, groups=3)), (3, 8, 8), 5)


class Spectrum(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.fft.fft2(x).abs()


@dataclass(frozen=True)
class Fourier:
    version: int

    def build(self, channels: int, stride: int) -> nn.Module:
        return Spectrum()


@pytest.fixture
def formula_of_fourier() -> Iterator[None]:
    @register_flop_formula(torch.ops.aten._fft_c2c)
    def _(shape: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
        return 2 * 1000

    yield
    flop_registry.pop(torch.ops.aten._fft_c2c)


def test_an_operator_nobody_priced_is_named_never_counted_as_zero() -> None:
    with pytest.raises(UnpricedOperator, match=r"`aten._fft_c2c`; register a formula with torch.utils.flop_counter"):
        cost(small(8, 1, Fourier(1)), (3, 8, 8), 5)


def test_a_formula_of_the_user_is_taken(formula_of_fourier: None) -> None:
    plain = cost(small(8, 1, Convolution(1)), (3, 8, 8), 5)
    assert cost(small(8, 1, Fourier(2)), (3, 8, 8), 5).macs == plain.macs - 4 * 4 * 64 + 1000


@dataclass(frozen=True)
class Own:
    """An operator made by any function, to be wrong in any way."""

    make: Any

    def build(self, channels: int, stride: int) -> nn.Module:
        module: nn.Module = self.make(channels, stride)
        return module


def strange(channels: int, stride: int) -> nn.Module:
    return nn.LSTM(channels, channels)


def thin(channels: int, stride: int) -> nn.Module:
    return nn.Conv2d(channels, channels // 2, 1, stride)


def deaf(channels: int, stride: int) -> nn.Module:
    return nn.Conv2d(channels, channels, 1)


def broken(channels: int, stride: int) -> nn.Module:
    return nn.Conv2d(channels + 1, channels, 1)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (thin, "Own with stride 2 must turn (4, 8, 8) into (4, 4, 4), but makes the shape (2, 4, 4)"),
        (deaf, "Own with stride 2 must turn (4, 8, 8) into (4, 4, 4), but makes the shape (4, 8, 8)"),
        (
            broken,
            "Own on an input of shape (4, 8, 8) raised RuntimeError: Invalid channel dim",
        ),
        (strange, "Own on an input of shape (4, 8, 8) raised ValueError: LSTM: Expected input"),
    ],
)
def test_an_own_operator_that_does_not_fit_is_named(make: Any, sentence: str) -> None:
    with pytest.raises(BadInput) as error:
        cost(small(8, 2, Own(make)), (3, 8, 8), 5)
    assert str(error.value).startswith(sentence)


@dataclass(frozen=True)
class Whole:
    outputs: int = 0
    pair: bool = False

    def build(self, input_shape: tuple[int, int, int], classes: int) -> nn.Module:
        layers = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(input_shape), self.outputs or classes))
        return Pair(layers) if self.pair else layers


class Pair(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.inner(x), x


def test_a_whole_network_of_the_user_is_priced() -> None:
    price = cost(Architecture(Whole()), (1, 4, 4), 3)
    assert (price.macs, price.parameters, price.activation_bytes) == (48, 51, 4 * (16 + 3))


@pytest.mark.parametrize(
    ("network", "sentence"),
    [
        (Whole(outputs=4), "the network must return one score for each of 3 classes, but returns the shape (4,)"),
        (Whole(pair=True), "Pair must return one tensor, but returned tuple"),
    ],
)
def test_a_whole_network_with_a_wrong_output_is_refused(network: Any, sentence: str) -> None:
    with pytest.raises(BadInput) as error:
        cost(Architecture(network), (1, 4, 4), 3)
    assert str(error.value) == sentence


@pytest.mark.parametrize(
    "make",
    [
        partial(nn.MultiheadAttention, 4, 2, batch_first=True),
        nn.GELU,
        nn.SiLU,
        nn.PReLU,
        nn.Softplus,
        nn.Hardswish,
        partial(nn.GroupNorm, 2, 4),
        partial(nn.InstanceNorm2d, 4),
        partial(nn.Dropout2d, 0.5),
        partial(nn.Upsample, scale_factor=2),
        partial(nn.ChannelShuffle, 2),
        partial(nn.ConvTranspose2d, 4, 4, 2),
        partial(nn.MaxPool2d, 2),
        partial(nn.LayerNorm, 8),
        partial(nn.RMSNorm, 8),
        partial(nn.Softmax, 1),
    ],
)
def test_the_layers_people_use_have_a_price(make: Any) -> None:
    with torch.device("meta"):
        module = make().eval()
    if isinstance(module, nn.MultiheadAttention):
        module = Attention(module)
    assert metered(module, (4, 8, 8)).peak >= 2 * 4 * 4 * 64 - 1024


class Attention(nn.Module):
    def __init__(self, inner: nn.MultiheadAttention) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        mixed: torch.Tensor = self.inner(tokens, tokens, tokens, need_weights=False)[0]
        return mixed.transpose(1, 2).reshape(x.shape)


def test_a_price_depends_on_the_channels_of_the_image_and_the_classes() -> None:
    architecture = small(8, 1)
    base = cost(architecture, (3, 8, 8), 5)
    assert cost(architecture, (1, 8, 8), 5).macs == base.macs - 2 * 4 * 9 * 64
    assert cost(architecture, (3, 8, 8), 6).parameters == base.parameters + 9


@given(st.integers(1, 40), st.integers(1, 40))
def test_a_larger_map_never_costs_less(height: int, width: int) -> None:
    assume(height * width > 1)
    one, other = (cost(small(8, 2), (1, h, w), 2) for h, w in ((height, width), (height + 1, width + 1)))
    assert other.macs >= one.macs
    assert other.activation_bytes >= one.activation_bytes
    assert one.parameters == other.parameters
