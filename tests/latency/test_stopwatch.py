from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from torch import nn

from invnas.errors import BadInput, InvnasError
from invnas.latency.in_torch import InTorch
from invnas.latency.settings import Latency
from invnas.latency.stopwatch import REFERENCE, Stopwatch
from invnas.zoo import small_resnet

SHAPE = (3, 8, 8)


@pytest.fixture
def timings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Sequence[int]]:
    """The shapes that were timed: each took 3, 5, 7, ... times a reference of 2 ms."""
    seen: list[Sequence[int]] = []

    def time(self: InTorch, network: nn.Module, shape: Sequence[int], seconds: float) -> dict[str, float]:
        seen.append(shape)
        return {"ratio": 2.0 * len(seen) + 1, "low": 2.0, "high": 4.0, "beside_ms": 9.0, "rounds": 9}

    monkeypatch.setattr(InTorch, "time", time)
    monkeypatch.setattr(InTorch, "alone", lambda self: 2.0)
    monkeypatch.setenv("INVNAS_CACHE", str(tmp_path / "cache"))
    return seen


def test_a_ratio_becomes_milliseconds_of_an_undisturbed_reference(timings: list[Sequence[int]]) -> None:
    with Stopwatch(Latency(batch=4), SHAPE, 10) as stopwatch:
        assert stopwatch.known(REFERENCE) is None
        timing = stopwatch(REFERENCE)
        assert (timing.ms, timing.spread_ms) == (6.0, 4.0)
        assert stopwatch(REFERENCE) == stopwatch.known(REFERENCE) == timing
    assert timings == [(4, *SHAPE)]


def test_what_one_search_timed_another_need_not(timings: list[Sequence[int]]) -> None:
    found = []
    for _ in range(2):
        with Stopwatch(Latency(), SHAPE, 10) as stopwatch:
            found.append(stopwatch(REFERENCE))
    assert found[0] == found[1]
    assert len(timings) == 1


@pytest.mark.parametrize(
    ("latency", "shape", "head", "own"),
    [(Latency(threads=2), SHAPE, 10, ""), (Latency(batch=2), SHAPE, 10, ""), (Latency(), (3, 8, 9), 10, ""),
     (Latency(), SHAPE, 11, ""), (Latency(), SHAPE, 10, "class Mine: ...")],
)  # fmt: skip
def test_anything_else_is_timed_anew(
    timings: list[Sequence[int]], latency: Latency, shape: tuple[int, int, int], head: int, own: str
) -> None:
    with Stopwatch(Latency(), SHAPE, 10) as stopwatch:
        stopwatch(REFERENCE)
    with Stopwatch(latency, shape, head, own=own) as stopwatch:
        stopwatch(REFERENCE)
    assert len(timings) == 2


def test_a_run_keeps_its_own_when_the_cache_is_gone(
    timings: list[Sequence[int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Stopwatch(Latency(), SHAPE, 10) as stopwatch:
        before = stopwatch(REFERENCE)
        assert stopwatch.keep_in(tmp_path / "run") == ""
        after = stopwatch(small_resnet(14))
    monkeypatch.setenv("INVNAS_CACHE", str(tmp_path / "other"))
    monkeypatch.setattr(InTorch, "alone", lambda self: 100.0)  # a noisy moment moves nothing
    with Stopwatch(Latency(), SHAPE, 10) as stopwatch:
        stopwatch.keep_in(tmp_path / "run")
        assert stopwatch.known(REFERENCE) == before
        assert stopwatch(small_resnet(14)) == after
        assert stopwatch(small_resnet(20)).ms == 14.0
    assert len(timings) == 3


def test_a_run_that_was_timed_on_another_machine_says_so(timings: list[Sequence[int]], tmp_path: Path) -> None:
    with Stopwatch(Latency(), SHAPE, 10) as stopwatch:
        stopwatch.keep_in(tmp_path)
        stopwatch(REFERENCE)
    for path in tmp_path.glob("*.json"):
        data = json.loads(path.read_text())
        path.write_text(json.dumps({**data, "key": {**data["key"], "machine": "board"}}))
    with Stopwatch(Latency(), SHAPE, 10) as stopwatch:
        assert stopwatch.keep_in(tmp_path).endswith(" on board")
        assert stopwatch.known(REFERENCE) is None


def test_it_is_quiet_here_and_needs_not_be_where_cores_are_kept_free(timings: list[Sequence[int]]) -> None:
    calls: list[int] = []

    @contextmanager
    def quiet() -> Iterator[None]:
        calls.append(len(timings))
        yield

    with Stopwatch(Latency(), SHAPE, 10) as stopwatch:
        stopwatch(REFERENCE, quiet)
        assert calls == [0, 1]  # for the network, then for the reference alone
        stopwatch(REFERENCE, quiet)
        assert calls == [0, 1]
    with Stopwatch(Latency(), SHAPE, 10, cores=(0,)) as stopwatch:
        stopwatch(small_resnet(14), quiet)
    assert calls == [0, 1]


def test_an_interrupted_timing_loses_nothing(timings: list[Sequence[int]], monkeypatch: pytest.MonkeyPatch) -> None:
    with Stopwatch(Latency(), SHAPE, 10) as stopwatch:
        stopwatch(REFERENCE)

        def stop(self: InTorch, *given: object) -> dict[str, float]:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(InTorch, "time", stop)
            with pytest.raises(KeyboardInterrupt):
                stopwatch(small_resnet(14))
        assert stopwatch.known(small_resnet(14)) is None
        assert stopwatch(small_resnet(14)).ms == 10.0


def test_memory_that_runs_out_is_a_sentence(timings: list[Sequence[int]], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: InTorch, *given: object) -> dict[str, float]:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(InTorch, "time", full)
    with (
        Stopwatch(Latency(), SHAPE, 10) as stopwatch,
        pytest.raises(InvnasError, match="images of 1 x 3 x 8 x 8 does not fit"),
    ):
        stopwatch(REFERENCE)


def test_a_runtime_that_is_not_installed_here_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("invnas.export.graphs.find_spec", lambda name: None)
    with pytest.raises(BadInput, match="this needs the package `onnxruntime`, which is not installed"):
        Stopwatch(Latency("onnxruntime"), SHAPE, 10)
