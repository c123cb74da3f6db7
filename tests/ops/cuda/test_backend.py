"""The CUDA backend on CPU tensors, with the C++ of the CPU backend in the place of a kernel: all of a call but that."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from invnas.errors import BadInput
from invnas.ops import cpu, cuda, dispatch, reference
from invnas.ops.cuda import compiler, plan
from invnas.ops.geometry import Window

Tensor = torch.Tensor
last = torch.channels_last


def on_the_cpu(launch: plan.Launch, _: int | None) -> compiler.Call:
    """Launch the C++ of the CPU backend, which reads the same memory, in the place of a kernel."""
    function = cpu._function(launch.variant.kernel, getattr(torch, launch.variant.dtype))
    numbers = dict(zip(plan.FIELDS, launch.sizes, strict=True))
    names = "batch channels groups in_height in_width out_height out_width kernel_size stride dilation padding"
    sizes = (ctypes.c_int64 * 12)(*(numbers[name] for name in names.split()), 1)
    return lambda first, second, result, *finish: (
        function(first, second, result, ctypes.addressof(sizes), *finish) and None
    )


@pytest.fixture(scope="module")
def stand_in() -> Iterator[None]:
    if cpu.why_not():
        pytest.skip(str(cpu.why_not()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiler, "launcher", on_the_cpu)
        cuda._prepared.cache_clear()
        yield
    cuda._prepared.cache_clear()


def laid_out(x: Tensor, layout: str) -> Tensor:
    if layout == "offset":  # an address that no vector may be read from
        return torch.cat((x.new_zeros(1), x.flatten()))[1:].view(x.shape)
    if layout == "last":
        spread = x.flatten(1, -3) if x.dim() == 5 else x
        return spread.contiguous(memory_format=last).view(x.shape)
    return x.mT.contiguous().mT if layout == "turned" else x


@pytest.mark.usefixtures("stand_in")
@given(
    st.tuples(st.integers(1, 5), st.integers(1, 3), st.integers(1, 2), st.integers(0, 3)),
    st.tuples(st.integers(0, 2), st.integers(1, 3), st.integers(0, 4), st.integers(0, 6), st.integers(0, 7)),
    st.lists(st.sampled_from(("first", "last", "turned", "offset")), min_size=6, max_size=6),
    st.sampled_from((torch.float32, torch.float64)),
)
def test_every_memory_layout_reaches_the_kernels_as_they_read_it(
    numbers: tuple[int, ...], sizes: tuple[int, ...], layouts: list[str], dtype: torch.dtype
) -> None:
    window, (batch, groups, group_channels, height, width) = Window(*numbers), sizes
    out = (window.out(height), window.out(width))
    assume(min(out) >= 1)
    x, grad = (
        torch.randn(batch, groups * group_channels, height, width, dtype=dtype),
        torch.randn(batch, groups * group_channels, *out, dtype=dtype),
    )
    kernels = torch.randn(batch, groups, window.taps, *out, dtype=dtype)
    a, b = x.clone().requires_grad_(), kernels.clone().requires_grad_()
    truth = reference.involution2d(a, b, window) if x.numel() else torch.zeros_like(grad)
    wanted = (truth, *(torch.autograd.grad(truth, (a, b), grad) if x.numel() else (x, torch.zeros_like(kernels))))
    first, second, upper = (laid_out(t, layout) for t, layout in zip((x, kernels, grad), layouts, strict=False))
    found = [
        laid_out(torch.full_like(t, torch.nan), layout)
        for t, layout in zip((grad, x, kernels), layouts[3:], strict=True)
    ]
    cuda.forward(first, second, found[0], numbers)
    cuda.grad_input(upper, second, found[1], numbers)
    cuda.grad_kernels(upper, first, found[2], numbers)
    one = torch.ones(x.shape[1], dtype=dtype)
    found.append(laid_out(torch.full_like(grad, torch.nan), layouts[3]))
    cuda.folded(first, second, 2 * one, one, (-0.5, 6.0), found[3], numbers)
    wanted = (*wanted, (2 * truth + 1).clamp(-0.5, 6.0))
    for value, want in zip(found, wanted, strict=True):
        torch.testing.assert_close(value, want.detach(), rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("stand_in")
def test_a_dense_layer_is_used_where_it_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, ...]] = []
    monkeypatch.setattr(compiler, "launcher", lambda *_: lambda *addresses: seen.append(addresses))
    cuda._prepared.cache_clear()
    x, kernels = laid_out(torch.randn(2, 8, 6, 5), "last"), laid_out(torch.randn(2, 2, 9, 6, 5), "last")
    y, to_kernels = torch.empty_like(x), torch.empty_like(kernels)
    numbers = (3, 1, 1, 1)
    cuda.forward(x, kernels, y, numbers)
    cuda.grad_input(y, kernels, x, numbers)
    cuda.grad_kernels(y, x, to_kernels, numbers)
    cuda._prepared.cache_clear()
    x_at, w_at, y_at = x.data_ptr(), kernels.data_ptr(), y.data_ptr()
    assert seen == [(x_at, w_at, y_at), (y_at, w_at, x_at), (y_at, x_at, to_kernels.data_ptr())]


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize(("offset", "alignment"), [(0, 16), (1, 4), (2, 8), (4, 16)])
def test_the_plan_is_told_how_addresses_are_aligned(
    offset: int, alignment: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[int] = []
    real = plan.plan
    monkeypatch.setattr(plan, "plan", lambda *numbers: told.append(numbers[-1]) or real(*numbers))
    cuda._prepared.cache_clear()
    x = torch.zeros(offset + 64)[offset:].view(1, 4, 4, 4).permute(0, 3, 1, 2)
    kernels = torch.zeros(1, 4, 4, 1, 9).permute(0, 3, 4, 1, 2)
    cuda.forward(x, kernels, torch.empty(1, 4, 4, 4).permute(0, 3, 1, 2), (3, 1, 1, 1))
    assert told == [alignment]


def test_tensors_that_do_not_fit_are_refused() -> None:
    x, kernels, y = torch.zeros(1, 4, 5, 5), torch.zeros(1, 2, 9, 5, 5), torch.zeros(1, 4, 5, 5)
    refused: list[tuple[str, Callable[[], None]]] = [
        ("must fit Window", lambda: cuda.forward(x, kernels, y, (3, 1, 1, 0))),
        ("must fit Window", lambda: cuda.grad_kernels(y, x[:, :3], kernels, (3, 1, 1, 1))),
        ("one dtype and one device", lambda: cuda.forward(x.half(), kernels, y, (3, 1, 1, 1))),
        ("one dtype and one device", lambda: cuda.forward(x, kernels.to("meta"), y, (3, 1, 1, 1))),
        ("a CUDA device, but got `cpu`", lambda: cuda.warmup(device="cpu")),
    ]
    for sentence, call in refused:
        with pytest.raises(BadInput, match=sentence):
            call()
    kinds = [t.to(torch.float8_e4m3fn) for t in (x, kernels, y)]
    with pytest.raises(BadInput, match=r"computes float32, float64, float16, bfloat16, but got torch\.float8"):
        cuda.forward(*(t.contiguous(memory_format=last) if t.dim() == 4 else t for t in kinds), (3, 1, 1, 1))


@pytest.mark.parametrize(
    "name", ["involution2d", "involution2d_grad_input", "involution2d_grad_kernels", "involution2d_folded"]
)
def test_cuda_tensors_reach_the_backend(name: str) -> None:
    if dispatch.forced != "shift":
        assert torch._C._dispatch_has_kernel_for_dispatch_key(f"invnas::{name}", "CUDA")


def test_sources_travel_with_the_package() -> None:
    assert "__global__" in plan.source()
