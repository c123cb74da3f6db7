from __future__ import annotations

import warnings

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from invnas.errors import BadInput
from invnas.meter import metered
from invnas.nn import Involution2d
from invnas.ops import reference
from invnas.ops.geometry import Window

layers = st.tuples(
    st.sampled_from((4, 8, 16)),
    st.sampled_from((1, 3, 5, 7)),
    st.integers(1, 3),
    st.sampled_from((1, 2, 4)),
    st.sampled_from((1, 2, 4)),
)
sizes = st.tuples(st.integers(0, 2), st.integers(1, 9), st.integers(1, 9))


def published(layer: Involution2d, x: torch.Tensor) -> torch.Tensor:
    """Return what the published definition says, with a plain average pool."""
    pooled = F.avg_pool2d(x, layer.stride, layer.stride) if layer.stride > 1 else x
    kernels = layer.span(F.relu(layer.norm(layer.reduce(pooled))))
    kernels = kernels.view(len(x), layer.groups, layer.kernel_size**2, *kernels.shape[2:])
    return reference.involution2d(x, kernels, Window(layer.kernel_size, layer.stride, 1, (layer.kernel_size - 1) // 2))


@given(layers, sizes)
def test_any_size_gives_the_size_divided_upwards(numbers: tuple[int, ...], size: tuple[int, int, int]) -> None:
    layer = Involution2d(*numbers).eval()
    batch, height, width = size
    y = layer(torch.randn(batch, numbers[0], height, width))
    assert y.shape == (batch, numbers[0], -(-height // numbers[2]), -(-width // numbers[2]))
    assert y.isfinite().all()


@given(layers, st.tuples(st.integers(1, 4), st.integers(1, 4)))
def test_sizes_that_the_stride_divides_follow_the_published_definition(
    numbers: tuple[int, ...], positions: tuple[int, int]
) -> None:
    layer = Involution2d(*numbers).double().eval()
    nn.init.normal_(layer.norm.running_mean)
    x = torch.randn(2, numbers[0], *(side * numbers[2] for side in positions), dtype=torch.float64)
    torch.testing.assert_close(layer(x), published(layer, x))


def test_kernels_beside_the_edge_average_only_the_pixels_there_are() -> None:
    layer = Involution2d(4, 3, 2, 2, 2).double().eval()
    x = torch.randn(1, 4, 5, 3, dtype=torch.float64)
    whole = torch.cat([x, x[:, :, -1:]], 2)
    whole = torch.cat([whole, whole[..., -1:]], 3)
    # Repeating the last row and column leaves every average as it is, and makes the sides even.
    torch.testing.assert_close(layer.kernels(x), layer.kernels(whole))


@given(layers, st.tuples(st.integers(1, 9), st.integers(1, 9)))
def test_parameters_and_multiply_adds_are_the_closed_form(numbers: tuple[int, ...], size: tuple[int, int]) -> None:
    channels, kernel_size, stride, group_channels, ratio = numbers
    hidden, taps = channels // ratio, kernel_size**2 * (channels // group_channels)
    positions = -(-size[0] // stride) * -(-size[1] // stride)
    with torch.device("meta"):
        layer = Involution2d(*numbers).eval()
    price = metered(layer, (channels, *size))
    assert price.parameters == channels * hidden + 2 * hidden + (hidden + 1) * taps
    assert price.macs == positions * (channels * hidden + hidden * taps + kernel_size**2 * channels)


@pytest.mark.parametrize(
    ("numbers", "sentence"),
    [
        ((16, 4), "`kernel_size` must be odd so that the map keeps its size, but got 4; nearest: 3, 5"),
        ((16, 0), "`kernel_size` must be a whole number from 1 to 65,536, but got 0"),
        (
            (16, 3, 1, 5),
            "`group_channels` must divide the channels, but got group_channels=5 and 16 channels; nearest: ",
        ),
        ((16, 3, 1, 16, 32), "`reduction_ratio` must divide the channels, but got reduction_ratio=32 and 16 channels"),
        ((16, 3, 0), "`stride` must be a whole number from 1 to 65,536, but got 0"),
        ((0, 3), "`channels` must be a whole number from 1 to 65,536, but got 0"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(numbers: tuple[int, ...], sentence: str) -> None:
    with pytest.raises(BadInput) as error:
        Involution2d(*numbers)
    assert str(error.value).startswith(sentence)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_autocast_trains_in_half_precision(stride: int, layout: torch.memory_format) -> None:
    layer = Involution2d(8, 3, stride, 4, 2)
    x = torch.randn(4, 8, 5, 5).contiguous(memory_format=layout).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
    assert y.dtype == torch.bfloat16
    y.float().square().mean().backward()
    assert x.grad is not None
    for gradient in (x.grad, *(parameter.grad for parameter in layer.parameters())):
        assert gradient is not None
        assert gradient.dtype == torch.float32
        assert gradient.isfinite().all()
        assert gradient.abs().sum() > 0


def test_half_precision_of_the_whole_layer_stays_close_to_the_truth() -> None:
    layer = Involution2d(8, 3, 1, 4, 2).eval()
    x = torch.randn(2, 8, 6, 6)
    exact = published(layer, x)
    with torch.autocast("cpu", torch.bfloat16):
        error = (layer(x).float() - exact).abs().max()
    assert error < 0.05 * exact.abs().max()


def test_the_same_seed_makes_the_same_layer() -> None:
    made = []
    for _ in range(2):
        torch.manual_seed(3)
        made.append(Involution2d(16, 3).state_dict())
    assert all(torch.equal(made[0][key], made[1][key]) for key in made[0])


def test_the_layer_compiles_and_exports_without_a_warning() -> None:
    layer = Involution2d(4, 3, 2, 2, 2).eval()
    x = torch.randn(2, 4, 5, 5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch.export's own
        program = torch.export.export(layer, (x,))
    torch.testing.assert_close(program.module()(x), layer(x))


def test_it_says_what_it_is() -> None:
    assert "kernel_size=7, stride=2, groups=4" in repr(Involution2d(64, 7, 2))
