from __future__ import annotations

import pytest

from invnas.errors import (
    BadInput,
    InvalidArchitecture,
    InvnasError,
    MissingExtra,
    TrialFailed,
    UnpricedOperator,
    nearest,
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
