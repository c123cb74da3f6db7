from __future__ import annotations

import io

import pytest
from rich.console import Console

from invnas.progress import ProgressBar


def plain() -> tuple[Console, io.StringIO]:
    text = io.StringIO()
    return Console(file=text, force_terminal=False, width=200), text


def test_plain_lines_come_now_and_then_and_at_the_end_of_a_part() -> None:
    console, text = plain()
    with ProgressBar("retrain", 8, console=console) as bar:
        for epoch in range(1, 5):
            bar.step(f"seed 0, epoch {epoch}", last=epoch == 4)
    assert [line.split(",")[1].strip() for line in text.getvalue().splitlines()] == ["epoch 1", "epoch 4"]
    assert text.getvalue().splitlines()[-1] == "retrain 4/8: seed 0, epoch 4, about 0:00:00 left"


def test_what_was_done_before_says_nothing_about_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    console, text = plain()
    with ProgressBar("retrain", 10, console=console) as bar:
        bar.skip(4)
        now = 3600.0
        bar.step("epoch 5")
    assert text.getvalue() == "retrain 5/10: epoch 5, about 5:00:00 left\n"


def test_quiet_is_quiet_and_a_terminal_has_a_bar() -> None:
    console, text = plain()
    with ProgressBar("retrain", 1, quiet=True, console=console) as bar:
        bar.step("epoch 1", last=True)
    assert text.getvalue() == ""
    shown = io.StringIO()
    with ProgressBar("retrain", 2, console=Console(file=shown, force_terminal=True, width=120)) as bar:
        bar.step("seed 0, epoch 1")
    assert "retrain: seed 0, epoch 1" in shown.getvalue()
    assert "1/2" in shown.getvalue()
