from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from invnas.latency.cache import Cache

KEY = {"fingerprint": "ab", "threads": 1, "input_shape": [3, 32, 32]}


def test_what_is_kept_is_found_under_the_same_key_alone(tmp_path: Path) -> None:
    Cache(tmp_path / "a").put(KEY, {"ratio": 2.5})
    again = Cache(tmp_path / "a")
    assert again.get(KEY) == {"ratio": 2.5}
    assert again.get({**KEY, "threads": 2}) is None
    assert list(again.every()) == [(KEY, {"ratio": 2.5})]
    assert list(Cache(tmp_path / "b").every()) == []


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "3", '{"key": {}}', '{"key": 3, "values": {}}', '{"key": {}, "values": {"ratio": "x"}}',
        '{"key": {}, "values": {"ratio": NaN}}', '{"key": {}, "values": {"ratio": -1}}', '{"key": {}, "values": [1]}',
    ],
)  # fmt: skip
def test_a_damaged_file_is_as_none_and_is_written_anew(tmp_path: Path, text: str) -> None:
    cache = Cache(tmp_path)
    cache.put(KEY, {"ratio": 1.0})
    (path,) = tmp_path.iterdir()
    path.write_text(text)
    assert cache.get(KEY) is None
    assert list(cache.every()) == []
    cache.put(KEY, {"ratio": 2.0})
    assert cache.get(KEY) == {"ratio": 2.0}


def test_a_file_of_another_key_is_not_taken_for_it(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.put(KEY, {"ratio": 1.0})
    (path,) = tmp_path.iterdir()
    path.write_text(path.read_text().replace('"ab"', '"cd"'))
    assert cache.get(KEY) is None


def test_a_folder_that_cannot_be_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    cache = Cache(tmp_path / "file" / "latency")
    cache.put(KEY, {"ratio": 1.0})
    assert cache.get(KEY) is None


def test_many_may_write_at_once(tmp_path: Path) -> None:
    def work(number: int) -> None:
        for i in range(20):
            Cache(tmp_path).put({"n": i}, {"ratio": float(i)})
            assert Cache(tmp_path).get({"n": i}) == {"ratio": float(i)}

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert len(list(Cache(tmp_path).every())) == 20
    assert {path.suffix for path in tmp_path.iterdir()} == {".json"}
