"""The project's own table: every figure it asks for, from the rows, with its verdict."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from gpu_bench import model
from gpu_bench.contestants import CONTESTANTS, OURS, PUBLISHED

Row = dict[str, Any]
_ASKED = ("stage 1", "stage 3")


@dataclass(frozen=True)
class Figure:
    """One figure beside what was asked; None where it was not measured."""

    target: model.Target
    of: str
    value: float | None

    @property
    def verdict(self) -> str:
        return self.target.verdict(self.value)

    def record(self) -> Row:
        asked = {"must": self.target.must, "aim": self.target.aim}
        return {"figure": self.target.name, "of": self.of, "value": self.value, **asked, "verdict": self.verdict}


def _find(rows: list[Row], name: str, dtype: str, contestant: str) -> Row:
    keys = (name, dtype, contestant)
    return next((row for row in rows if (row["name"], row["dtype"], row["contestant"]) == keys), {})


def forward_and_backward(row: Row) -> float | None:
    """Return the microseconds of a call forward and backward."""
    us = row.get("us", {})
    return us["forward"] + us["backward"] if {"forward", "backward"} <= us.keys() else None


def figures(record: Row) -> Iterator[Figure]:
    """Yield every figure the project asks for."""
    rows = record["rows"]
    for shape in model.STAGES:
        for dtype in ("float32", "float16") if shape.name in _ASKED else ():
            shares = _find(rows, shape.name, dtype, OURS).get("share", {})
            yield Figure(model.FORWARD_SHARE, f"{shape.text} {dtype}", shares.get("forward"))
            yield Figure(model.BACKWARD_SHARE, f"{shape.text} {dtype}", shares.get("backward"))
    for shape in model.SHAPES:
        ours, theirs = (forward_and_backward(_find(rows, shape.name, "float32", name)) for name in (OURS, PUBLISHED))
        yield Figure(model.OVER_PUBLISHED, shape.text, theirs / ours if ours and theirs else None)
    networks = record.get("networks", {})
    for kind in ("inference", "training_step"):
        yield Figure(model.NETWORK_RATIO, kind.replace("_", " "), networks.get(kind, {}).get("ratio"))
    yield Figure(model.MEMORY_RATIO, "training step", networks.get("training_memory", {}).get("ratio"))
    for kind in ("no gradient wanted", "gradient wanted"):
        yield Figure(model.HOST_COST, kind, record.get("host_cost", {}).get(kind, {}).get("beyond_empty_us"))
    yield Figure(model.COMPILATIONS, "every shape", record.get("compilations", {}).get("ours"))


def rivals_that_win(rows: list[Row]) -> Iterator[str]:
    """Yield a line for each call that another contestant of involution makes faster than ours."""
    involutions = {contestant.name for contestant in CONTESTANTS if contestant.is_involution}
    for ours in (row for row in rows if row["contestant"] == OURS and "us" in row):
        for row in rows:
            if (row["name"], row["dtype"]) != (ours["name"], ours["dtype"]) or row["contestant"] not in involutions:
                continue
            for direction, us in row.get("us", {}).items():
                if us < ours["us"].get(direction, us):
                    ratio = ours["us"][direction] / us
                    yield f"{row['contestant']} wins {direction} of {row['shape']} {row['dtype']}: {ratio:.2f} times"
