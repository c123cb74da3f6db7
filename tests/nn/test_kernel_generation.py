"""The ways to generate kernels: each against an independent formula, with its exact cost, everywhere a value goes."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from invnas import Bottleneck, Choice, Convolution, HybridNet, PlainStem, Space, Stage
from invnas.architecture import Architecture, Involution, LocalAttention
from invnas.cost import cost
from invnas.errors import BadInput
from invnas.export import TOLERANCE, export
from invnas.meter import metered
from invnas.nn import Involution2d, LocalAttention2d, build
from invnas.ops import reference, window_products
from invnas.ops.geometry import Window
from invnas.report.drawing import drawing_of, operator_label
from invnas.zoo import residual

Tensor = torch.Tensor

VARIANTS = (
    Involution(3, 4, 2),
    Involution(3, 4, None),
    Involution(3, 4, 2, patch_size=3),
    Involution(5, 4, None, patch_size=3),
    Involution(3, 4, 2, softmax=True),
    Involution(3, 4, None, softmax=True),
    LocalAttention(3, 4),
    LocalAttention(5, 2, softmax=False),
)


def network(*spatial: Any) -> Architecture:
    blocks = tuple(Bottleneck(value, 2) for value in spatial)
    return Architecture(HybridNet(PlainStem(8, 3, 1, False), (Stage(16, blocks, 2),)))


def averaged(x: Tensor, stride: int) -> Tensor:
    return F.avg_pool2d(x, stride, stride) if stride > 1 else x


def generated(layer: Involution2d, x: Tensor) -> Tensor:
    """Return the kernels by their definition, with unfold and matrix products in place of convolutions."""
    pooled = averaged(x, layer.stride)

    def patches(weight: Tensor) -> Tensor:
        side = weight.shape[2]
        columns = F.unfold(pooled, side, padding=side // 2)
        return (weight.flatten(1) @ columns).unflatten(2, pooled.shape[2:])

    span = layer.span
    if layer.linear:
        spanned = patches(span.weight) + span.bias[:, None, None]
    else:
        hidden = F.relu(layer.norm(patches(layer.reduce.weight)))
        spanned = torch.einsum("oc,bchw->bohw", span.weight[..., 0, 0], hidden) + span.bias[:, None, None]
    kernels = spanned.unflatten(1, (layer.groups, layer.kernel_size**2))
    return kernels.exp() / kernels.exp().sum(2, keepdim=True) if layer.softmax else kernels


def attended(layer: LocalAttention2d, x: Tensor) -> Tensor:
    """Return multi-head attention of each pixel to the patch around it, by torch's own attention where it can."""
    k, s, heads = layer.kernel_size, layer.stride, layer.groups
    q, key, value = layer.query(averaged(x, s)), layer.key(x), layer.value(x)
    batch, channels, height, width = q.shape
    positions = height * width

    def neighbours(tensor: Tensor) -> Tensor:  # (B, heads, positions, K * K, D)
        columns = F.unfold(tensor, k, padding=k // 2, stride=s)
        return columns.view(batch, heads, channels // heads, k * k, positions).permute(0, 1, 4, 3, 2)

    queries = q.view(batch, heads, channels // heads, positions).permute(0, 1, 3, 2).unsqueeze(3)
    if layer.softmax:
        out = F.scaled_dot_product_attention(queries, neighbours(key), neighbours(value))
    else:
        scores = queries @ neighbours(key).transpose(-1, -2) / (channels // heads) ** 0.5
        out = scores @ neighbours(value)
    return out.squeeze(3).permute(0, 1, 3, 2).reshape(batch, channels, height, width)


generators = st.tuples(
    st.sampled_from((4, 8)),
    st.sampled_from((3, 5)),
    st.integers(1, 2),
    st.sampled_from((1, 2, 4)),
    st.sampled_from((None, 1, 2)),
    st.sampled_from((1, 3, 5)),
    st.booleans(),
)
attentions = st.tuples(
    st.sampled_from((4, 8)), st.sampled_from((3, 5)), st.integers(1, 2), st.sampled_from((1, 2, 4)), st.booleans()
)
positions = st.tuples(st.integers(1, 4), st.integers(1, 4))


@given(generators, positions)
def test_kernels_follow_their_definition(numbers: tuple[Any, ...], size: tuple[int, int]) -> None:
    layer = Involution2d(*numbers).double().eval()
    x = torch.randn(2, numbers[0], *(side * numbers[2] for side in size), dtype=torch.float64)
    kernels = generated(layer, x)
    torch.testing.assert_close(layer.kernels(x), kernels)
    window = Window(layer.kernel_size, layer.stride, 1, layer.kernel_size // 2)
    torch.testing.assert_close(layer(x), reference.involution2d(x, kernels, window))
    if layer.softmax:
        torch.testing.assert_close(layer.kernels(x).sum(2), torch.ones_like(kernels[:, :, 0]))


@given(attentions, positions)
def test_local_attention_is_attention(numbers: tuple[Any, ...], size: tuple[int, int]) -> None:
    layer = LocalAttention2d(*numbers).double()
    x = torch.randn(2, numbers[0], *(side * numbers[2] for side in size), dtype=torch.float64).requires_grad_()
    found, wanted = layer(x), attended(layer, x)
    torch.testing.assert_close(found, wanted)
    upper = torch.randn_like(found)
    inputs = (x, *layer.parameters())
    for ours, theirs in zip(
        torch.autograd.grad(found, inputs, upper), torch.autograd.grad(wanted, inputs, upper), strict=True
    ):
        torch.testing.assert_close(ours, theirs)


@given(generators | attentions, st.tuples(st.integers(0, 2), st.integers(1, 7), st.integers(1, 7)))
def test_any_size_gives_the_size_divided_upwards(numbers: tuple[Any, ...], size: tuple[int, int, int]) -> None:
    layer = (Involution2d if len(numbers) == 7 else LocalAttention2d)(*numbers).eval()
    batch, height, width = size
    y = layer(torch.randn(batch, numbers[0], height, width))
    assert y.shape == (batch, numbers[0], -(-height // numbers[2]), -(-width // numbers[2]))
    assert y.isfinite().all()


@given(generators, st.tuples(st.integers(1, 7), st.integers(1, 7)))
def test_a_generator_costs_its_closed_form(numbers: tuple[Any, ...], size: tuple[int, int]) -> None:
    channels, kernel_size, stride, group_channels, ratio, patch, _ = numbers
    taps = kernel_size**2 * (channels // group_channels)
    hidden = channels // (ratio or 1)
    first = channels * patch**2 * (taps if ratio is None else hidden)
    rest = 0 if ratio is None else hidden * taps
    with torch.device("meta"):
        price = metered(Involution2d(*numbers).eval(), (channels, *size))
    assert price.parameters == first + rest + taps + (0 if ratio is None else 2 * hidden)
    assert price.macs == -(-size[0] // stride) * -(-size[1] // stride) * (first + rest + kernel_size**2 * channels)


@given(attentions, st.tuples(st.integers(1, 7), st.integers(1, 7)))
def test_attention_costs_its_closed_form(numbers: tuple[Any, ...], size: tuple[int, int]) -> None:
    channels, kernel_size, stride, *_ = numbers
    with torch.device("meta"):
        price = metered(LocalAttention2d(*numbers).eval(), (channels, *size))
    here, there = size[0] * size[1], -(-size[0] // stride) * -(-size[1] // stride)
    assert price.parameters == 3 * channels**2
    # Keys and values everywhere, a query at each position, and each position twice meets its window.
    assert price.macs == channels**2 * (2 * here + there) + 2 * there * channels * kernel_size**2


@pytest.mark.parametrize(("ratio", "millions"), [(None, 18.102), (1, 19.367), (4, 15.530), (16, 14.571)])
def test_the_published_ablation_of_the_generator(ratio: int | None, millions: float) -> None:
    found = cost(residual(50, Involution(7, 16, ratio), PlainStem(64)), (3, 224, 224), 1000).parameters
    assert round(found / 1e6, 3) == millions
    wanted = 25_557_032  # ResNet-50, of which each 3x3 convolution gives way to a generator
    for middle, blocks in zip((64, 128, 256, 512), (3, 4, 6, 3), strict=True):
        taps, hidden = 49 * middle // 16, middle // (ratio or 1)
        reduce = 0 if ratio is None else middle * hidden + 2 * hidden
        wanted += blocks * (reduce + (hidden + 1) * taps - 9 * middle**2)
    assert found == wanted


def test_an_involution_without_the_new_fields_keeps_its_json() -> None:
    assert network(Involution(3, 4, 2)).fingerprint == "79f079affb7e5b0d"
    blocks = network(Involution(3, 4, 2), Involution(3, 4, None, 3, True)).to_dict()["stages"][0]["blocks"]
    plain, rich = (block["spatial"] for block in blocks)
    assert plain == {"type": "Involution", "kernel_size": 3, "group_channels": 4, "reduction_ratio": 2}
    assert rich == {**plain, "reduction_ratio": None, "patch_size": 3, "softmax": True}


@pytest.mark.parametrize("value", VARIANTS, ids=operator_label)
def test_json_a_drawing_and_the_cost_know_every_variant(value: Any) -> None:
    architecture = network(value)
    assert Architecture.from_json(architecture.to_json()) == architecture
    assert architecture.kind == "involution"
    assert network(value, Convolution(3)).kind == "hybrid"
    assert operator_label(value) in drawing_of(architecture)
    price, built = cost(architecture, (1, 8, 8), 10), build(architecture, (1, 8, 8), 10)
    assert price.parameters == sum(parameter.numel() for parameter in built.parameters())
    assert built(torch.randn(2, 1, 8, 8)).shape == (2, 10)


def test_a_space_of_variants_has_no_decision_that_decides_nothing() -> None:
    spatial = Choice(
        Involution(3, 4, Choice(None, 1, 2), patch_size=Choice(1, 3), softmax=Choice(False, True)),  # type: ignore[arg-type]
        LocalAttention(Choice(3, 5), 4, Choice(False, True)),  # type: ignore[arg-type]
    )
    space = Space(HybridNet(PlainStem(8, 3, 1, False), [Stage(8, [Bottleneck(spatial, 2)])]))
    found = [architecture for _, architecture in space.enumerate()]
    assert len(found) == space.size == 3 * 2 * 2 + 2 * 2
    with torch.device("meta"):
        networks = {str(build(architecture, (1, 4, 4), 2)) for architecture in found}
    assert len(networks) == len({architecture.fingerprint for architecture in found}) == space.size
    decisions, architecture = space.sample(random.Random(0))
    assert space.decisions(architecture) == decisions
    assert len({operator_label(architecture.operators[0][1]) for architecture in found}) == space.size


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (Involution(3, 4, 5), "`reduction_ratio` must divide the channels, but got reduction_ratio=5 and 8 channels; "),
        (Involution(3, 4, 0), "`reduction_ratio` must be a whole number from 1 to 65,536, but got 0"),
        (Involution(3, 4, 2, 2), "`patch_size` must be odd so that the map keeps its size, but got 2; nearest: 1, 3"),
        (Involution(3, 4, 2, True), "`patch_size` must be a whole number from 1 to 65,536, but got True"),
        (Involution(1, 4, 2, softmax=True), "`softmax` over the single tap of kernel_size=1 is always 1; nearest: "),
        (Involution(3, 4, 2, softmax=1), "`softmax` must be true or false, but got 1"),  # type: ignore[arg-type]
        (LocalAttention(4, 4), "`kernel_size` must be odd so that the map keeps its size, but got 4; nearest: 3, 5"),
        (LocalAttention(3, 3), "`group_channels` must divide the channels, but got group_channels=3 and 8 channels; "),
        (LocalAttention(1, 4), "`softmax` over the single tap of kernel_size=1 is always 1; nearest: "),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_with_the_reason_and_the_place(value: Any, sentence: str) -> None:
    with pytest.raises(BadInput) as error:
        network(value).check()
    assert str(error.value).startswith(sentence)
    assert str(error.value).endswith("(stage 1, block 1)")
    numbers = vars(value).copy()
    layer = Involution2d if isinstance(value, Involution) else LocalAttention2d
    with pytest.raises(BadInput) as error:
        layer(8, **numbers)
    assert str(error.value).startswith(sentence)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('"reduction_ratio":"2"', ".reduction_ratio must be a whole number or null, but got '2'"),
        ('"reduction_ratio":2,"softmax":1', ".softmax must be true or false, but got 1"),
        ('"reduction_ratio":2,"patch_size":null', ".patch_size must be a whole number, but got None"),
    ],
)
def test_json_of_a_wrong_kind_is_refused(text: str, sentence: str) -> None:
    changed = network(Involution(3, 4, 2)).to_json().replace('"reduction_ratio":2', text)
    with pytest.raises(BadInput) as error:
        Architecture.from_json(changed)
    assert sentence in str(error.value)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("value", VARIANTS, ids=operator_label)
def test_autocast_trains_every_variant_in_half_precision(value: Any, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    layer = build(network(value), (1, 8, 8), 10).stages[0][0].spatial[0]  # type: ignore[union-attr, index]
    exact = layer(x := torch.randn(4, 8, 6, 5).requires_grad_())
    with torch.autocast("cpu", dtype):
        y = layer(x)
    assert y.dtype == dtype
    assert (y - exact).abs().max() < 0.1 * exact.abs().max()
    y.float().square().mean().backward()
    for gradient in (x.grad, *(parameter.grad for parameter in layer.parameters())):
        assert gradient is not None
        assert gradient.dtype == torch.float32
        assert gradient.isfinite().all()


@pytest.mark.parametrize("layer", [Involution2d(8, 3, 2, 4, None, 3, True), LocalAttention2d(8, 3, 2, 4)], ids=repr)
def test_a_layer_compiles_as_one_graph(layer: nn.Module) -> None:
    torch._dynamo.reset()
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    x = torch.randn(2, 8, 5, 4).requires_grad_()
    torch.testing.assert_close(compiled(x), layer(x))
    ours, theirs = (torch.autograd.grad(f(x).square().sum(), x)[0] for f in (compiled, layer))
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(
    ("queries", "keys", "groups", "sentence"),
    [
        ((1, 4, 3, 3), (4, 3, 3), 2, "`keys` must be (batch, channels, height, width), but got shape (4, 3, 3)"),
        ((1, 4, 3, 3), (1, 4, 3, 3), 3, "`groups` must divide the channels of `keys`, but got 3 and 4"),
        ((1, 4, 2, 3), (1, 4, 3, 3), 2, "`queries` must have shape (1, 4, 3, 3) for Window(kernel_size=3"),
        ((1, 4, 0, 3), (1, 4, 0, 3), 2, "`keys` of 0 x 3 are too small for Window("),
    ],
)
def test_products_of_shapes_that_do_not_fit_are_refused(
    queries: tuple[int, ...], keys: tuple[int, ...], groups: int, sentence: str
) -> None:
    with pytest.raises(BadInput) as error:
        window_products(torch.zeros(queries), torch.zeros(keys), groups, 3, padding=1)
    assert str(error.value).startswith(sentence)


def test_products_of_two_dtypes_are_refused() -> None:
    with pytest.raises(BadInput, match="`keys` and `queries` must share one floating dtype"):
        window_products(torch.zeros(1, 2, 3, 3), torch.zeros(1, 2, 3, 3).double(), 1, 3, padding=1)


def test_generators_and_attention_export_with_parity(tmp_path: Path) -> None:
    variants = (Involution(3, 4, 2, 3), Involution(3, 4, None, softmax=True), LocalAttention(3, 4))
    architecture = network(*variants, LocalAttention(3, 2, softmax=False))
    torch.manual_seed(0)
    trained = build(architecture, (1, 7, 6), 3)
    for module in trained.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
    trained(torch.randn(16, 1, 7, 6))
    formats = ("onnx", "pt2", "safetensors")
    exported = export(trained, architecture, (1, 7, 6), 3, tmp_path / "out", formats, {}, None)
    assert [one.format for one in exported] == list(formats)
    assert all(one.parity_error <= TOLERANCE for one in exported)
