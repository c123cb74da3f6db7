"""The folded operator against involution, then scale, bias and clamp in float64: every backend, layout and refusal."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from invnas.errors import BadInput
from invnas.ops import cpu, involution2d, involution2d_folded, reference, shift
from invnas.ops.geometry import Window

sys.path.insert(0, str(Path(__file__).parent))
from test_cpu import instruction_set, native, spanned
from test_operator import DEGENERATE, LAYOUTS, Case, cases

Tensor = torch.Tensor
LIMITS = ((-math.inf, math.inf), (0.0, math.inf), (0.0, 6.0), (-math.inf, 0.5), (0.25, 0.25))
__all__ = ["instruction_set"]


def finish(case: Case, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Scale and bias of either sign, with a zero among the scales."""
    generator = torch.Generator().manual_seed(case.seed + 1)
    channels = case.groups * case.group_channels
    scale, bias = (torch.randn(channels, generator=generator, dtype=torch.float64) for _ in range(2))
    scale[0] = 0
    return scale.to(dtype), bias.to(dtype)


def geometry(window: Window) -> dict[str, int]:
    return {
        "kernel_size": window.kernel_size,
        "stride": window.stride,
        "dilation": window.dilation,
        "padding": window.padding,
    }


def truth(x: Tensor, w: Tensor, scale: Tensor, bias: Tensor, limits: tuple[float, float], window: Window) -> Tensor:
    x, w, scale, bias = (tensor.double() for tensor in (x, w, scale, bias))
    y = reference.involution2d(x, w, window) * scale.view(-1, 1, 1) + bias.view(-1, 1, 1)
    return y.clamp(*limits)


def check(case: Case, limits: tuple[float, float], dtype: torch.dtype) -> None:
    x, w, _ = case.tensors(dtype)
    scale, bias = finish(case, dtype)
    wanted = truth(x, w, scale, bias, limits, case.window)
    tolerance = {torch.float32: 2e-5, torch.float64: 1e-12}[dtype]
    for found in (
        involution2d_folded(x, w, scale, bias, *limits, **geometry(case.window)),
        shift.folded(x, w, scale, bias, limits, case.window),
    ):
        assert found.dtype == dtype
        torch.testing.assert_close(found.double(), wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("limits", LIMITS)
@pytest.mark.parametrize("case", DEGENERATE, ids=str)
def test_the_smallest_cases(case: Case, limits: tuple[float, float]) -> None:
    check(case, limits, torch.float64)


@settings(deadline=None)
@given(cases(), st.sampled_from(LIMITS), st.sampled_from((torch.float32, torch.float64)))
def test_equals_involution_then_scale_bias_and_clamp(
    case: Case, limits: tuple[float, float], dtype: torch.dtype
) -> None:
    check(case, limits, dtype)


@pytest.mark.parametrize("kernel_size", [3, 4, 5, 7])
@pytest.mark.parametrize("group_channels", [1, 4, 16, 24])
@pytest.mark.parametrize(("width", "stride"), [(4, 1), (7, 1), (8, 1), (9, 1), (9, 2)])
def test_every_instruction_set(
    instruction_set: str, kernel_size: int, group_channels: int, width: int, stride: int
) -> None:
    window = Window(kernel_size, stride, padding=kernel_size // 2)
    for limits in LIMITS[::2]:
        check(Case(2, 2, group_channels, 5, width, window, "channels_last"), limits, torch.float32)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_rounded_once(dtype: torch.dtype) -> None:
    case = Case(2, 2, 16, 9, 9, Window(7, padding=3))
    x, w, _ = case.tensors(dtype)
    scale, bias = finish(case, dtype)
    found = involution2d_folded(x, w, scale, bias, 0.0, 6.0, **geometry(case.window))
    wanted = truth(x, w, scale, bias, (0.0, 6.0), case.window)
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), wanted, rtol=torch.finfo(dtype).eps, atol=1e-4)


@pytest.mark.parametrize("window", [Window(3, padding=1), Window(3, 2, padding=1), Window(7, padding=3)])
def test_what_is_not_a_number_stays_so(window: Window) -> None:
    x, w, _ = Case(1, 2, 16, 9, 9, window).tensors(torch.float32)
    x[0, 0] = math.nan
    one = torch.ones(32)
    for y in (
        involution2d_folded(x, w, one, one, 0.0, 6.0, **geometry(window)),
        shift.folded(x, w, one, one, (0.0, 6.0), window),
    ):
        assert y[0, 0].isnan().all()
        assert not y[0, 1:].isnan().any()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_the_result_follows_the_memory_of_the_input(layout: str, dtype: torch.dtype) -> None:
    case = Case(2, 2, 2, 5, 4, Window(3, 2, 1, 1), layout)
    x, w, _ = case.tensors(dtype)
    y = involution2d_folded(x, w, *finish(case, dtype), **geometry(case.window))
    assert y.dtype == dtype
    wanted = torch.channels_last if layout == "channels_last" else torch.contiguous_format
    assert y.is_contiguous(memory_format=wanted)


def test_scale_and_bias_may_lie_apart() -> None:
    case = Case(1, 2, 8, 5, 6, Window(3, padding=1))
    x, w, _ = case.tensors(torch.float32)
    scale, bias = finish(case, torch.float32)
    apart = torch.stack((scale, bias), 1)
    found = involution2d_folded(x, w, apart[:, 0], apart[:, 1], **geometry(case.window))
    assert torch.equal(found, involution2d_folded(x, w, scale, bias, **geometry(case.window)))


@native
def test_nothing_is_copied_where_all_lies_as_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case(2, 2, 4, 8, 6, Window(3, padding=1), "channels_last")
    x, w, _ = case.tensors(torch.float32)
    w, (scale, bias), seen = spanned(w), finish(case, torch.float32), []
    real = cpu._function("folded", torch.float32)
    monkeypatch.setattr(cpu, "_function", lambda *_: lambda *args: seen.extend(args) or real(*args))
    y = involution2d_folded(x, w, scale, bias, 0.0, **geometry(case.window))
    assert seen[:3] == [x.data_ptr(), w.data_ptr(), y.data_ptr()]
    assert seen[4:] == [scale.data_ptr(), bias.data_ptr(), 0.0, math.inf]


@native
@pytest.mark.parametrize("window", [Window(7, padding=3), Window(3, 2, 1, 1)])
def test_the_same_bits_for_any_number_of_threads(window: Window) -> None:
    case = Case(2, 4, 16, 33, 41, window, "channels_last")
    x, w, _ = case.tensors(torch.float32)
    before, results = torch.get_num_threads(), []
    for count in (1, 2, 3):
        torch.set_num_threads(count)
        results.append(involution2d_folded(x, w, *finish(case, torch.float32), 0.0, **geometry(window)))
    torch.set_num_threads(before)
    assert all(torch.equal(one, results[0]) for one in results)


@native
def test_without_scale_bias_and_limits_it_is_involution_bit_for_bit() -> None:
    for window in (Window(7, padding=3), Window(3, 2, 1, 1)):
        case = Case(2, 2, 16, 9, 11, window, "channels_last")
        x, w, _ = case.tensors(torch.float32)
        one, zero = torch.ones(32), torch.zeros(32)
        plain = involution2d(x, w, *case.numbers)
        assert torch.equal(involution2d_folded(x, w, one, zero, **geometry(window)), plain)


SMALL = Case(2, 2, 2, 4, 3, Window(3, 1, 1, 1))


@pytest.mark.parametrize("which", range(4))
def test_gradients_are_refused_in_one_sentence(which: int) -> None:
    operands = [*SMALL.tensors()[:2], *finish(SMALL)]
    operands[which] = operands[which].requires_grad_()
    with pytest.raises(BadInput, match=r"involution2d_folded has no gradients, it is for inference: call it under"):
        involution2d_folded(*operands, **geometry(SMALL.window))
    with torch.no_grad():
        assert not involution2d_folded(*operands, **geometry(SMALL.window)).requires_grad


@pytest.mark.parametrize("layout", ["nchw", "channels_last"])
def test_torch_finds_nothing_wrong_with_the_registered_operator(layout: str) -> None:
    case = Case(2, 2, 2, 5, 4, Window(3, 2, 1, 1), layout)
    x, w, _ = case.tensors(torch.float32)
    operands = (x, w, *finish(case, torch.float32), 0.0, 6.0, *case.numbers)
    torch.library.opcheck(torch.ops.invnas.involution2d_folded.default, operands)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_casts_every_operand(dtype: torch.dtype) -> None:
    x, w, _ = SMALL.tensors(torch.float32)
    scale, bias = finish(SMALL, torch.float32)
    with torch.autocast("cpu", dtype):
        found = involution2d_folded(x, w.to(dtype), scale, bias, 0.0, **geometry(SMALL.window))
        exact = involution2d_folded(*(t.double() for t in (x, w, scale, bias)), **geometry(SMALL.window))
    assert (found.dtype, exact.dtype) == (dtype, torch.float64)
    cast = [tensor.to(dtype) for tensor in (x, w, scale, bias)]
    assert torch.equal(found, involution2d_folded(*cast, 0.0, **geometry(SMALL.window)))


def test_it_compiles_as_one_graph() -> None:
    torch._dynamo.reset()
    x, w, _ = SMALL.tensors(torch.float32)
    scale, bias = finish(SMALL, torch.float32)

    def operator(x: Tensor, w: Tensor) -> Tensor:
        return involution2d_folded(x, w, scale, bias, 0.0, **geometry(SMALL.window))

    compiled = torch.compile(operator, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(x, w), operator(x, w))


@given(cases())
def test_it_counts_the_multiply_adds_of_involution(case: Case) -> None:
    x, w, _ = (tensor.to("meta") for tensor in case.tensors())
    scale, bias = (tensor.to("meta") for tensor in finish(case))
    with FlopCounterMode(display=False) as folded:
        y = involution2d_folded(x, w, scale, bias, 0.0, **geometry(case.window))
    with FlopCounterMode(display=False) as plain:
        assert involution2d(x, w, *case.numbers).shape == y.shape
    assert folded.get_total_flops() == plain.get_total_flops()


@pytest.mark.parametrize(
    ("which", "value", "sentence"),
    [
        (2, torch.ones(3), r"`scale` must be \(4,\) of torch.float32 on cpu as `input` is, but got \(3,\)"),
        (3, torch.ones(4, 1), r"`bias` must be \(4,\) of torch.float32 on cpu as `input` is, but got \(4, 1\)"),
        (3, torch.ones(4, dtype=torch.float64), "`bias` must be .* but got .* of torch.float64 on cpu"),
        (2, torch.ones(4, device="meta"), "`scale` must be .* on meta"),
        (1, torch.ones(2, 2, 9, 4, 4), "`kernels` must have shape"),
    ],
)
def test_what_does_not_fit_is_refused(which: int, value: Tensor, sentence: str) -> None:
    operands = [*SMALL.tensors(torch.float32)[:2], *finish(SMALL, torch.float32)]
    operands[which] = value
    with pytest.raises(BadInput, match=sentence):
        involution2d_folded(*operands, **geometry(SMALL.window))


@native
def test_a_direct_call_with_a_scale_that_does_not_fit_is_refused() -> None:
    x, w, _ = SMALL.tensors(torch.float32)
    with pytest.raises(BadInput, match="`scale` must be"):
        torch.ops.invnas.involution2d_folded(x, w, torch.ones(3), torch.ones(4), 0.0, 1.0, *SMALL.numbers)
    with pytest.raises(BadInput, match="shapes of involution must fit"):
        torch.ops.invnas.involution2d_folded(x, w[:1], torch.ones(4), torch.ones(4), 0.0, 1.0, *SMALL.numbers)
