"""The same truths on a GPU; skipped, with the reason, where there is none."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck, gradgradcheck

from invnas.errors import InvnasError
from invnas.experiment import DataSource, Experiment, Recipe
from invnas.ops import backend_of, cuda, dispatch, involution2d, reference, why_not
from invnas.ops.cuda import compiler
from invnas.ops.geometry import Window, same_padding
from invnas.space import load_space

Tensor = torch.Tensor
Triple = tuple[Tensor, Tensor, Tensor]

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, and torch sees none"),
]
native = pytest.mark.skipif(why_not("cuda") is not None, reason=str(why_not("cuda")))
LAYOUTS = ("nchw", "channels_last", "sliced", "turned")
TYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
SAME = Window(7, padding=3)


def laid_out(x: Tensor, layout: str) -> Tensor:
    """Return the same values in another memory layout."""
    if layout == "channels_last":
        spread = x.flatten(1, -3) if x.dim() == 5 else x
        return spread.contiguous(memory_format=torch.channels_last).view(x.shape)
    if layout == "sliced":
        large = x.new_full((x.shape[0], x.shape[1] + 1, *x.shape[2:-1], x.shape[-1] * 2), torch.nan)
        large[:, 1:, ..., 1::2] = x
        return large[:, 1:, ..., 1::2]
    return x.mT.contiguous().mT if layout == "turned" else x


def tensors(
    window: Window,
    sizes: tuple[int, int, int, int, int],
    dtype: torch.dtype = torch.float64,
    layouts: tuple[str, str, str] = ("nchw",) * 3,
    device: str = "cuda",
) -> Triple:
    """Return input, kernels and gradient of the output; sizes are batch, groups, group channels, height, width."""
    batch, groups, group_channels, height, width = sizes
    out, random = (window.out(height), window.out(width)), torch.Generator(device).manual_seed(0)
    channels = groups * group_channels
    shapes = ((batch, channels, height, width), (batch, groups, window.taps, *out), (batch, channels, *out))
    drawn = (torch.randn(shape, generator=random, device=device).to(dtype) for shape in shapes)
    x, kernels, grad = (laid_out(tensor, layout) for tensor, layout in zip(drawn, layouts, strict=True))
    return x, kernels, grad


def numbers(window: Window) -> tuple[int, int, int, int]:
    return window.kernel_size, window.stride, window.dilation, window.padding


def all_three(given_: Triple, window: Window) -> Triple:
    """Return output, gradient of the input, gradient of the kernels."""
    x, kernels = (tensor.detach().requires_grad_() for tensor in given_[:2])
    y = involution2d(x, kernels, *numbers(window))
    return (y.detach(), *torch.autograd.grad(y, (x, kernels), given_[2]))


def check(given_: Triple, window: Window) -> None:
    """Hold all three against the reference in float64 at a tolerance that is one rounding of the result."""
    x, kernels, grad = (tensor.double().contiguous() for tensor in given_)
    truth = reference.involution2d(x.requires_grad_(), kernels.requires_grad_(), window)
    wanted = (truth.detach(), *torch.autograd.grad(truth, (x, kernels), grad))
    tolerance = {torch.float32: 1e-5, torch.float64: 1e-12}.get(given_[0].dtype, 1e-4)
    for value, want in zip(all_three(given_, window), wanted, strict=True):
        assert value.dtype == given_[0].dtype
        terms = max(1, window.taps * given_[0].shape[1] // given_[1].shape[1])
        absolute, relative = tolerance * terms**0.5, torch.finfo(value.dtype).eps
        torch.testing.assert_close(value.double(), want, rtol=relative, atol=absolute)


@contextmanager
def nothing_new() -> Iterator[None]:
    """Nothing is compiled and nothing is loaded here."""
    before = compiler.machine_code.cache_info().misses, compiler.load.cache_info().misses
    yield
    assert (compiler.machine_code.cache_info().misses, compiler.load.cache_info().misses) == before


@settings(max_examples=150, deadline=None)
@given(
    st.tuples(st.integers(1, 9), st.integers(1, 3), st.integers(1, 3), st.integers(0, 6)),
    st.tuples(
        st.integers(1, 3), st.integers(1, 5), st.sampled_from((1, 2, 3, 4, 8, 12, 16, 20, 40, 144)),
        st.integers(1, 21), st.integers(1, 37),
    ),
    st.sampled_from(TYPES),
    st.tuples(*[st.sampled_from(LAYOUTS)] * 3),
)  # fmt: skip
def test_involution_agrees_with_the_reference(
    window: tuple[int, int, int, int],
    sizes: tuple[int, int, int, int, int],
    dtype: torch.dtype,
    layouts: tuple[str, str, str],
) -> None:
    slides = Window(*window)
    assume(min(slides.out(sizes[3]), slides.out(sizes[4])) >= 1)
    check(tensors(slides, sizes, dtype, layouts), slides)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("kernel_size", [1, 3, 4, 5, 7, 9, 11, 15])
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (3, 1), (1, 2), (2, 3)])
def test_every_kernel_agrees_on_an_odd_map(dtype: torch.dtype, kernel_size: int, stride: int, dilation: int) -> None:
    window = Window(kernel_size, stride, dilation, same_padding(kernel_size, dilation))
    for layout in LAYOUTS[:2]:
        check(tensors(window, (2, 3, 16, 33, 29), dtype, (layout,) * 3), window)
    check(tensors(window, (1, 1, 5, 1 + stride, 31), dtype), window)


@pytest.mark.parametrize("sizes", [(0, 2, 4, 5, 6), (2, 2, 0, 5, 6), (1, 1, 4, 0, 5)])
def test_nothing_in_nothing_out(sizes: tuple[int, int, int, int, int]) -> None:
    window = Window(3, padding=4)
    given_ = tensors(window, sizes, torch.float32)
    assert all(not value.any() for value in all_three(given_, window))


@pytest.mark.parametrize("window", [Window(3, padding=1), Window(2, 2, 1, 0), Window(3, 2, 2, 2), Window(5, padding=2)])
def test_gradients_of_first_and_second_order(window: Window) -> None:
    x, kernels, _ = tensors(window, (1, 2, 3, 5, 4))
    given_ = (x.requires_grad_(), kernels.requires_grad_())
    assert gradcheck(lambda a, b: involution2d(a, b, *numbers(window)), given_)
    assert gradgradcheck(lambda a, b: involution2d(a, b, *numbers(window)), given_)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_shapes_without_data_agree_with_shapes_with_it(layout: str) -> None:
    x, kernels, grad = tensors(Window(3, padding=1), (2, 2, 4, 5, 6), torch.float32, (layout,) * 3)
    inside, ops, window = ("test_schema", "test_faketensor"), torch.ops.invnas, (3, 1, 1, 1)
    torch.library.opcheck(ops.involution2d.default, (x, kernels, *window), test_utils=inside)
    torch.library.opcheck(ops.involution2d_grad_input.default, (grad, kernels, *window, 5, 6), test_utils=inside)
    torch.library.opcheck(ops.involution2d_grad_kernels.default, (grad, x, *window, 2), test_utils=inside)


@pytest.mark.parametrize("dtype", TYPES)
def test_the_same_bits_at_every_run(dtype: torch.dtype) -> None:
    given_ = tensors(SAME, (4, 4, 16, 56, 56), dtype, ("channels_last",) * 3)
    first = all_three(given_, SAME)
    for _ in range(3):
        assert all(torch.equal(a, b) for a, b in zip(first, all_three(given_, SAME), strict=True))


def test_work_waits_for_the_current_stream_only() -> None:
    given_ = tensors(SAME, (2, 2, 16, 14, 14), torch.float32, ("channels_last",) * 3)
    wanted, hidden = all_three(given_, SAME), [torch.full_like(tensor, torch.nan) for tensor in given_]
    torch.cuda.synchronize()
    with torch.cuda.stream(torch.cuda.Stream()):
        torch.cuda._sleep(100_000_000)
        for room, tensor in zip(hidden, given_, strict=True):
            room.copy_(tensor)
        found = all_three((hidden[0], hidden[1], hidden[2]), SAME)
        torch.cuda.current_stream().synchronize()
    assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))


def test_a_thread_that_never_saw_the_gpu_may_call() -> None:
    (x, kernels, _), found = tensors(SAME, (2, 2, 16, 14, 14), torch.float32), []
    thread = threading.Thread(target=lambda: found.append(involution2d(x, kernels, *numbers(SAME))))
    thread.start()
    thread.join()
    assert torch.equal(found[0], involution2d(x, kernels, *numbers(SAME)))


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_another_device_than_the_current_one() -> None:
    assert torch.cuda.current_device() == 0
    for device in ("cuda:1", "cuda:0", "cuda:1"):
        check(tensors(SAME, (2, 2, 16, 14, 14), torch.float32, device=device), SAME)
        assert torch.cuda.current_device() == 0


@pytest.mark.skipif(find_spec("cupy") is None, reason="needs CuPy")
def test_a_gpu_they_are_made_for_runs_the_kernels() -> None:
    if torch.cuda.get_device_capability() >= (8, 0) and dispatch.forced != "shift":
        assert why_not("cuda") is None  # else the tests around this one would pass in pure torch


@native
def test_a_new_size_compiles_nothing() -> None:
    check(tensors(SAME, (1, 2, 16, 14, 14), torch.float32, ("channels_last",) * 3), SAME)
    with nothing_new():
        for sizes in ((5, 2, 16, 14, 14), (1, 4, 32, 28, 28), (2, 1, 16, 9, 57)):
            check(tensors(SAME, sizes, torch.float32, ("channels_last",) * 3), SAME)


@native
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_graph_is_captured_after_warmup_and_replayed(dtype: torch.dtype) -> None:
    cuda.warmup((dtype,), (5,), group_channels=(16,), strides=(1,))
    window = Window(5, padding=2)
    given_ = tensors(window, (3, 2, 16, 15, 17), dtype, ("channels_last",) * 3)
    graph, ops = torch.cuda.CUDAGraph(), torch.ops.invnas
    with nothing_new(), torch.cuda.graph(graph):
        found = (
            ops.involution2d(given_[0], given_[1], *numbers(window)),
            ops.involution2d_grad_input(given_[2], given_[1], *numbers(window), 15, 17),
            ops.involution2d_grad_kernels(given_[2], given_[0], *numbers(window), 2),
        )
    for tensor in given_:
        tensor.mul_(0.5)
    graph.replay()
    assert all(torch.equal(a, b) for a, b in zip(found, all_three(given_, window), strict=True))


@native
def test_a_capture_that_would_have_to_load_a_kernel_says_so() -> None:
    given_ = tensors(SAME, (1, 1, 16, 8, 8), torch.float16, ("channels_last",) * 3)
    compiler.load.cache_clear()
    cuda._prepared.cache_clear()

    def capture() -> None:
        with torch.cuda.graph(torch.cuda.CUDAGraph()):
            given_[0].mul_(1)  # torch warns of an empty graph
            involution2d(given_[0], given_[1], *numbers(SAME))

    with pytest.raises(InvnasError, match="before the capture"):
        capture()
    check(given_, SAME)


@native
def test_memory_is_torchs_and_only_for_the_result() -> None:
    import cupy

    given_ = tensors(SAME, (4, 4, 16, 28, 28), torch.float16, ("channels_last",) * 3)
    for _ in range(2):
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        y = involution2d(given_[0], given_[1], *numbers(SAME))
        assert torch.cuda.max_memory_allocated() - before == y.nbytes
    assert cupy.get_default_memory_pool().total_bytes() == 0


@native
def test_more_than_two_to_the_31_elements() -> None:
    if torch.cuda.mem_get_info()[0] < 40 << 30:
        pytest.skip("needs 40 GiB of free GPU memory")
    drawn = (torch.randn((130, 512, 512, *rest), dtype=torch.float16, device="cuda") for rest in ((64,), (1, 9), (64,)))
    x, kernels, grad = (tensor.movedim((1, 2), (-2, -1)) for tensor in drawn)
    assert x.numel() > 2**31
    found = all_three((x, kernels, grad), Window(3, padding=1))
    one = all_three((x[-1:], kernels[-1:], grad[-1:]), Window(3, padding=1))
    for value, want in zip(found, one, strict=True):
        torch.testing.assert_close(value[-1:], want, rtol=2e-3, atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_casts_both_operands(dtype: torch.dtype) -> None:
    given_ = tensors(SAME, (2, 2, 16, 14, 14), torch.float32)
    with torch.autocast("cuda", dtype):
        found = involution2d(given_[0], given_[1], *numbers(SAME))
    assert torch.equal(found, involution2d(*(tensor.to(dtype) for tensor in given_[:2]), *numbers(SAME)))


@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_the_operator_compiles_as_one_graph(backend: str) -> None:
    if backend == "inductor":
        pytest.importorskip("triton")
    torch._dynamo.reset()
    given_ = tensors(SAME, (2, 2, 16, 14, 14), torch.float32, ("channels_last",) * 3)
    x, kernels = (tensor.requires_grad_() for tensor in given_[:2])
    compiled = torch.compile(lambda a, b: involution2d(a * 2, b, *numbers(SAME)), fullgraph=True, backend=backend)
    y = compiled(x, kernels)
    found = (y.detach(), *torch.autograd.grad(y, (x, kernels), given_[2]))
    wanted = all_three((x.detach() * 2, given_[1], given_[2]), SAME)
    for value, want in zip(found, (wanted[0], wanted[1] * 2, wanted[2]), strict=True):
        torch.testing.assert_close(value, want)


def test_a_hybrid_trains_in_mixed_precision(tmp_path: Path) -> None:
    from invnas.cost import cost
    from invnas.engine.evaluate import evaluate

    experiment = Experiment(data=DataSource("Digits", {"batch_size": 64}), recipe=Recipe(epochs=4, learning_rate=0.3))
    architecture = load_space("digits").sample(random.Random(0))[1]
    measured = evaluate(
        architecture,
        cost(architecture, (1, 8, 8), 10),
        replace(experiment, objectives=("top1", "latency_ms")),
        checkpoints=tmp_path / "c",
        weights=tmp_path / "w.safetensors",
        logs=tmp_path / "l",
    )
    assert measured.device.startswith("cuda")
    assert measured.backend == backend_of("cuda")
    assert measured.top1 > 0.3
    assert measured.latency_ms is not None
