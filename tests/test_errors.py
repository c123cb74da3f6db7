from __future__ import annotations

import errno

import pytest

from invnas.errors import (
    BadInput,
    DiskFailed,
    InvalidArchitecture,
    InvnasError,
    MissingExtra,
    TrialFailed,
    UnpricedOperator,
    disk_failure,
    nearest,
    out_of_memory,
    shown,
    unwritable,
)


@pytest.mark.parametrize("error", [InvalidArchitecture, UnpricedOperator, MissingExtra])
def test_what_the_user_can_mend_is_bad_input(error: type[Exception]) -> None:
    assert issubclass(error, BadInput)
    assert issubclass(BadInput, InvnasError)


def test_a_failed_trial_is_not_the_users_mistake() -> None:
    assert not issubclass(TrialFailed, BadInput)


def test_a_missing_package_says_how_to_get_it() -> None:
    text = "this needs the package `onnxruntime`, which is not installed: run pip install 'invnas[onnx]'"
    assert str(MissingExtra("onnxruntime", "onnx")) == text


def test_the_nearest_is_offered_first_and_nothing_when_nothing_is_near() -> None:
    assert nearest("top", ["macs", "top1"]) == "nearest: 'top1'; valid: macs, top1"
    assert nearest("zzz", ["macs", "top1"]) == "valid: macs, top1"
    assert nearest("", []) == "valid: "


def test_a_full_disk_is_known_under_whatever_it_hides() -> None:
    full = OSError(errno.ENOSPC, "No space left on device", "runs/a/journal.log")
    assert disk_failure(full) == "runs/a/journal.log cannot be written or read: No space left on device"
    wrapped = ValueError("cannot save")
    wrapped.__cause__ = full
    assert disk_failure(wrapped) == disk_failure(full)
    assert disk_failure(unwritable("the weights cannot be written", full)) is not None
    assert disk_failure(RuntimeError("unable to write to file </torch_1>: No space left on device (28)")) is not None
    for other in (OSError(errno.ENOENT, "No such file"), ValueError("No space left on device"), None):
        assert disk_failure(other) is None


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        # What torch, oneDNN and C++ were found to say under a limit of memory.
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you"),
        RuntimeError("could not create a primitive"),
        RuntimeError("could not execute a primitive"),
        RuntimeError("could not create a memory object"),
        RuntimeError("unable to mmap 536872397 bytes from file <last.ckpt>: Cannot allocate memory (12)"),
        RuntimeError("std::bad_alloc"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:81] data. DefaultCPUAllocator: not enough memory: you tried"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        type("OutOfMemoryError", (RuntimeError,), {})("no more"),
    ],
    ids=str,
)
def test_memory_that_ran_out_is_known_by_what_each_library_says(error: Exception) -> None:
    wrapped = ValueError("my layer failed")
    wrapped.__cause__ = error
    assert out_of_memory(error)
    assert out_of_memory(wrapped)


def test_other_errors_are_not_about_memory() -> None:
    hidden = RuntimeError("no such layer")
    hidden.__context__, hidden.__suppress_context__ = MemoryError(), True
    refused = RuntimeError("could not create a primitive descriptor for a convolution")
    for other in (refused, ValueError("out of memory"), hidden, None):
        assert not out_of_memory(other)


def test_what_cannot_be_written_is_the_inputs_fault_unless_the_disk_is_full() -> None:
    assert isinstance(unwritable("the report", OSError(errno.EACCES, "Permission denied")), BadInput)
    full = unwritable("the report", OSError(errno.EDQUOT, "Disk quota exceeded"))
    assert isinstance(full, DiskFailed)
    assert str(full) == "the report: Disk quota exceeded"


class Mute:
    def __repr__(self) -> str:
        raise RuntimeError("no words")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("", "''"),
        ("a" * 50, "'" + "a" * 39),
        (-(10**5000), "an int too long to be written"),
        ((1, 10**5000), "a tuple too long to be written"),
        (Mute(), "a Mute too long to be written"),
    ],
    ids=["empty", "long", "int", "tuple", "own"],
)
def test_any_value_can_be_repeated_in_a_message(value: object, text: str) -> None:
    assert shown(value) == text
