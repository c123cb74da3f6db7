"""Kernels that are made where they are used: the same values as step by step, and every step for who looks."""

from __future__ import annotations

import copy
import math
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from invnas.nn import FoldedInvolution2d, Involution2d, fold
from invnas.ops import cpu

sys.path.insert(0, str(Path(__file__).parents[1] / "ops"))
from test_cpu import instruction_set, native

__all__ = ["instruction_set"]
pytestmark = native
Tensor = torch.Tensor
last = torch.channels_last


def folded(layer: Involution2d, seed: int = 0, after: tuple[nn.Module, ...] = ()) -> FoldedInvolution2d:
    """An involution with a batch norm whose numbers are those of some training."""
    torch.manual_seed(seed)
    network = nn.Sequential(layer, nn.BatchNorm2d(layer.channels), *after).to(layer.span.weight.dtype)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight, module.bias, module.running_mean):
                nn.init.normal_(tensor)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 2.0)  # type: ignore[arg-type]
    made = fold(network.eval())[0]  # type: ignore[index]
    assert isinstance(made, FoldedInvolution2d)
    return made


def step_by_step(layer: FoldedInvolution2d, x: Tensor) -> Tensor:
    """What plain operators make of it."""
    with FlopCounterMode(display=False):
        return layer(x)


def at_once(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Return a list that grows by one for each call of the loops that make kernels."""
    seen: list[tuple[int, ...]] = []
    real = cpu.spanned

    def counted(x: Tensor, *rest: object) -> None:
        seen.append(tuple(x.shape))
        real(x, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(cpu, "spanned", counted)
    return seen


@settings(deadline=None)
@given(
    channels=st.sampled_from([(4, 1), (8, 8), (16, 4), (24, 12), (32, 16), (48, 16)]),
    kernel_size=st.sampled_from([1, 3, 5, 7]),
    stride=st.sampled_from([1, 1, 2, 3]),
    ratio=st.sampled_from([None, 1, 4]),
    patch=st.sampled_from([1, 1, 3]),
    batch=st.sampled_from([1, 2, 5]),
    sides=st.tuples(st.integers(1, 19), st.integers(1, 19)),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    layout=st.sampled_from([torch.contiguous_format, last]),
)
def test_the_values_are_those_of_single_steps(
    channels: tuple[int, int],
    kernel_size: int,
    stride: int,
    ratio: int | None,
    patch: int,
    batch: int,
    sides: tuple[int, int],
    dtype: torch.dtype,
    layout: torch.memory_format,
) -> None:
    layer = Involution2d(channels[0], kernel_size, stride, channels[1], ratio, patch)
    made = folded(layer.to(dtype), after=(nn.ReLU6(),) if stride == 1 else ())
    x = torch.randn(batch, channels[0], *sides, dtype=dtype).to(memory_format=layout)
    wanted = step_by_step(copy.deepcopy(made).double(), x.double())
    tolerance = 2e-5 if dtype == torch.float32 else 1e-11
    found = made(x)
    assert found.dtype == dtype
    assert found.stride() == step_by_step(made, x).stride()
    torch.testing.assert_close(found.double(), wanted, rtol=tolerance, atol=tolerance * float(wanted.abs().max() + 1))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel_size", [3, 5, 7])
@pytest.mark.parametrize(("channels", "ratio"), [(16, 4), (64, 4), (48, 1), (16, 16), (16, None)])
def test_every_instruction_set(
    instruction_set: str, kernel_size: int, stride: int, channels: int, ratio: int | None
) -> None:
    made = folded(Involution2d(channels, kernel_size, stride, 16, ratio))
    for side in (1, 4, 14, 29):
        x = torch.randn(2, channels, side, side)
        wanted = step_by_step(copy.deepcopy(made).double(), x.double())
        torch.testing.assert_close(made(x).double(), wanted, rtol=2e-5, atol=2e-5 * float(wanted.abs().max()))


@pytest.mark.parametrize("ratio", [None, 4])
def test_one_call_where_nobody_looks(monkeypatch: pytest.MonkeyPatch, ratio: int | None) -> None:
    seen = at_once(monkeypatch)
    made = folded(Involution2d(16, 3, 1, 4, ratio))
    made(torch.randn(2, 16, 5, 5))
    with torch.inference_mode():
        made(torch.randn(1, 16, 5, 5))
    assert seen == [(2, 16, 5, 5), (1, 16, 5, 5)]


@pytest.mark.parametrize("softmax", [False, True])
def test_kernels_that_no_linear_layer_makes_are_made_before(monkeypatch: pytest.MonkeyPatch, softmax: bool) -> None:
    seen = at_once(monkeypatch)
    made = folded(Involution2d(16, 3, 1, 4, 4, 1 if softmax else 3, softmax))
    made(torch.randn(2, 16, 5, 5))
    assert seen == []


def test_a_hook_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, told = at_once(monkeypatch), []
    made, x = folded(Involution2d(16, 3, 1, 4, 4)), torch.randn(2, 16, 5, 5)
    wanted = made(x)
    for name in ("reduce", "span"):
        hook = getattr(made.layer, name).register_forward_hook(lambda module, given, result: told.append(result.shape))
        torch.testing.assert_close(made(x), wanted)
        hook.remove()
    assert told == [(2, 4, 5, 5), (2, 36, 5, 5)]
    everywhere = nn.modules.module.register_module_forward_hook(lambda module, *_: told.append(type(module)))
    made(x)
    everywhere.remove()
    assert len(told) > 2
    assert len(seen) == 1
    made(x)
    assert len(seen) == 2


def test_single_operators_for_who_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = at_once(monkeypatch)
    made, x = folded(Involution2d(16, 3, 1, 4, 4)), torch.randn(2, 16, 5, 5)
    with FlopCounterMode(display=False) as counter:
        made(x)
    assert counter.get_total_flops() == 2 * 2 * 25 * (16 * 4 + 4 * 36 + 16 * 9)
    with torch.autocast("cpu", torch.bfloat16):
        assert made(x).dtype == torch.bfloat16
    graph = torch.export.export(made, (x,)).graph
    assert "invnas.involution2d_folded.default" in {str(node.target) for node in graph.nodes}
    torch._dynamo.reset()
    torch.compile(made, fullgraph=True, backend="aot_eager")(x)
    assert copy.deepcopy(made).to("meta")(x.to("meta")).shape == x.shape
    assert seen == []


def test_weights_that_change_are_laid_out_again() -> None:
    made, x = folded(Involution2d(16, 3, 1, 4, 4)), torch.randn(2, 16, 5, 5)
    before = made(x)
    with torch.no_grad():
        made.layer.span.weight.mul_(2)  # type: ignore[union-attr, operator]
        made.layer.span.bias.mul_(2)  # type: ignore[union-attr, operator]
    shift = made.bias.view(-1, 1, 1)
    torch.testing.assert_close(made(x) - shift, 2 * (before - shift), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(copy.deepcopy(made)(x), made(x))


def test_what_is_not_a_number_stays_so() -> None:
    made = folded(Involution2d(16, 3, 1, 4, 4), after=(nn.ReLU6(),))
    x = torch.randn(1, 16, 5, 5)
    x[0, 0, 0, 0] = math.nan
    found = made(x)
    assert torch.equal(found.isnan(), step_by_step(made, x).isnan())
    assert found.isnan().any()


@pytest.mark.parametrize("stride", [1, 2])
def test_any_number_of_threads_writes_the_same(stride: int) -> None:
    made, x = folded(Involution2d(64, 7, stride, 16, 4)), torch.randn(3, 64, 29, 29)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            # The averages of a stride are torch's, and the sums of a bias too: only ours are compared.
            found.append(made(x))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_layers_that_do_not_fit_are_refused() -> None:
    from invnas.errors import BadInput

    x, one = torch.randn(1, 4, 5, 5), torch.ones(4)
    reduce, span = cpu.Linear(torch.randn(4, 2), torch.zeros(2)), cpu.Linear(torch.randn(3, 9), torch.zeros(9))
    with pytest.raises(BadInput, match="make no kernels"):
        cpu.spanned(x, x, (reduce, span), (one, one, 0.0, 1.0), torch.empty_like(x), (3, 1, 1, 1))
