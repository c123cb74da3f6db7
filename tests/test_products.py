"""Multiply-adds written with plain tensor operators cost what the operator with a formula costs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from invnas import Bottleneck, HybridNet, Involution, PlainStem, Stage
from invnas.architecture import Architecture
from invnas.cost import cost
from invnas.errors import UnpricedOperator
from invnas.meter import metered
from invnas.nn import Involution2d
from invnas.ops import involution2d

Tensor = torch.Tensor
X = 4 * 6 * 6  # numbers of the map that every function below is given


class Written(nn.Module):
    """A module that is one function of its map, of a second map computed from it, and of weights."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function
        self.w = nn.Parameter(torch.empty(4, 6, 6, device="meta"))
        self.scale = nn.Parameter(torch.empty((), device="meta"))

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.function(x, torch.sigmoid(x.flip(1)), self)
        return result


def macs(function: Callable[..., Any]) -> int:
    return metered(Written(function), (4, 6, 6)).macs


def accumulated(x: Tensor, k: Tensor, m: Any, start: Any = 0) -> Tensor:
    for _ in range(3):
        start = start + k * x.roll(1, 2)
    return start


def in_place(x: Tensor, k: Tensor, m: Any) -> Tensor:
    total = torch.zeros_like(x)
    for _ in range(3):
        total += x.roll(1, 2) * k
    return total


def added_products(x: Tensor, k: Tensor, m: Any) -> Tensor:
    total = torch.zeros_like(x)
    for _ in range(3):
        total = torch.addcmul(total, x, k)
    return total


def written_into_slices(x: Tensor, k: Tensor, m: Any) -> Tensor:
    buffer = torch.empty(3, *x.shape, device=x.device)
    for i in range(3):
        buffer[i] = x * k
    return buffer.sum(0)


def multiplied_into_itself(x: Tensor, k: Tensor, m: Any) -> Tensor:
    y = x.clone()
    y.mul_(k)
    return y.sum(1)


def multiplied_into_a_buffer(x: Tensor, k: Tensor, m: Any) -> Tensor:
    y = torch.empty_like(x)
    torch.mul(x, k, out=y)
    return y.sum(1)


def attention(x: Tensor, k: Tensor, m: Any) -> Tensor:
    tokens = x.flatten(2)  # (B, 4, 36)
    weights = (tokens[:, :, :, None] * k.flatten(2)[:, :, None]).sum(1).softmax(2)
    return (weights[:, None] * tokens[:, :, None]).sum(3)


SUMMED: list[tuple[str, Any, int]] = [
    ("sum", lambda x, k, m: (x * k).sum(1), X),
    ("mean", lambda x, k, m: (x * k).mean((2, 3)), X),
    ("a weight", lambda x, k, m: (x * m.w).sum(1), X),
    ("a weight of one number", lambda x, k, m: (x * m.scale).sum(1), X),
    ("a broadcast factor", lambda x, k, m: (x[:, :, None] * k[:, None]).sum(2), 4 * X),
    ("einsum", lambda x, k, m: torch.einsum("bchw,bchw->bhw", x, k), X),
    ("einsum, then a sum", lambda x, k, m: torch.einsum("bchw,bchw->bchw", x, k).sum(1), X),
    ("vecdot", lambda x, k, m: torch.linalg.vecdot(x, k, dim=1), X),
    ("dot", lambda x, k, m: torch.dot(x.flatten(), k.flatten())[None], X),
    ("a matrix and a vector", lambda x, k, m: torch.mv(x[0, 0], k[0, 0, 0])[None], 36),
    ("view and permute between", lambda x, k, m: (x * k).flatten(2).permute(0, 2, 1).reshape(1, -1, 9).sum(2), X),
    ("a copy between", lambda x, k, m: (x * k).permute(0, 2, 3, 1).contiguous().sum(3), X),
    ("pad, cat and stack between", lambda x, k, m: torch.stack((F.pad(x * k, (1,) * 4),) * 2).sum(1), X),
    ("slices, each summed", lambda x, k, m: torch.stack([s.sum(1) for s in (x * k).split(2, 1)]), X),
    ("a slice alone", lambda x, k, m: (x * k)[:, :2].sum(1), X // 2),
    ("a number between", lambda x, k, m: (0.5 * (x * k)).sum(1), X),
    ("a bias between", lambda x, k, m: (x * k + m.w).sum(1), X),
    ("a residual between", lambda x, k, m: (x + x * k).sum(1), X),
    ("a mask between", lambda x, k, m: torch.where(x > 0, x * k, 0).sum(1), X),
    ("three factors", lambda x, k, m: (x * k * m.w).sum(1), X),
    ("a quotient", lambda x, k, m: (x / k).sum(1), X),
    ("squares", lambda x, k, m: x.square().sum(1), X),
    ("a power", lambda x, k, m: (x**2).mean(1), X),
    ("a norm", lambda x, k, m: x.norm(dim=1), X),
    ("a variance", lambda x, k, m: x.var(1), X),
    ("a gated unit", lambda x, k, m: F.glu(x, 1).sum(1), X // 2),
    ("an average pool", lambda x, k, m: F.avg_pool2d(x * k, 3, 1), X),
    ("a global pool", lambda x, k, m: F.adaptive_avg_pool2d(x * k, 1), X),
    ("unfold", lambda x, k, m: (F.unfold(x, 3, padding=1).view(1, 4, 9, 6, 6) * k[:, :, None]).sum(2), 9 * X),
    (
        "fold",
        lambda x, k, m: F.fold(F.unfold(x, 3, padding=1) * k.view(1, 4, 36).repeat(1, 9, 1), (6, 6), 3, 1, 1),
        9 * X,
    ),
    ("two sums of the same", lambda x, k, m: (lambda p: p.sum(2) + p.sum(3))(x * k), X),
    ("two products", lambda x, k, m: x * k + m.w * k, 2 * X),
    ("a difference of two products", lambda x, k, m: x * k - m.w * k, 2 * X),
    ("accumulation", accumulated, 3 * X),
    ("accumulation on a map", lambda x, k, m: accumulated(x, k, m, x), 3 * X),
    ("accumulation on a bias", lambda x, k, m: accumulated(x, k, m, m.w), 3 * X),
    ("accumulation in place", in_place, 3 * X),
    ("addcmul", added_products, 3 * X),
    ("python's sum", lambda x, k, m: sum(x.roll(i, 2) * k for i in range(3)), 3 * X),
    ("slices of a buffer", written_into_slices, 3 * X),
    ("mul_", multiplied_into_itself, X),
    ("out=", multiplied_into_a_buffer, X),
    ("attention", attention, 2 * 4 * 36 * 36),
]

FREE: list[tuple[str, Any]] = [
    ("a gate", lambda x, k, m: x * k),
    ("squeeze and excite", lambda x, k, m: x * x.mean((2, 3), keepdim=True).sigmoid()),
    ("swish", lambda x, k, m: x * x.sigmoid()),
    ("layer scale", lambda x, k, m: x + m.w * x.relu()),
    ("layer scales in a row", lambda x, k, m: (lambda y: y + m.w * y.relu())(x + m.w * x.relu())),
    ("a residual of an interpolation", lambda x, k, m: torch.lerp(x, k, m.w)),
    ("an affine map", lambda x, k, m: x * m.w + m.w),
    ("numbers", lambda x, k, m: ((x * 0.5) + (x / 3) * torch.tensor(2.0)).sum(1)),
    ("an activation between", lambda x, k, m: (x * k).relu().sum(1)),
    ("a sum of maps", lambda x, k, m: (x + k).sum(1)),
    ("torch's own norms", lambda x, k, m: F.rms_norm(F.layer_norm(x, (6,)), (6,))),
    ("a root", lambda x, k, m: (x**0.5).sum(1)),
    ("a norm that has no squares", lambda x, k, m: torch.linalg.vector_norm(x, 1, dim=1)),
]


@pytest.mark.parametrize(("function", "expected"), [pytest.param(*rest, id=name) for name, *rest in SUMMED])
def test_products_that_are_summed_count_once(function: Any, expected: int) -> None:
    assert macs(function) == expected


@pytest.mark.parametrize("function", [pytest.param(function, id=name) for name, function in FREE])
def test_products_that_are_not_summed_are_free(function: Any) -> None:
    assert macs(function) == 0


@pytest.mark.parametrize("function", [torch.cdist, torch.cumprod, lambda x, _: torch.fft.fft(x), F.mse_loss])
def test_what_hides_products_without_a_price_is_refused(function: Any) -> None:
    with pytest.raises(UnpricedOperator, match="nobody stated the multiply-adds"):
        macs(lambda x, k, m: function(x, 1 if function is torch.cumprod else k))


def test_a_recurrent_layer_costs_its_gates() -> None:
    layer = nn.LSTM(6, 5, device="meta")
    steps = 4 * 6  # four positions for a batch of six
    formula = 4 * 5 * (6 + 5) + 2 * 5  # four gates, and c' = f * c + i * g
    assert macs(lambda x, k, m: layer(x[0].transpose(0, 1))[0][None]) == steps * formula


def by_unfold(x: Tensor, k: Tensor, size: int, stride: int) -> Tensor:
    windows = F.pad(x, (size // 2,) * 4).unfold(2, size, stride).unfold(3, size, stride)
    kernels = k.permute(0, 1, 3, 4, 2)[:, :, None]
    windows = windows.reshape(1, k.shape[1], -1, *k.shape[3:], size**2)
    return (windows * kernels).sum(-1).flatten(1, 2)


def by_shifts(x: Tensor, k: Tensor, size: int, stride: int) -> Tensor:
    padded = F.pad(x, (size // 2,) * 4).unflatten(1, (k.shape[1], -1))
    height, width = k.shape[3:]
    total: Any = 0
    for tap, (u, v) in enumerate(product(range(size), repeat=2)):
        part = padded[..., u : u + stride * (height - 1) + 1 : stride, v : v + stride * (width - 1) + 1 : stride]
        total = total + part * k[:, :, None, tap]
    return total.flatten(1, 2)


def by_einsum(x: Tensor, k: Tensor, size: int, stride: int) -> Tensor:
    windows = F.unfold(x, size, padding=size // 2, stride=stride).view(1, k.shape[1], -1, size**2, *k.shape[3:])
    return torch.einsum("bgckhw,bgkhw->bgchw", windows, k).flatten(1, 2)


class Rewritten(nn.Module):
    def __init__(self, layer: Involution2d, write: Any) -> None:
        super().__init__()
        self.layer, self.write = layer, write

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.write(x, self.layer.kernels(x), self.layer.kernel_size, self.layer.stride)
        return result


@given(
    st.sampled_from((by_unfold, by_shifts, by_einsum)),
    st.sampled_from((3, 5, 7)),
    st.integers(1, 3),
    st.sampled_from((1, 2, 4)),
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.booleans(),
)
def test_an_involution_costs_the_same_whoever_writes_it(
    write: Any, size: int, stride: int, group: int, sides: tuple[int, int], softmax: bool
) -> None:
    layer = Involution2d(4, size, stride, group, 2, softmax=softmax).eval()
    x = torch.randn(1, 4, *sides)
    rewritten = Rewritten(layer, write)
    torch.testing.assert_close(rewritten(x), layer(x))
    assert metered(rewritten.to("meta"), (4, *sides)).macs == metered(layer.to("meta"), (4, *sides)).macs


@given(st.sampled_from((1, 3, 5)), st.integers(1, 4), st.tuples(st.integers(1, 9), st.integers(1, 9)))
def test_a_depthwise_convolution_by_shifts_costs_what_conv2d_costs(
    size: int, channels: int, sides: tuple[int, int]
) -> None:
    convolution = nn.Conv2d(channels, channels, size, padding=size // 2, groups=channels, bias=False).eval()

    class Shifts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = convolution.weight

        def forward(self, x: Tensor) -> Tensor:
            padded = F.pad(x, (size // 2,) * 4)
            taps = [
                padded[..., u : u + sides[0], v : v + sides[1]] * self.weight[:, 0, u, v, None, None]
                for u, v in product(range(size), repeat=2)
            ]
            return torch.stack(taps).sum(0)

    x = torch.randn(1, channels, *sides)
    torch.testing.assert_close(Shifts()(x), convolution(x), rtol=1e-4, atol=1e-5)
    shape = (channels, *sides)
    assert metered(Shifts().to("meta"), shape).macs == metered(convolution.to("meta"), shape).macs


class Windows(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layer = Involution2d(channels, 7, 1, 8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return by_unfold(x, self.layer.kernels(x), 7, 1)


@dataclass(frozen=True)
class Unfolded:
    def build(self, channels: int, stride: int) -> nn.Module:
        return Windows(channels)


def test_an_own_operator_cannot_be_cheaper_than_the_shipped_one_it_copies() -> None:
    one, other = (
        cost(Architecture(HybridNet(PlainStem(16, 3, 1, False), [Stage(16, [Bottleneck(spatial, 2)])])), (1, 8, 8), 10)
        for spatial in (Involution(7, 8, 2), Unfolded())
    )
    assert one.macs == other.macs


def test_the_operator_itself_is_one_formula() -> None:
    def function(x: Tensor, k: Tensor, m: Any) -> Tensor:
        return involution2d(x, k.repeat(1, 9, 1, 1).unflatten(1, (4, 9)), 3, 1, 1, 1)

    assert macs(function) == 9 * X
