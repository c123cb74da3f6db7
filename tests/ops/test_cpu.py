"""The native CPU backend against the definition: values, gradients, memory, threads, and what happens without it."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from invnas.errors import BadInput, InvnasError
from invnas.ops import backend_of, cpu, involution2d, reference, shift
from invnas.ops.dispatch import why_not
from invnas.ops.geometry import Window, same_padding

Tensor = torch.Tensor
Case = tuple[Window, int, int, int, tuple[int, int]]
last = torch.channels_last
native = pytest.mark.skipif(cpu.why_not() is not None, reason=str(cpu.why_not()))


@st.composite
def cases(draw: st.DrawFn) -> Case:
    kernel_size, dilation = draw(st.integers(1, 9)), draw(st.integers(1, 3))
    padding = draw(st.sampled_from((0, 1, same_padding(kernel_size, dilation), kernel_size + 1)))
    window = Window(kernel_size, draw(st.integers(1, 3)), dilation, padding)
    least = max(1, dilation * (kernel_size - 1) + 1 - 2 * padding)
    size = (least + draw(st.integers(0, 9)), least + draw(st.integers(0, 17)))
    group_channels = draw(st.sampled_from((1, 2, 3, 4, 8, 12, 16, 20, 32, 40)))
    return window, draw(st.integers(0, 2)), draw(st.integers(1, 5)), group_channels, size


def operands(case: Case, dtype: torch.dtype = torch.float64, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Input, kernels and gradient of the output, all contiguous."""
    window, batch, groups, group_channels, (height, width) = case
    random = torch.Generator().manual_seed(seed)
    out = (window.out(height), window.out(width))
    shapes = (
        (batch, groups * group_channels, height, width),
        (batch, groups, window.taps, *out),
        (batch, groups * group_channels, *out),
    )
    x, kernels, grad = (torch.randn(shape, generator=random, dtype=torch.float64).to(dtype) for shape in shapes)
    return x, kernels, grad


def spanned(kernels: Tensor) -> Tensor:
    """The same kernels as a channels_last 1x1 convolution writes them."""
    return kernels.flatten(1, 2).contiguous(memory_format=last).unflatten(1, kernels.shape[1:3])


def all_three(x: Tensor, kernels: Tensor, grad: Tensor, window: Window) -> tuple[Tensor, Tensor, Tensor]:
    x, kernels = x.detach().requires_grad_(), kernels.detach().requires_grad_()
    y = involution2d(x, kernels, window.kernel_size, window.stride, window.dilation, window.padding)
    return (y.detach(), *torch.autograd.grad(y, (x, kernels), grad))


def truth(x: Tensor, kernels: Tensor, grad: Tensor, window: Window) -> tuple[Tensor, Tensor, Tensor]:
    x, kernels = x.double().requires_grad_(), kernels.double().requires_grad_()
    y = reference.involution2d(x, kernels, window)
    return (y.detach(), *torch.autograd.grad(y, (x, kernels), grad.double()))


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def fresh_loader() -> Iterator[None]:
    cpu.library.cache_clear()
    yield
    cpu.library.cache_clear()


@pytest.fixture(params=["baseline", "AVX2", "AVX-512"])
def instruction_set(request: pytest.FixtureRequest) -> Iterator[str]:
    if cpu.why_not():
        pytest.skip(str(cpu.why_not()))
    chosen = cpu.instruction_set(["baseline", "AVX2", "AVX-512"].index(request.param))
    yield chosen
    cpu.instruction_set(2)
    if chosen != request.param:
        pytest.skip(f"this machine has no {request.param}")


@native
@settings(deadline=None, max_examples=120)
@given(cases(), st.sampled_from((torch.float32, torch.float64)), st.booleans(), st.booleans())
def test_equals_the_definition(case: Case, dtype: torch.dtype, maps_last: bool, kernels_last: bool) -> None:
    x, kernels, grad = operands(case, dtype)
    expected = truth(x, kernels, grad, case[0])
    if maps_last:
        x, grad = x.contiguous(memory_format=last), grad.contiguous(memory_format=last)
    got = all_three(x, spanned(kernels) if kernels_last else kernels, grad, case[0])
    tolerance = {torch.float32: 2e-4, torch.float64: 1e-11}[dtype]
    for value, want in zip(got, expected, strict=True):
        assert value.dtype == dtype
        torch.testing.assert_close(value.double(), want, rtol=0, atol=tolerance)


@pytest.mark.parametrize("kernel_size", [3, 4, 5, 7])
@pytest.mark.parametrize("group_channels", [4, 8, 16, 24, 64])
@pytest.mark.parametrize("width", [4, 7, 8, 9, 18])
def test_every_instruction_set_is_exact(
    instruction_set: str, kernel_size: int, group_channels: int, width: int
) -> None:
    case = (Window(kernel_size, padding=same_padding(kernel_size)), 2, 2, group_channels, (5, width))
    x, kernels, grad = operands(case, torch.float32)
    for value, want in zip(all_three(x, kernels, grad, case[0]), truth(x, kernels, grad, case[0]), strict=True):
        torch.testing.assert_close(value.double(), want, rtol=0, atol=2e-4)


@native
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_accumulates_in_float32(dtype: torch.dtype) -> None:
    case = (Window(7, padding=3), 2, 2, 16, (9, 9))
    x, kernels, grad = operands(case, dtype)
    for value, want in zip(all_three(x, kernels, grad, case[0]), truth(x, kernels, grad, case[0]), strict=True):
        assert value.dtype == dtype
        # One rounding at the end is all that half precision may cost.
        torch.testing.assert_close(value.double(), want, rtol=torch.finfo(dtype).eps, atol=1e-4)


@native
def test_any_strides_are_read() -> None:
    case = (Window(3, padding=1), 2, 2, 8, (6, 10))
    x, kernels, grad = operands(case, torch.float32)
    expected = truth(x, kernels, grad, case[0])
    strided = torch.randn(2, 32, 12, 20)[:, ::2, ::2, ::2].copy_(x)
    turned = kernels.transpose(3, 4).contiguous().transpose(3, 4)
    spread = grad.transpose(0, 3).contiguous().transpose(0, 3)
    for value, want in zip(all_three(strided, turned, spread, case[0]), expected, strict=True):
        torch.testing.assert_close(value.double(), want, rtol=0, atol=2e-4)


@native
@pytest.mark.parametrize("stride", [1, 2])
def test_memory_format_follows_the_first_argument(stride: int) -> None:
    window = Window(3, stride, padding=1)
    x, kernels, grad = operands((window, 2, 2, 4, (8, 6)), torch.float32)
    y, to_x, to_kernels = all_three(x, kernels, grad, window)
    assert all(value.is_contiguous() for value in (y, to_x, to_kernels))
    y, to_x, to_kernels = all_three(
        x.contiguous(memory_format=last), spanned(kernels), y.to(memory_format=last), window
    )
    assert all(value.is_contiguous(memory_format=last) for value in (y, to_x, to_kernels.flatten(1, 2)))


@native
def test_the_layout_of_a_channels_last_layer_is_used_where_it_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    x, kernels, grad = operands((Window(3, padding=1), 2, 2, 4, (8, 6)), torch.float32)
    x, grad, kernels = x.contiguous(memory_format=last), grad.contiguous(memory_format=last), spanned(kernels)
    seen: list[int] = []
    real = cpu._function("forward", torch.float32)
    monkeypatch.setattr(cpu, "_function", lambda *_: lambda *args: seen.extend(args[:3]) or real(*args))
    y = torch.ops.invnas.involution2d(x, kernels, 3, 1, 1, 1)
    assert seen == [x.data_ptr(), kernels.data_ptr(), y.data_ptr()]


@native
@pytest.mark.parametrize("window", [Window(3, padding=1), Window(2, 2, 1, 0), Window(3, 2, 2, 2), Window(5, padding=2)])
def test_gradients_of_gradients(window: Window) -> None:
    x, kernels, _ = operands((window, 1, 2, 3, (5, 4)))
    geometry = (window.kernel_size, window.stride, window.dilation, window.padding)
    inputs = (x.requires_grad_(), kernels.requires_grad_())
    assert torch.autograd.gradcheck(lambda a, b: involution2d(a, b, *geometry), inputs)
    assert torch.autograd.gradgradcheck(lambda a, b: involution2d(a, b, *geometry), inputs)


@native
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, last])
def test_shapes_without_data_agree_with_shapes_with_it(memory_format: torch.memory_format) -> None:
    x, kernels, grad = operands((Window(3, padding=1), 2, 2, 4, (5, 6)), torch.float32)
    x, grad = x.contiguous(memory_format=memory_format), grad.contiguous(memory_format=memory_format)
    inside = ("test_schema", "test_faketensor")
    ops = torch.ops.invnas
    torch.library.opcheck(ops.involution2d.default, (x, kernels, 3, 1, 1, 1), test_utils=inside)
    torch.library.opcheck(ops.involution2d_grad_input.default, (grad, kernels, 3, 1, 1, 1, 5, 6), test_utils=inside)
    torch.library.opcheck(ops.involution2d_grad_kernels.default, (grad, x, 3, 1, 1, 1, 2), test_utils=inside)


@native
@pytest.mark.parametrize("window", [Window(7, padding=3), Window(3, 2, 1, 1)])
def test_the_same_bits_for_any_number_of_threads(window: Window, threads: None) -> None:
    # Large enough that the work is divided.
    x, kernels, grad = operands((window, 2, 4, 16, (33, 41)), torch.float32)
    torch.set_num_threads(1)
    one = all_three(x, kernels, grad, window)
    for count in (2, 3):
        torch.set_num_threads(count)
        for value, want in zip(all_three(x, kernels, grad, window), one, strict=True):
            assert torch.equal(value, want)


@native
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux shows the libraries of a process")
def test_threads_are_those_of_torch() -> None:
    script = (
        "import torch, os; from invnas.ops import cpu\n"
        "torch.set_num_threads(1)\n"
        "x = torch.randn(4, 32, 32, 64).permute(0, 3, 1, 2); k = torch.randn(4, 32, 32, 4, 49).permute(0, 3, 4, 1, 2)\n"
        "count = lambda: len(os.listdir('/proc/self/task'))\n"
        "run = lambda: torch.ops.invnas.involution2d(x, k, 7, 1, 1, 3)\n"
        "run(); alone = count(); torch.set_num_threads(3); run(); together = count()\n"
        "runtimes = {l.split()[-1] for l in open('/proc/self/maps') if 'gomp' in l or 'omp5' in l}\n"
        "print(together - alone, len(runtimes))"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["2", "1"]


@pytest.mark.parametrize("size", [(1, 1), (2, 3)])
def test_a_missing_library_falls_back_and_says_so_once(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch, fresh_loader: None, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(cpu, "library_path", lambda: None)
    caplog.set_level(logging.WARNING, "invnas")
    window = Window(7, padding=3)
    x, kernels, grad = operands((window, 2, 2, 4, size), torch.float32)
    for value, want in zip(all_three(x, kernels, grad, window), truth(x, kernels, grad, window), strict=True):
        torch.testing.assert_close(value.double(), want, rtol=0, atol=2e-4)
    reason = why_not("cpu")
    assert reason is not None
    assert "no compiled library" in reason
    assert backend_of("cpu") == "shift (pure torch)"
    assert [record.message for record in caplog.records if reason in record.message] == [caplog.records[0].message]
    with pytest.raises(InvnasError, match="no compiled library"):
        cpu.instruction_set()


def test_a_broken_library_is_a_reason_not_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh_loader: None
) -> None:
    broken = tmp_path / "_involution.so"
    broken.write_bytes(b"not a library")
    monkeypatch.setattr(cpu, "library_path", lambda: broken)
    assert "does not load" in str(cpu.why_not())


@pytest.mark.parametrize(
    ("switch", "expected"),
    [("shift", "shift (pure torch)"), ("cpu", "cpu (C++"), ("gpu", "must be shift, cpu or cuda, but got `gpu`")],
)
def test_the_switch_is_read_once_at_import(switch: str, expected: str) -> None:
    if switch == "cpu" and cpu.why_not():
        expected = "asks for `cpu`, but"
    script = "from invnas.ops import backend_of; print(backend_of('cpu'))"
    environment = {**os.environ, "INVNAS_BACKEND": switch}
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment)
    assert expected in (result.stdout or result.stderr)


def test_other_devices_have_a_reason() -> None:
    assert why_not("meta") == "there is no native backend for meta devices"
    assert backend_of("meta") == "shift (pure torch)"


@native
def test_a_direct_call_with_wrong_tensors_is_refused() -> None:
    x, kernels, grad = operands((Window(3, padding=1), 2, 2, 4, (5, 6)), torch.float32)
    ops = torch.ops.invnas
    for call in (
        lambda: ops.involution2d(x, kernels, 3, 1, 1, 0),
        lambda: ops.involution2d(x, kernels[:1], 3, 1, 1, 1),
        lambda: ops.involution2d_grad_input(grad, kernels, 3, 1, 1, 1, 9, 6),
        lambda: ops.involution2d_grad_kernels(grad, x, 3, 1, 1, 1, 3),
    ):
        with pytest.raises(BadInput, match="shapes of involution must fit"):
            call()
    with pytest.raises(BadInput, match="must share one dtype"):
        ops.involution2d(x.double(), kernels, 3, 1, 1, 1)


@native
def test_shift_and_native_lie_alike() -> None:
    window = Window(5, padding=2)
    x, _, grad = operands((window, 2, 2, 4, (6, 7)), torch.float32)
    grad = grad.contiguous(memory_format=last)
    mine = torch.ops.invnas.involution2d_grad_kernels(grad, x, 5, 1, 1, 2, 2)
    torch.testing.assert_close(mine, shift.grad_kernels(grad, x, window, 2))
    assert mine.flatten(1, 2).is_contiguous(memory_format=last)


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
def test_no_report_from_the_sanitizers(tmp_path: Path) -> None:
    binary = tmp_path / "driver"
    # A pointer that wraps is found where it is used; to look at each sum takes a third of the compiler's time.
    checks = ["-fsanitize=address,undefined", "-fno-sanitize=pointer-overflow", "-fno-sanitize-recover=all"]
    command = ["g++", "-O0", "-g1", "-std=c++17", *checks]
    include, driver = Path(cpu.__file__).parent, Path(__file__).parent / "driver.cpp"
    built = subprocess.run([*command, f"-I{include}", str(driver), "-o", str(binary)], capture_output=True, text=True)
    if built.returncode and "cannot find" in built.stderr:
        pytest.skip("g++ has no sanitizer libraries here")
    assert built.returncode == 0, built.stderr
    result = subprocess.run([binary], capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (0, "all agree\n"), result.stdout + result.stderr[-3000:]
