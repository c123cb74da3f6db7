"""Time as a test tells it."""

from __future__ import annotations

import pytest


class Clock:
    """What `time.monotonic` says until the test is over."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr("time.monotonic", lambda: self.now)
