"""The reference against loops, shift-and-accumulate against the reference, the registered operator against both."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch.autograd import gradcheck, gradgradcheck
from torch.autograd.forward_ad import dual_level, make_dual
from torch.utils.flop_counter import FlopCounterMode

from invnas.errors import BadInput
from invnas.ops import involution2d, reference, shift, window_products
from invnas.ops.geometry import Window

Tensor = torch.Tensor
LAYOUTS = ("nchw", "channels_last", "sliced", "turned")


@dataclass(frozen=True)
class Case:
    batch: int
    groups: int
    group_channels: int
    height: int
    width: int
    window: Window
    layout: str = "nchw"
    seed: int = 0

    def tensors(self, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
        """Return input, kernels, and a gradient of the output."""
        generator = torch.Generator().manual_seed(self.seed)

        def draw(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)

        out = (self.window.out(self.height), self.window.out(self.width))
        channels = self.groups * self.group_channels
        return (
            laid_out(draw(self.batch, channels, self.height, self.width), self.layout),
            draw(self.batch, self.groups, self.window.taps, *out),
            laid_out(draw(self.batch, channels, *out), self.layout),
        )

    @property
    def numbers(self) -> tuple[int, int, int, int]:
        return self.window.kernel_size, self.window.stride, self.window.dilation, self.window.padding


def laid_out(x: Tensor, layout: str) -> Tensor:
    """Return the same values in another memory layout."""
    if layout == "channels_last":
        return x.contiguous(memory_format=torch.channels_last)
    if layout == "sliced":
        large = torch.full((x.shape[0], x.shape[1] + 1, x.shape[2] * 2, x.shape[3] * 2), torch.nan, dtype=x.dtype)
        large[:, 1:, ::2, 1::2] = x
        return large[:, 1:, ::2, 1::2]
    return x.transpose(2, 3).contiguous().transpose(2, 3) if layout == "turned" else x


@st.composite
def cases(draw: st.DrawFn) -> Case:
    def number(low: int, high: int) -> int:
        return draw(st.integers(low, high))

    window = Window(number(1, 5), number(1, 3), number(1, 3), number(0, 5))
    height, width = number(1, 9), number(1, 9)
    assume(min(window.out(height), window.out(width)) >= 1)
    layout = draw(st.sampled_from(LAYOUTS))
    return Case(number(0, 2), number(1, 3), number(1, 3), height, width, window, layout, number(0, 9))


DEGENERATE = [
    Case(1, 1, 1, 1, 1, Window(1)),
    Case(0, 2, 2, 4, 4, Window(3, padding=1)),
    Case(1, 1, 2, 1, 1, Window(7, padding=3)),
    Case(2, 2, 3, 3, 2, Window(5, 2, 1, 2), "channels_last"),
    Case(1, 3, 1, 2, 7, Window(2, 2, 3, 2), "sliced"),
    Case(1, 1, 4, 5, 1, Window(4, 1, 1, 2), "turned"),
]


def loops(x: np.ndarray, w: np.ndarray, window: Window) -> np.ndarray:
    """Return the definition, one pixel and one tap at a time."""
    (k, s, d, p), channels = (window.kernel_size, window.stride, window.dilation, window.padding), x.shape[1]
    y = np.zeros((x.shape[0], channels, *w.shape[3:]))
    for b, c, i, j in np.ndindex(*y.shape):
        group = c // (channels // w.shape[1])
        for u, v in np.ndindex(k, k):
            row, column = i * s + u * d - p, j * s + v * d - p
            if 0 <= row < x.shape[2] and 0 <= column < x.shape[3]:
                y[b, c, i, j] += w[b, group, u * k + v, i, j] * x[b, c, row, column]
    return y


def truth(case: Case, dtype: torch.dtype = torch.float64, at: torch.dtype = torch.float64) -> tuple[Tensor, ...]:
    """Return output, gradient of input, gradient of kernels by the reference at a precision."""
    x, w, g = (tensor.to(at) for tensor in case.tensors(dtype))
    x, w = x.contiguous().requires_grad_(), w.requires_grad_()
    y = reference.involution2d(x, w, case.window)
    return (y.detach(), *torch.autograd.grad(y, (x, w), g))


def shifted(case: Case, dtype: torch.dtype = torch.float64) -> tuple[Tensor, ...]:
    x, w, g = case.tensors(dtype)
    return (
        shift.forward(x, w, case.window),
        shift.grad_input(g, w, case.window, (case.height, case.width)),
        shift.grad_kernels(g, x, case.window, case.groups),
    )


def same(found: tuple[Tensor, ...], wanted: tuple[Tensor, ...]) -> None:
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@given(cases())
def test_the_reference_is_the_definition(case: Case) -> None:
    x, w, _ = case.tensors()
    np.testing.assert_allclose(
        reference.involution2d(x, w, case.window), loops(x.numpy(), w.numpy(), case.window), rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize("case", DEGENERATE, ids=str)
def test_the_smallest_cases_agree_with_the_definition(case: Case) -> None:
    x, w, _ = case.tensors()
    np.testing.assert_allclose(shift.forward(x, w, case.window), loops(x.numpy(), w.numpy(), case.window), atol=1e-12)
    same(shifted(case), truth(case))


@given(cases())
def test_shift_agrees_with_the_reference_in_values_and_gradients(case: Case) -> None:
    same(shifted(case), truth(case))


@given(cases())
def test_the_operator_agrees_with_the_reference_in_values_and_gradients(case: Case) -> None:
    x, w, g = case.tensors()
    x, w = x.detach().requires_grad_(), w.requires_grad_()
    y = involution2d(x, w, *case.numbers)
    same((y.detach(), *torch.autograd.grad(y, (x, w), g)), truth(case))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@given(cases())
def test_half_precision_errs_at_most_twice_as_much_as_the_reference(dtype: torch.dtype, case: Case) -> None:
    exact, plain, ours = truth(case, dtype), truth(case, dtype, dtype), shifted(case, dtype)
    for a, b, c in zip(exact, plain, ours, strict=True):
        assert c.dtype == dtype
        if a.numel():
            error, allowed = (c.double() - a).abs().max(), 2 * (b.double() - a).abs().max()
            # The sum may end beside a rounding boundary of half precision: float32 itself errs by 1e-6.
            assert error <= allowed + 1e-5 * a.abs().max()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_output_keeps_dtype_and_memory_format(layout: str, dtype: torch.dtype) -> None:
    case = Case(2, 2, 2, 5, 4, Window(3, 2, 1, 1), layout)
    x, w, g = case.tensors(dtype)
    wanted = torch.channels_last if layout == "channels_last" else torch.contiguous_format
    x, w = x.detach().requires_grad_(), w.requires_grad_()
    y = involution2d(x, w, *case.numbers)
    gradient = torch.autograd.grad(y, x, g)[0]
    for tensor in (y, gradient):
        assert tensor.dtype == dtype
        assert tensor.is_contiguous(memory_format=wanted)


def test_neither_argument_is_written_to() -> None:
    case = Case(2, 2, 2, 5, 4, Window(3, 1, 1, 0))
    tensors = case.tensors()
    before = [tensor.clone() for tensor in tensors]
    shifted(case)
    involution2d(tensors[0], tensors[1], *case.numbers)
    same(tensors, tuple(before))


SMALL = [
    Case(2, 2, 2, 4, 3, Window(3, 1, 1, 1)),
    Case(1, 1, 2, 5, 4, Window(2, 2, 2, 1)),
]


@pytest.mark.parametrize("case", SMALL, ids=str)
def test_gradients_of_first_and_second_order(case: Case) -> None:
    x, w, _ = case.tensors()
    x, w = x.requires_grad_(), w.requires_grad_()

    def operator(x: Tensor, w: Tensor) -> Tensor:
        return involution2d(x, w, *case.numbers)

    assert gradcheck(operator, (x, w))
    assert gradgradcheck(operator, (x, w))


@pytest.mark.parametrize(("x_needs", "w_needs"), [(True, False), (False, True)])
def test_each_gradient_alone(x_needs: bool, w_needs: bool) -> None:
    case = SMALL[1]
    x, w, g = case.tensors()
    x, w = x.requires_grad_(x_needs), w.requires_grad_(w_needs)
    involution2d(x, w, *case.numbers).backward(g)
    _, wanted_x, wanted_w = truth(case)
    assert (x.grad is not None, w.grad is not None) == (x_needs, w_needs)
    same((x.grad if x_needs else w.grad,), (wanted_x if x_needs else wanted_w,))  # type: ignore[arg-type]


@pytest.mark.parametrize("layout", ["nchw", "channels_last"])
def test_torch_finds_nothing_wrong_with_the_registered_operators(layout: str) -> None:
    case = Case(2, 2, 2, 5, 4, Window(3, 2, 1, 1), layout)
    x, w, g = case.tensors(torch.float32)
    ops = torch.ops.invnas
    leaf = [tensor.detach().requires_grad_() for tensor in (x, w, g)]
    torch.library.opcheck(ops.involution2d.default, (leaf[0], leaf[1], *case.numbers))
    torch.library.opcheck(ops.involution2d_grad_input.default, (leaf[2], leaf[1], *case.numbers, 5, 4))
    torch.library.opcheck(ops.involution2d_grad_kernels.default, (leaf[2], leaf[0], *case.numbers, case.groups))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("mixed", [False, True])
def test_autocast_casts_both_operands_of_each_operator(dtype: torch.dtype, mixed: bool) -> None:
    case = SMALL[0]
    x, w, g = case.tensors(torch.float32)
    w = w.to(dtype) if mixed else w
    ops, numbers = torch.ops.invnas, case.numbers
    calls = (
        (ops.involution2d, (x, w), numbers),
        (ops.involution2d_grad_input, (g, w), (*numbers, case.height, case.width)),
        (ops.involution2d_grad_kernels, (g, x.to(w.dtype)), (*numbers, case.groups)),
    )
    for operator, tensors, rest in calls:
        with torch.autocast("cpu", dtype):
            found = operator(*tensors, *rest)
        assert found.dtype == dtype
        assert torch.equal(found, operator(*(tensor.to(dtype) for tensor in tensors), *rest))
    with torch.autocast("cpu", dtype):
        assert involution2d(x, w, *numbers).dtype == dtype
        assert involution2d(x.double(), w.double(), *numbers).dtype == torch.float64
        with torch.autocast("cpu", enabled=False):
            assert involution2d(x, w.float(), *numbers).dtype == torch.float32


def test_gradients_under_autocast_return_in_the_dtype_of_their_tensor() -> None:
    x, w, g = SMALL[0].tensors(torch.float32)
    x, w = x.requires_grad_(), w.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        involution2d(x, w, *SMALL[0].numbers).backward(g.bfloat16())
    for found, wanted in zip((x.grad, w.grad), truth(SMALL[0], torch.float32)[1:], strict=True):
        assert found is not None
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.double(), wanted, rtol=0.03, atol=0.03)


def test_autocast_leaves_float64_alone_and_refuses_it_beside_another_dtype() -> None:
    x, w, _ = SMALL[0].tensors()
    with torch.autocast("cpu", torch.bfloat16), pytest.raises(BadInput, match="share one"):
        involution2d(x, w.float(), *SMALL[0].numbers)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")  # torch's own, at the first jvp
def test_tangents_are_refused_and_not_lost() -> None:
    x, w = torch.randn(1, 4, 5, 5), torch.randn(1, 2, 9, 5, 5)
    with pytest.raises(BadInput, match="forward-mode"):
        torch.func.jvp(lambda x: involution2d(x, w, 3, padding=1), (x,), (x,))
    with torch.no_grad(), dual_level(), pytest.raises(BadInput, match="forward-mode"):
        involution2d(x, make_dual(w, w), 3, padding=1)
    with torch.no_grad(), dual_level(), pytest.raises(BadInput, match="forward-mode"):
        window_products(make_dual(x, x), x, 2, 3, padding=1)


def test_the_operator_compiles_as_one_graph() -> None:
    torch._dynamo.reset()
    case = SMALL[1]
    x, w, g = case.tensors(torch.float32)
    compiled = torch.compile(lambda x, w: involution2d(x, w, *case.numbers), fullgraph=True, backend="aot_eager")
    results = []
    for function in (compiled, lambda x, w: involution2d(x, w, *case.numbers)):
        a, b = x.detach().requires_grad_(), w.detach().requires_grad_()
        y = function(a, b)
        results.append((y.detach(), *torch.autograd.grad(y, (a, b), g)))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs)


@given(cases())
def test_forward_and_each_gradient_count_two_flops_a_multiply_add(case: Case) -> None:
    x, w, g = (tensor.to("meta") for tensor in case.tensors())
    x, w = x.requires_grad_(), w.requires_grad_()
    batch, channels, height, width = g.shape
    wanted = 2 * batch * channels * case.window.taps * height * width
    with FlopCounterMode(display=False) as forward:
        y = involution2d(x, w, *case.numbers)
    assert y.shape == g.shape
    with FlopCounterMode(display=False) as backward:
        y.backward(g)
    assert (forward.get_total_flops(), backward.get_total_flops()) == (wanted, 2 * wanted)
