"""Text to machine code to launches, without a GPU: options, the cache on disk, NVRTC where it is, arguments."""

from __future__ import annotations

import ctypes
from pathlib import Path
from types import SimpleNamespace

import pytest

from invnas.errors import InvnasError
from invnas.ops.cuda import compiler, plan, requirements
from invnas.ops.geometry import Window


def test_machine_code_where_nvrtc_knows_the_gpu_else_code_the_driver_finishes() -> None:
    variant = next(plan.variants())
    assert compiler.options(variant, (9, 0), (75, 90, 100))[1] == "-arch=sm_90"
    assert compiler.options(variant, (9, 9), (75, 90, 100))[1] == "-arch=compute_90"
    assert compiler.options(variant, (12, 1), (75, 90, 100))[1] == "-arch=compute_100"
    assert compiler.options(variant, (9, 0), (90,))[2:] == variant.defines


def test_the_name_in_the_cache_changes_with_everything_the_code_is_made_from() -> None:
    keys = {
        compiler.cache_key(text, options, version)
        for text in ("a", "b")
        for options in (("-arch=sm_80", "-DX"), ("-arch=sm_90", "-DX"), ("-arch=sm_90",))
        for version in ((12, 9), (13, 0))
    }
    assert len(keys) == 12


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("INVNAS_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache" / "cuda"


def test_code_is_made_once_and_again_when_the_disk_spoiled_it(folder: Path) -> None:
    made: list[bytes] = []

    def make() -> bytes:
        made.append(b"code %d" % len(made))
        return made[-1]

    assert [compiler.kept("k", make), compiler.kept("k", make)] == [b"code 0"] * 2
    (folder / "k").write_bytes((folder / "k").read_bytes()[:-1])
    assert [compiler.kept("k", make), compiler.kept("k", make)] == [b"code 1"] * 2
    assert [path.name for path in folder.iterdir()] == ["k"]


def test_a_cache_that_cannot_be_written_is_no_error(folder: Path) -> None:
    folder.parent.write_text("a file where a folder should be")
    assert compiler.kept("k", lambda: b"code") == b"code"


def test_the_cache_lies_where_the_user_keeps_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("INVNAS_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert compiler.cache_folder() == Path("/elsewhere/invnas/cuda")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert compiler.cache_folder() == Path.home() / ".cache" / "invnas" / "cuda"


def nvrtc_problem() -> str | None:
    try:
        compiler.architectures()
    except Exception as problem:
        return f"needs CuPy and NVRTC: {requirements.said(problem)}"
    return None


with_nvrtc = pytest.mark.skipif(nvrtc_problem() is not None, reason=str(nvrtc_problem()))


@with_nvrtc
def test_nvrtc_compiles_the_kernels_once_for_all_processes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    variant = plan.plan("forward", "bfloat16", 1, 16, 1, (8, 8), (8, 8), Window(3, padding=1), 16).variant
    compiler.machine_code.cache_clear()
    code = compiler.machine_code(variant, (9, 0))
    assert code[:4] == b"\x7fELF"
    assert variant.function.encode() in code
    compiler.machine_code.cache_clear()
    monkeypatch.setattr(compiler, "compile_text", None)  # a second compilation would fail
    assert compiler.machine_code(variant, (9, 0)) == code


@with_nvrtc
def test_nvrtc_says_what_is_wrong_in_one_line() -> None:
    with pytest.raises(
        InvnasError, match=r"^NVRTC does not compile the kernels: involution.cu\(2\): error: .*nonsense"
    ):
        compiler.compile_text("\n__device__ int a = nonsense;", ("-arch=sm_90",))
    assert compiler.compile_text("", ("-arch=compute_90",)).startswith(b"//")


class Driver(SimpleNamespace):
    """Stands for CuPy's binding of the driver: remembers calls, reads the arguments as the driver does."""

    def __init__(self, fields: int, context: int = 7) -> None:
        super().__init__(fields=fields, context=context, seen=[])

    def ctxGetCurrent(self) -> int:
        return int(self.context)

    def ctxSetCurrent(self, context: int) -> None:
        self.context = context

    def launchKernel(self, *numbers: int) -> None:
        pointers = (ctypes.c_void_p * 4).from_address(numbers[9])
        arguments = [ctypes.c_int64.from_address(pointer).value for pointer in pointers[:3]]
        sizes = tuple((ctypes.c_int64 * self.fields).from_address(pointers[3]))
        self.seen.append((self.context, numbers[:9], arguments, sizes, numbers[10]))
        if numbers[0] == 0:
            raise RuntimeError("CUDA_ERROR_INVALID_HANDLE")


LAUNCH = plan.Launch(next(plan.variants()), (5, 1, 1), (32, 4, 2), 1234, tuple(range(-3, len(plan.FIELDS) - 3)))


def test_a_call_passes_three_addresses_and_the_sizes_by_value() -> None:
    driver, streams = Driver(len(plan.FIELDS)), iter((11, 12))
    call = compiler.bind(driver, compiler.Loaded(99, 7), LAUNCH, lambda: next(streams))
    call(1 << 40, 2, 3)
    call(4, 5, 6)
    numbers = (99, 5, 1, 1, 32, 4, 2, 1234)
    assert driver.seen == [
        (7, (*numbers, 11), [1 << 40, 2, 3], LAUNCH.sizes, 0),
        (7, (*numbers, 12), [4, 5, 6], LAUNCH.sizes, 0),
    ]


def test_a_folded_call_also_passes_scale_bias_and_limits() -> None:
    seen: list[tuple[float, ...]] = []

    class Reader(Driver):
        def launchKernel(self, *numbers: int) -> None:
            told = compiler.Told.from_address((ctypes.c_void_p * 4).from_address(numbers[9])[3])
            seen.append((tuple(told.sizes) == LAUNCH.sizes, told.scale, told.bias, told.low, told.high))

    call = compiler.bind(Reader(len(plan.FIELDS)), compiler.Loaded(99, 7), LAUNCH, lambda: 0)
    call(1, 2, 3, 1 << 40, 5, 0.0, 6.0)
    call(1, 2, 3)
    assert seen == [(True, 1 << 40, 5, 0.0, 6.0), (True, None, None, 0.0, 0.0)]


@pytest.mark.parametrize("before", [0, 8])
@pytest.mark.parametrize("handle", [99, 0])
def test_a_call_finds_the_context_of_its_function_and_leaves_the_callers(before: int, handle: int) -> None:
    driver = Driver(len(plan.FIELDS), before)
    call = compiler.bind(driver, compiler.Loaded(handle, 7), LAUNCH, lambda: 0)
    if handle == 0:
        with pytest.raises(RuntimeError, match="INVALID_HANDLE"):
            call(1, 2, 3)
    else:
        call(1, 2, 3)
    assert driver.seen[0][0] == 7
    assert driver.context == before
