"""The kernels' arithmetic without a GPU: the text built for the host with the sanitizers on, against the reference."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from invnas.ops import reference
from invnas.ops.cuda.variant import COMPILED, variants
from invnas.ops.geometry import Window

sys.path.insert(0, str(Path(__file__).parent))
import host

Tensor = torch.Tensor
pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
HALVES = (torch.float16, torch.bfloat16)
DTYPES = (torch.float32, torch.float64, *HALVES)


@dataclass(frozen=True)
class Case:
    window: Window
    batch: int
    groups: int
    group_channels: int
    size: tuple[int, int]
    dtype: torch.dtype = torch.float32
    alignment: int = 16
    shared_limit: int = 48 * 1024


@st.composite
def any_cases(draw: st.DrawFn) -> Case:
    kernel_size, dilation = draw(st.sampled_from((1, 2, 3, 4, 5, 7, 9))), draw(st.sampled_from((1, 1, 2, 3)))
    padding = draw(st.sampled_from((0, 1, dilation * (kernel_size - 1) // 2, kernel_size + 1)))
    window = Window(kernel_size, draw(st.sampled_from((1, 2, 3))), dilation, padding)
    return draw(shapes(window, (1, 3, 4, 6, 8, 16, 40), DTYPES))


@st.composite
def compiled_cases(draw: st.DrawFn) -> Case:
    kernel_size = draw(st.sampled_from(COMPILED))
    padding = draw(st.sampled_from((0, 1, kernel_size // 2, kernel_size // 2, kernel_size + 1)))
    window = Window(kernel_size, draw(st.sampled_from((1, 1, 2))), 1, padding)
    return draw(shapes(window, (8, 16, 16, 24, 40, 64), (torch.float32, torch.float16, torch.bfloat16)))


@st.composite
def shapes(draw: st.DrawFn, window: Window, group_channels: tuple[int, ...], dtypes: tuple[torch.dtype, ...]) -> Case:
    size = (draw(st.integers(1, 19)), draw(st.integers(1, 19)))
    assume(min(window.out(side) for side in size) > 0)
    dtype = draw(st.sampled_from(dtypes))
    alignment = max(draw(st.sampled_from((16, 16, 16, 8, 2))), dtype.itemsize)
    limit = draw(st.sampled_from((48 * 1024, 48 * 1024, 3072)))
    groups, channels = draw(st.sampled_from((1, 2, 3, 5))), draw(st.sampled_from(group_channels))
    return Case(window, draw(st.integers(1, 2)), groups, channels, size, dtype, alignment, limit)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    try:
        return host.build(tmp_path_factory.mktemp("host"), sanitize=True)
    except subprocess.CalledProcessError as problem:
        if "cannot find" in problem.stderr:
            pytest.skip("g++ has no sanitizer libraries here")
        raise AssertionError(problem.stderr[-4000:]) from problem


def operands(case: Case) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    channels, out = case.groups * case.group_channels, [case.window.out(side) for side in case.size]
    shapes = (
        (case.batch, channels, *case.size),
        (case.batch, case.groups, case.window.taps, *out),
        (case.batch, channels, *out),
    )
    x, kernels, grad = (torch.randn(shape, dtype=torch.float64).to(case.dtype) for shape in shapes)
    return x, kernels, grad


def calls(case: Case, x: Tensor, kernels: Tensor, grad: Tensor) -> list[host.Call]:
    options = {"alignment": case.alignment, "shared_limit": case.shared_limit}
    return [
        host.call("forward", x, kernels, case.window, **options),
        host.call("grad_input", grad, kernels, case.window, size=case.size, **options),
        host.call("grad_kernels", grad, x, case.window, groups=case.groups, **options),
        host.call("folded", x, kernels, case.window, finish=finish(case), limits=LIMITS, **options),
    ]


LIMITS = (-0.5, 6.0)


def finish(case: Case) -> tuple[Tensor, Tensor]:
    """Return a scale of either sign and a bias."""
    drawn = torch.randn((2, case.groups * case.group_channels), generator=torch.Generator().manual_seed(1))
    return drawn[0].to(case.dtype), drawn[1].to(case.dtype)


def truth(case: Case, x: Tensor, kernels: Tensor, grad: Tensor) -> list[Tensor]:
    x, kernels = (tensor.double().requires_grad_() for tensor in (x, kernels))
    y = reference.involution2d(x, kernels, case.window)
    scale, bias = (values.double().view(-1, 1, 1) for values in finish(case))
    folded = (y.detach() * scale + bias).clamp(*LIMITS)
    return [y.detach(), *torch.autograd.grad(y, (x, kernels), grad.double()), folded]


def check(case: Case, results: list[Tensor], expected: list[Tensor]) -> None:
    # Sums in float32 (or float64), then one rounding to the dtype.
    eps = torch.finfo(case.dtype).eps
    close = 1e-11 if case.dtype == torch.float64 else 1e-4
    for value, want in zip(results, expected, strict=True):
        assert value.dtype == case.dtype
        torch.testing.assert_close(value.double(), want, rtol=max(eps, close / 10), atol=close)


@pytest.mark.parametrize("kind", ["compiled", "any"])
@given(data=st.data())
@settings(max_examples=25)
def test_values_and_gradients_are_those_of_the_reference(program: Path, kind: str, data: st.DataObject) -> None:
    case = data.draw(compiled_cases() if kind == "compiled" else any_cases())
    tensors = operands(case)
    check(case, host.run_program(program, calls(case, *tensors)), truth(case, *tensors))


def edge_cases() -> list[Case]:
    """Every variant once, on odd sizes, and what random sizes seldom meet."""
    cases = [
        Case(Window(K, stride, 1, K // 2), 1, 2, 16, (11, 13), dtype)
        for dtype in DTYPES
        for K in (*COMPILED, 4)
        for stride in (1, 2)
    ]
    # The half types of these are for the matrix unit, so groups that it does not take come once more.
    cases += [Case(Window(K, 1, 1, K // 2), 1, 2, 8, (11, 13), dtype) for dtype in HALVES for K in COMPILED]
    cases += [Case(Window(3, padding=1), 2, 3, width, (5, 9), dtype) for dtype in DTYPES for width in (1, 2, 4)]
    one, same = (1, 1), Window(7, padding=3)
    return [
        *cases,
        Case(same, 1, 1, 16, one),  # one pixel, and a window larger than the map
        Case(Window(3, padding=4), 1, 1, 8, one, torch.float16),  # windows that meet padding alone
        Case(Window(5, 3, padding=0), 1, 1, 4, (9, 8)),  # rows and columns of the input that no window meets
        Case(Window(3), 1, 1, 4, (9, 8), torch.float32),
        Case(same, 1, 1, 320, (5, 6)),  # a group wider than a block
        Case(same, 1, 1, 301, (3, 4), torch.float16),
        Case(same, 1, 5, 16, (6, 7), torch.float16),  # kernel values of a pixel at odd addresses
        Case(same, 1, 67, 4, (3, 4)),  # a last slice that is not full
        Case(Window(29, padding=14), 1, 1, 4, (7, 6), torch.float64, 16, 4096),  # kernel values that no tile can hold
        Case(Window(2, 2), 1, 64, 1, (6, 4), torch.bfloat16),
    ]


def test_every_variant_and_every_edge(program: Path) -> None:
    cases = edge_cases()
    tensors = [operands(case) for case in cases]
    launches = [calls(case, *three) for case, three in zip(cases, tensors, strict=True)]
    assert {one.launch.variant for three in launches for one in three} == set(variants())
    results = host.run_program(program, [one for three in launches for one in three])
    for index, case in enumerate(cases):
        check(case, results[4 * index : 4 * index + 4], truth(case, *tensors[index]))


def matrix_cases() -> list[Case]:
    """Sizes around the 8 x 2 pixels of a warp, groups of one and several loads, and windows wider than the map."""
    cases = [
        Case(Window(K, padding=padding), 2, groups, channels, size, dtype)
        for dtype in HALVES
        for K in COMPILED
        for groups, channels, padding, size in (
            (1, 16, K // 2, (1, 1)),
            (3, 16, K // 2, (3, 7)),
            (5, 32, K // 2, (9, 14)),
            (2, 48, K + 1, (4, 17)),
            (9, 16, 0, (K + 2, K + 32)),
        )
    ]
    same = Window(7, padding=3)
    limits = [Case(same, 1, 3, 16, (5, 33), torch.float16, 8, limit) for limit in (16 * 1024, 2048, 1024)]
    beside = Case(Window(3, padding=1), 128, 1, 16, (2, 17), torch.float16)  # warps side by side
    return [*cases, beside, *limits]


def test_the_matrix_unit_computes_the_gradient_of_the_kernels(program: Path) -> None:
    cases = matrix_cases()
    tensors = [operands(case) for case in cases]
    launches = [calls(case, *three)[2] for case, three in zip(cases, tensors, strict=True)]
    assert [one.launch.variant.kind for one in launches] == ["matrix"] * (len(cases) - 1) + ["any"]
    assert min(max(one.launch.block[axis] for one in launches[:-1]) for axis in (1, 2)) > 1
    for case, three, result in zip(cases, tensors, host.run_program(program, launches), strict=True):
        check(case, [result], truth(case, *three)[2:3])


def test_the_library_computes_what_the_program_does(tmp_path: Path, program: Path) -> None:
    case = Case(Window(7, padding=3), 2, 2, 16, (9, 10), torch.float16)
    library, launches = host.build(tmp_path), calls(case, *operands(case))
    results = [host.run(library, one) for one in launches]
    for value, want in zip(results, host.run_program(program, launches), strict=True):
        assert torch.equal(value, want)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_the_tile_changes_no_bit(program: Path, dtype: torch.dtype) -> None:
    case = Case(Window(7, padding=3), 1, 2, 16, (19, 11), dtype)
    small = replace(case, shared_limit=3072 * dtype.itemsize)
    tensors = operands(case)
    one, other = calls(case, *tensors), calls(small, *tensors)
    assert all(a.launch.variant == b.launch.variant for a, b in zip(one, other, strict=True))
    assert any(a.launch.block != b.launch.block for a, b in zip(one, other, strict=True))
    for value, same in zip(host.run_program(program, one), host.run_program(program, other), strict=True):
        assert torch.equal(value, same)


def test_one_element_too_far_is_reported(program: Path) -> None:
    window = Window(3, padding=1)
    call, larger = (host.call("forward", *operands(Case(window, 1, 1, 4, (3, width)))[:2], window) for width in (3, 4))
    with pytest.raises(AssertionError, match="AddressSanitizer"):
        host.run_program(program, [replace(call, launch=larger.launch)])
