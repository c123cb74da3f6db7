"""Which trials are worth having: dominance, the front, its knee, and the hypervolume it covers. Needs numpy only.

Every number is mapped to a *gain* before it is compared: top1 as it is, a cost as minus its decimal logarithm, because
twice as cheap is the same step at every size. A `Box` scales gains to 0 (worst) .. 1 (best); two runs whose hypervolume
is to be compared must be given the same box.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from invnas.errors import BadInput
from invnas.measurement import OBJECTIVES, Trial

# Keeps the logarithm of a cost of zero finite: 1 microsecond, a thousandth of a multiply-add.
_SMALLEST = 1e-3


@dataclass(frozen=True)
class Box:
    """The range in which a hypervolume is a share, in natural units and in the order of the objectives.

    Attributes:
        worst: The reference point: a trial here or beyond it adds nothing.
        best: The ideal point: a trial here alone covers everything.
    """

    worst: tuple[float, ...]
    best: tuple[float, ...]


def non_dominated(values: np.ndarray, objectives: tuple[str, ...]) -> np.ndarray:
    """Tell which points no other point beats: at least as good everywhere and better somewhere.

    Args:
        values: (n, k) numbers in natural units; equal points all stay.
        objectives: The k names, which say the direction of each column.

    Returns:
        (n,) booleans.

    Raises:
        BadInput: If a value is NaN.
    """
    values = _checked(values, objectives)
    signed = values * np.array([1.0 if OBJECTIVES[name] == "maximize" else -1.0 for name in objectives])
    keep = np.ones(len(values), dtype=bool)
    for i, point in enumerate(signed):
        keep[i] = not np.any(np.all(signed >= point, axis=1) & np.any(signed > point, axis=1))
    return keep


def values_of(trials: Sequence[Trial], objectives: tuple[str, ...]) -> np.ndarray:
    """Return the (n, k) values of complete trials.

    Raises:
        BadInput: If a trial is not complete or an objective was not measured.
    """
    rows = []
    for trial in trials:
        measured = trial.measurement
        missing = [name for name in objectives if getattr(measured, name, None) is None]
        if measured is None or missing:
            raise BadInput(f"trial {trial.number} has no value of `{missing[0]}`: it was not measured")
        rows.append(measured.values(objectives))
    return np.array(rows, dtype=float).reshape(len(rows), len(objectives))


def front(trials: Sequence[Trial], objectives: tuple[str, ...]) -> tuple[Trial, ...]:
    """Return the complete trials that no other one beats, by rising second objective (cheapest first).

    Of trials with equal values the earliest stands for all.
    """
    complete = sorted((trial for trial in trials if trial.state == "complete"), key=lambda trial: trial.number)
    values = values_of(complete, objectives)
    kept: dict[tuple[float, ...], Trial] = {}
    for trial, row, keep in zip(complete, values, non_dominated(values, objectives), strict=True):
        if keep:
            kept.setdefault(tuple(row), trial)
    order = sorted(kept, key=lambda row: (row[1], *row))
    return tuple(kept[row] for row in order)


def knee(trials: Sequence[Trial], objectives: tuple[str, ...]) -> Trial:
    """Return the best compromise: the front point farthest beyond the line (plane) through the best of each objective.

    The axes are scaled to the front itself, costs on a logarithm. Where no point lies beyond the line (one or two
    points, a straight or hollow front) the best of the first objective is returned.

    Raises:
        BadInput: If no trial is complete.
    """
    points = front(trials, objectives)
    if not points:
        raise BadInput("there is no knee: no trial is complete")
    values = values_of(points, objectives)
    gains = _gains(values, objectives, _seen(values, objectives))
    extremes = gains[gains.argmax(axis=0)]
    # The plane where `gains @ normal` is 1; least squares because one point can be the best of two objectives.
    normal = np.maximum(np.linalg.lstsq(extremes, np.ones(len(objectives)), rcond=1e-9)[0], 0.0)
    # Rounding keeps points on one plane tied.
    best = max(range(len(points)), key=lambda i: (round(float(gains[i] @ normal), 9), gains[i, 0]))
    return points[best]


def box(trials: Sequence[Trial], objectives: tuple[str, ...], caps: Mapping[str, float | None] | None = None) -> Box:
    """Return the box of some trials: top1 from 0 to 1, each cost from the worst seen (or its cap) to the best seen.

    Args:
        trials: Trials, perhaps of several runs that are to be compared.
        objectives: Names of the axes.
        caps: Largest cost allowed by objective, such as {"macs": 30e6}; taken as worst, seen or not.
    """
    complete = [trial for trial in trials if trial.state == "complete"]
    if not complete:
        return Box((0.0,) * len(objectives), (1.0,) * len(objectives))
    seen = _seen(values_of(complete, objectives), objectives)
    worst, best = list(seen.worst), list(seen.best)
    for i, name in enumerate(objectives):
        if name == "top1":
            worst[i], best[i] = 0.0, 1.0
        elif caps and caps.get(name) is not None:
            worst[i] = float(caps[name] or 0)
    return Box(tuple(worst), tuple(best))


def hypervolume(values: np.ndarray, objectives: tuple[str, ...], reference: Box) -> float:
    """Return the exact share of the reference box, 0 to 1, that some points dominate.

    Args:
        values: (n, k) numbers in natural units; parts beyond the box count as its edge.
        objectives: The k names.
        reference: The box; an axis without extent leaves the others to decide.
    """
    values = _checked(values, objectives)
    if not len(values):
        return 0.0
    values = np.unique(values[non_dominated(values, objectives)], axis=0)
    return _volume(_gains(values, objectives, reference))


def hypervolume_over_trials(
    trials: Sequence[Trial], objectives: tuple[str, ...], reference: Box | None = None
) -> np.ndarray:
    """Return the share covered after each finished trial, by number; a failed trial costs budget and adds nothing.

    Args:
        trials: Trials of one search; running ones are left out.
        objectives: Names of the axes.
        reference: The box; by default that of these trials, which is not comparable with another run.
    """
    reference = reference or box(trials, objectives)
    finished = sorted((trial for trial in trials if trial.state != "running"), key=lambda trial: trial.number)
    points = np.empty((0, len(objectives)))
    shares = [0.0]
    for trial in finished:
        share = shares[-1]
        if trial.state == "complete":
            points = np.concatenate([points, values_of([trial], objectives)])
            keep = non_dominated(points, objectives)
            if keep[-1]:
                share = max(share, hypervolume(points[keep], objectives, reference))
            points = points[keep]
        shares.append(share)
    return np.array(shares[1:])


def _checked(values: np.ndarray, objectives: tuple[str, ...]) -> np.ndarray:
    values = np.asarray(values, dtype=float)
    if values.size == 0:
        values = values.reshape(0, len(objectives))
    if values.ndim != 2 or values.shape[1] != len(objectives):
        raise BadInput(f"the values must be a table with {len(objectives)} columns, but got shape {values.shape}")
    if np.isnan(values).any():
        row, column = np.argwhere(np.isnan(values))[0]
        raise BadInput(f"the value of `{objectives[column]}` in row {row} is not a number (NaN)")
    return values


def _seen(values: np.ndarray, objectives: tuple[str, ...]) -> Box:
    low, high = values.min(axis=0), values.max(axis=0)
    upward = [OBJECTIVES[name] == "maximize" for name in objectives]
    return Box(
        tuple(float(low[i] if up else high[i]) for i, up in enumerate(upward)),
        tuple(float(high[i] if up else low[i]) for i, up in enumerate(upward)),
    )


def _gains(values: np.ndarray, objectives: tuple[str, ...], reference: Box) -> np.ndarray:
    """Return (n, k) gains: 0 at the worst corner of the box or beyond, 1 at the best."""
    points, worst, best = (_upward(part, objectives) for part in (values, reference.worst, reference.best))
    extent = best - worst
    flat = extent <= 0
    return np.where(flat, 1.0, np.clip((points - worst) / np.where(flat, 1.0, extent), 0.0, 1.0))


def _upward(values: np.ndarray | tuple[float, ...], objectives: tuple[str, ...]) -> np.ndarray:
    columns = np.array(values, dtype=float).T
    upward = [
        column if OBJECTIVES[name] == "maximize" else -np.log10(np.maximum(column, _SMALLEST))
        for name, column in zip(objectives, columns, strict=True)
    ]
    return np.stack(upward, axis=-1)


def _volume(gains: np.ndarray) -> float:
    """Return the volume of the union of the boxes between the origin and each point, one slice after another."""
    gains = gains[np.argsort(-gains[:, -1], kind="stable")]
    thickness = gains[:, -1] - np.append(gains[1:, -1], 0.0)
    if gains.shape[1] == 2:
        return float(thickness @ np.maximum.accumulate(gains[:, 0]))
    return float(sum(t * _volume(gains[: i + 1, :-1]) for i, t in enumerate(thickness) if t > 0))
