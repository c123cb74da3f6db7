from __future__ import annotations

import os
import sys
import threading

import pytest

from invnas import gate
from invnas.errors import BadInput, InvalidArchitecture, TrialFailed
from invnas.gate import no_exit, user_code

USUAL = os._exit


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (ValueError("no\n  good"), "the thing raised ValueError: no good"),
        (AssertionError(), "the thing raised AssertionError"),
        (RecursionError("deep"), "the thing raised RecursionError: deep"),
        (MemoryError(), "the thing raised MemoryError"),
        (SystemExit(), "the thing called sys.exit()"),
        (SystemExit(0), "the thing called sys.exit(0)"),
        (UserWarning("old"), "the thing raised UserWarning: old"),
        (StopIteration(3), "the thing raised StopIteration: 3"),
    ],
)
@pytest.mark.parametrize("refusal", [BadInput, InvalidArchitecture, TrialFailed])
def test_whatever_a_user_raises_is_one_sentence(
    error: BaseException, sentence: str, refusal: type[BadInput] | type[TrialFailed]
) -> None:
    with pytest.raises(refusal) as raised, user_code("the thing", refusal):
        raise error
    assert str(raised.value) == sentence


def test_what_invnas_raises_and_ctrl_c_pass() -> None:
    with pytest.raises(KeyboardInterrupt), user_code("the thing"):
        raise KeyboardInterrupt
    with pytest.raises(TrialFailed, match=r"^diverged$"), user_code("the thing"):
        raise TrialFailed("diverged")


def test_a_refusal_in_our_words_is_that_of_the_candidate() -> None:
    with pytest.raises(InvalidArchitecture, match=r"^too wide$"), user_code("the thing", InvalidArchitecture):
        raise BadInput("too wide")


def test_exit_in_a_file_does_not_end_the_program() -> None:
    with pytest.raises(BadInput, match=r"called sys.exit\('enough'\)"), user_code("the file"):
        sys.exit("enough")


def test_an_end_without_a_word_is_a_sentence_and_nothing_is_left_of_the_watch() -> None:
    with pytest.raises(BadInput, match=r"^inside called os._exit\(0\)$"), no_exit(), user_code("inside"):
        os._exit(0)
    assert os._exit is USUAL


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_what_is_forked_by_a_users_code_ends_as_it_wants_to() -> None:
    with user_code("the file"):
        child = os.fork()
        if child == 0:
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_another_thread_ends_the_process_as_it_wants_to(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(gate, "_EXIT", asked.append)
    with user_code("the file"):
        thread = threading.Thread(target=os._exit, args=(3,))
        thread.start()
        thread.join()
    assert asked == [3]
    os._exit = USUAL


def test_frames_of_c_plus_plus_are_left_out() -> None:
    said = "empty(): overflow\nException raised from f at /x.h:79 (most recent call first):\nframe #0: c10::Error"
    with pytest.raises(BadInput, match=r"^the thing raised RuntimeError: empty\(\): overflow$"), user_code("the thing"):
        raise RuntimeError(said)
