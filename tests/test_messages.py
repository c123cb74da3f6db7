from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from search.cheap import SMALL, make_run

from invnas.errors import BadInput
from invnas.measurement import Cost, Measurement
from invnas.messages import Ended, Failure, Halt, Job, Message, Progress, from_dict, to_dict

NUMBERS = st.integers(0, 10**6)
VALUES = st.dictionaries(st.text(), st.floats(allow_nan=False))
OUTCOMES = st.one_of(
    st.builds(Failure, st.text()),
    st.builds(Halt, st.text()),
    st.builds(Measurement, VALUES, NUMBERS, NUMBERS, st.floats(0, 1e6), st.text(), st.text(), st.text()),
)
MESSAGES = st.one_of(
    st.builds(Progress, NUMBERS, NUMBERS, NUMBERS, VALUES, NUMBERS), st.builds(Ended, NUMBERS, OUTCOMES, NUMBERS)
)

# A type of the user's own, which is known through the file of the space alone.
OWN = """
from dataclasses import dataclass
from invnas import Choice, Space

@dataclass(frozen=True)
class Mine:
    width: int

    def build(self, input_shape, classes):
        raise NotImplementedError

space = Mine(Choice(1, 2))
"""


@given(MESSAGES)
def test_messages_come_back_equal(message: Message) -> None:
    assert from_dict(json.loads(json.dumps(to_dict(message)))) == message


@pytest.mark.parametrize(
    "data",
    [None, [], {}, {"number": 1, "attempt": 0, "kind": "else"}, {"number": 1, "attempt": 0, "kind": "progress"},
     {"number": 1, "attempt": 0, "kind": ["failure"]}, {"number": None, "attempt": 0, "kind": "failure", "reason": ""}],
)  # fmt: skip
def test_what_is_no_message_is_refused(data: Any) -> None:
    with pytest.raises(BadInput, match="no message of a worker"):
        from_dict(data)


@pytest.mark.parametrize("space", [SMALL, OWN])
def test_a_job_comes_back_equal_where_nobody_has_the_run_folder(tmp_path: Path, space: str) -> None:
    run = make_run(tmp_path, space, seed=3)
    decisions, architecture = next(run.space.enumerate())
    with run.locked():
        sent = run.job(run.start(architecture, decisions, Cost.counted(1, 2, 3)))
    text = json.dumps(replace(sent, attempt=2).to_dict())
    assert "\n" not in text
    for path in (tmp_path / "my_space.py", run.folder / "space.py"):
        path.unlink()
    back = Job.from_dict(json.loads(text))
    assert back == Job.from_dict(json.loads(text))  # its types are the same each time
    assert (back.number, back.attempt, back.cost, back.experiment, back.facts, back.space) == (
        sent.number, 2, sent.cost, sent.experiment, sent.facts, sent.space,
    )  # fmt: skip
    assert back.architecture.fingerprint == sent.architecture.fingerprint
    assert back.space.name == "my_space"
