"""A convolution, a sum and an activation in one step: the same values as three, and plain operators for who looks."""

from __future__ import annotations

import copy
import io
import itertools
import warnings

import pytest
import torch
from torch import nn
from torch.autograd import forward_ad
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from invnas.nn import fold, fused
from invnas.nn.fused import ACTIVATIONS, FusedConv2d

Tensor = torch.Tensor
last = torch.channels_last
AFTER = (None, *ACTIVATIONS)


def calls(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """Return a list that grows by one for each call of oneDNN."""
    seen: list[Tensor] = []
    real = FusedConv2d._in_onednn
    monkeypatch.setattr(FusedConv2d, "_in_onednn", lambda self, x, added: seen.append(x) or real(self, x, added))
    return seen


onednn = pytest.mark.skipif(not (fused._X86 and torch.backends.mkldnn.is_available()), reason="needs oneDNN on x86-64")

CONVOLUTIONS = [
    nn.Conv2d(4, 6, 1, bias=False),
    nn.Conv2d(16, 32, 1, 2),
    nn.Conv2d(3, 8, 3, 2, 1),
    nn.Conv2d(8, 16, 3, padding=2, dilation=2, groups=2),
    nn.Conv2d(8, 8, (1, 3), padding=(0, 1), groups=8, bias=False),
    nn.Conv2d(4, 4, 3, padding="same"),
    nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"),
]


@pytest.mark.parametrize("after", AFTER, ids=str)
@pytest.mark.parametrize("layer", CONVOLUTIONS, ids=str)
@pytest.mark.parametrize("memory", [last, torch.contiguous_format], ids=str)
def test_the_values_are_those_of_three_steps(
    layer: nn.Conv2d, after: type[nn.Module] | None, memory: torch.memory_format
) -> None:
    torch.manual_seed(0)
    layer = copy.deepcopy(layer).requires_grad_(False).to(memory_format=memory)
    with torch.no_grad():
        layer.weight.mul_(4)
    one = FusedConv2d(layer, after)
    for size in ((2, 5, 7), (1, 9, 4), (2, 5, 7), (0, 5, 7)):  # a map of another size lays the weights out anew
        x = torch.randn(size[0], layer.in_channels, *size[1:]).contiguous(memory_format=memory)
        plain = copy.deepcopy(layer).double()(x.double())
        added = torch.randn(plain.shape)
        for more in (None, added, added.contiguous(memory_format=last)):
            wanted = plain if more is None else plain + more.double()
            wanted = wanted if after is None else after()(wanted)
            torch.testing.assert_close(one(x, more).double(), wanted, rtol=1e-5, atol=2e-5)
            exact = copy.deepcopy(one).double()(x.double(), None if more is None else more.double())
            torch.testing.assert_close(exact, wanted, rtol=1e-12, atol=1e-12)


@onednn
def test_one_call_where_nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = calls(monkeypatch)
    one = FusedConv2d(nn.Conv2d(4, 6, 1).requires_grad_(False), nn.ReLU)
    x = torch.randn(2, 4, 5, 5).contiguous(memory_format=last)
    one(x)
    with torch.inference_mode():
        one(x + 1)
    assert len(seen) == 2


@onednn
def test_plain_operators_for_who_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = calls(monkeypatch)
    layer = nn.Conv2d(4, 6, 1).requires_grad_(False)
    one, x = FusedConv2d(layer, nn.ReLU), torch.randn(2, 4, 5, 5).contiguous(memory_format=last)
    with FlopCounterMode(display=False) as counter:
        one(x)
    assert counter.get_total_flops() == 2 * 2 * 4 * 6 * 25
    assert one(x.requires_grad_()).requires_grad
    x = x.detach()
    with torch.autocast("cpu", torch.bfloat16):
        assert one(x).dtype == torch.bfloat16
    with monkeypatch.context() as patch:
        patch.setattr(fused, "_X86", False)
        one(x)
    assert copy.deepcopy(one).double()(x.double()).dtype == torch.float64
    targets = {str(node.target) for node in torch.export.export(one, (x,)).graph.nodes if node.op == "call_function"}
    assert targets == {"aten.conv2d.default", "aten.relu_.default"}
    torch._dynamo.reset()
    torch.compile(one, fullgraph=True, backend="aot_eager")(x)
    assert seen == []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        traced = torch.jit.trace(one, x, check_trace=False)
    assert seen == []
    assert "mkldnn" not in str(traced.inlined_graph)
    with torch.no_grad():
        torch.testing.assert_close(traced(x), F.relu(layer(x)))


@pytest.fixture
def layer() -> FusedConv2d:
    return FusedConv2d(nn.Conv2d(16, 16, 1).requires_grad_(False))


X = torch.randn(1, 16, 6, 6, generator=torch.Generator().manual_seed(0)).contiguous(memory_format=last)


def test_weights_that_change_are_laid_out_again(layer: FusedConv2d) -> None:
    before = layer(X)
    with torch.no_grad():
        layer.weight.mul_(2)
        layer.bias.mul_(2)  # type: ignore[union-attr]
    torch.testing.assert_close(layer(X), 2 * before)
    layer.load_state_dict({name: value / 2 for name, value in layer.state_dict().items()})
    torch.testing.assert_close(layer(X), before)


def test_weights_at_the_address_of_earlier_ones_are_laid_out_anew(layer: FusedConv2d) -> None:
    for _ in range(6):  # the second of two takes the memory that the weights before them left
        layer.weight = nn.Parameter(torch.randn(16, 16, 1, 1), requires_grad=False)
        layer.weight = nn.Parameter(torch.randn(16, 16, 1, 1), requires_grad=False)
        torch.testing.assert_close(layer(X), F.conv2d(X, layer.weight, layer.bias), rtol=1e-4, atol=1e-5)
        assert torch.equal(layer.matrix()[0], layer.weight[:, :, 0, 0].t())


def test_weights_that_change_in_inference_mode_are_laid_out_anew() -> None:
    plain = nn.Sequential(nn.Conv2d(16, 16, 1), nn.BatchNorm2d(16)).eval()
    with torch.inference_mode():
        folded = fold(plain)
        copied = copy.deepcopy(folded)  # made in inference mode: torch does not count what is written to it
        for made in (folded, copied):
            before, matrix = made(X), made[0].matrix()[0].clone()
            for parameter in made.parameters():
                parameter.mul_(2)
            torch.testing.assert_close(made(X), 2 * before)
            torch.testing.assert_close(made[0].matrix()[0], 2 * matrix)


def test_tangents_and_batches_of_torch_func_pass(layer: FusedConv2d, monkeypatch: pytest.MonkeyPatch) -> None:
    tangent = torch.randn_like(X)
    wanted = F.conv2d(tangent, layer.weight)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch's own, at the first jvp of a process
        torch.testing.assert_close(torch.func.jvp(layer, (X,), (tangent,))[1], wanted)
    with torch.no_grad(), forward_ad.dual_level():
        found = forward_ad.unpack_dual(layer(forward_ad.make_dual(X, tangent))).tangent
    torch.testing.assert_close(found, wanted)
    seen = calls(monkeypatch)
    torch.testing.assert_close(torch.func.vmap(layer)(X[None]), F.conv2d(X, layer.weight, layer.bias)[None])
    assert seen == []  # oneDNN's call would be made for each of a batch


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("side", [1, 4])
@pytest.mark.parametrize("kernel_size", [1, 3])
def test_it_answers_in_the_memory_format_of_torch(channels: int, side: int, kernel_size: int) -> None:
    formats = (last, torch.contiguous_format)
    for of_weights, of_images in itertools.product(formats, formats):
        plain = nn.Conv2d(channels, 6, kernel_size, padding=2).to(memory_format=of_weights).requires_grad_(False)
        x = torch.randn(2, channels, side, side).to(memory_format=of_images)
        assert FusedConv2d(plain)(x).stride() == plain(x).stride()


def test_what_is_laid_out_is_neither_copied_nor_saved(layer: FusedConv2d) -> None:
    wanted = layer(X)
    assert copy.deepcopy(layer)._packed is None
    assert torch.equal(copy.deepcopy(layer)(X), wanted)
    file = io.BytesIO()
    torch.save(layer, file)
    file.seek(0)
    assert torch.equal(torch.load(file, weights_only=False)(X), wanted)
    assert layer.state_dict().keys() == {"weight", "bias"}


def test_weights_made_in_inference_mode(layer: FusedConv2d) -> None:
    with torch.inference_mode():
        made = fold(nn.Sequential(nn.Conv2d(16, 16, 1), nn.BatchNorm2d(16), nn.ReLU()).eval())
        assert made(X).shape == X.shape
    assert made(X).shape == X.shape


@onednn
def test_a_channels_last_layer_answers_in_channels_last() -> None:
    one = FusedConv2d(nn.Conv2d(4, 8, 3).requires_grad_(False).to(memory_format=last))
    assert one(torch.randn(2, 4, 6, 6)).is_contiguous(memory_format=last)


def test_it_says_what_it_is(layer: FusedConv2d) -> None:
    assert (
        repr(FusedConv2d(layer, nn.ReLU6)) == "FusedConv2d(16, 16, kernel_size=(1, 1), stride=(1, 1), activation=ReLU6)"
    )
    assert repr(layer) == "FusedConv2d(16, 16, kernel_size=(1, 1), stride=(1, 1))"
