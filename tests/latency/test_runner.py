from __future__ import annotations

import os
import time
from collections.abc import Callable

import pytest

from invnas.latency.runner import LEAST, LONG, MOST, PASSES, alone_ms, block_ms, clock_of, timed


class Clock:
    """Seconds that pass only in what is run; each second takes `slow` seconds."""

    def __init__(self) -> None:
        self.now, self.slow = 0.0, 1.0

    def __call__(self) -> float:
        return self.now

    def taking(self, *ms: float) -> Callable[[], None]:
        """Return what takes so many milliseconds: one number for each call, the last one from then on."""
        left = list(ms)

        def run() -> None:
            self.now += self.slow * (left.pop(0) if len(left) > 1 else left[0]) / 1000

        return run


def test_a_network_is_a_multiple_of_the_reference() -> None:
    clock = Clock()
    found = timed(clock.taking(6.0), clock.taking(2.0), clock, seconds=0)
    assert found["ratio"] == pytest.approx(3.0)
    assert found["low"] == found["high"] == pytest.approx(3.0)
    assert found["beside_ms"] == pytest.approx(2.0)
    assert found["rounds"] == LEAST


def test_a_machine_that_becomes_slower_and_slower_leaves_the_ratio() -> None:
    clock = Clock()
    work = clock.taking(6.0)

    def network() -> None:
        clock.slow *= 1.002
        work()

    found = timed(network, clock.taking(2.0), clock, seconds=0)
    assert found["ratio"] == pytest.approx(3.0, rel=0.02)
    assert found["beside_ms"] > 2.0


def test_hiccups_and_the_first_passes_do_not_count() -> None:
    clock = Clock()
    network, reference = clock.taking(500, 500, 5, 500, 6, 6, 6, 900, 6), clock.taking(90, 90, 2)
    assert timed(network, reference, clock, 0)["ratio"] == pytest.approx(3)
    assert block_ms(clock.taking(900, 6, 6, 900), clock) == pytest.approx(6)
    assert alone_ms(clock.taking(80, 40, 2), clock) == pytest.approx(2)


def test_rounds_end_after_their_seconds_and_at_the_most() -> None:
    clock, calls = Clock(), []
    found = timed(lambda: calls.append(1) or clock.taking(1)(), clock.taking(1.0), clock, seconds=100)  # type: ignore[func-returns-value]
    assert found["rounds"] == MOST
    assert len(calls) == 2 + 1 + MOST * (PASSES + 1)
    slow = timed(clock.taking(2 * LONG), clock.taking(1.0), clock, seconds=0)
    assert slow["ratio"] == pytest.approx(2 * LONG)


def test_one_thread_is_timed_by_what_it_was_given_and_several_by_the_wall() -> None:
    assert clock_of(2) is time.perf_counter
    assert clock_of(1, time.thread_time) is (time.thread_time if os.name == "posix" else time.perf_counter)


def test_a_reference_that_takes_nothing_divides_nothing_by_zero() -> None:
    clock = Clock()
    assert timed(clock.taking(0.0), clock.taking(0.0), clock, 0)["ratio"] == 0
