from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from invnas.engine import signals
from invnas.engine.signals import stopped_by_signals

SENT = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.fixture(autouse=True)
def usual() -> Iterator[None]:
    """As in a process that just began, and afterwards as it was."""
    before = {number: signal.getsignal(number) for number in SENT}
    for number in SENT:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SENT)
def test_each_is_ctrl_c_and_says_its_name(number: signal.Signals) -> None:
    with pytest.raises(KeyboardInterrupt, match=f"stopped by {number.name}"), stopped_by_signals():
        os.kill(os.getpid(), number)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) == signal.default_int_handler


def test_a_second_one_does_not_break_off_the_stop_but_is_heard_later(monkeypatch: pytest.MonkeyPatch) -> None:
    with stopped_by_signals():
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
        for number in SENT:
            os.kill(os.getpid(), number)
        monkeypatch.setattr(signals, "STOPPING", -1.0)
        with pytest.raises(KeyboardInterrupt):  # the first may have been lost in somebody's code
            os.kill(os.getpid(), signal.SIGINT)


def test_what_somebody_handles_or_ignores_stays(capsys: pytest.CaptureFixture[str]) -> None:
    heard: list[int] = []
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    with stopped_by_signals():
        os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGTERM)
    assert heard == [signal.SIGTERM]
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


def test_nested_and_in_another_thread_nothing_is_done_twice() -> None:
    with stopped_by_signals():
        outer = signal.getsignal(signal.SIGTERM)
        with stopped_by_signals():
            assert signal.getsignal(signal.SIGTERM) is outer
        assert signal.getsignal(signal.SIGTERM) is outer
    found: list[object] = []

    def inside() -> None:
        with stopped_by_signals():
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join()
    assert found == [signal.SIG_DFL]
