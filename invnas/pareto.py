"""Which trials are worth having: dominance, the front, its knee, and the hypervolume it covers. Needs numpy only.

Every number is mapped to a *gain*, more of which is better, before it is compared: on a logarithm where its objective
says so, because twice as cheap is the same step at every size. A `Box` scales gains to 0 (worst) .. 1 (best); fronts
whose hypervolume is to be compared must be given the same box: `fixed_box.fixed_box` is that of all runs of a question.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from invnas.caps import Caps
from invnas.errors import BadInput
from invnas.measurement import Trial
from invnas.objective import SMALLEST, Objective

Objectives = Sequence[Objective]


@dataclass(frozen=True)
class Box:
    """The range in which a hypervolume is a share, in natural units and in the order of the objectives.

    Attributes:
        worst: The reference point: a trial here or beyond it adds nothing.
        best: The ideal point: a trial here alone covers everything.
    """

    worst: tuple[float, ...]
    best: tuple[float, ...]


def non_dominated(values: np.ndarray, objectives: Objectives) -> np.ndarray:
    """Tell which points no other point beats: at least as good everywhere and better somewhere.

    Args:
        values: (n, k) numbers in natural units; equal points all stay.
        objectives: The k objectives, which say the direction of each column.

    Returns:
        (n,) booleans.

    Raises:
        BadInput: If a value is NaN.
    """
    values = _checked(values, objectives)
    if not len(values):
        return np.zeros(0, dtype=bool)
    points, place = np.unique(_signed(values, objectives), axis=0, return_inverse=True)
    return _maxima(points)[place.reshape(-1)]


def ranks(values: np.ndarray, objectives: Objectives) -> np.ndarray:
    """Return for each of (n, k) points which front it lies on: 0 is the front of all, 1 that of the rest, and so on."""
    values = _checked(values, objectives)
    found = np.zeros(len(values), dtype=int)
    rest, rank = np.arange(len(values)), 0
    while len(rest):
        keep = non_dominated(values[rest], objectives)
        found[rest[keep]] = rank
        rest, rank = rest[~keep], rank + 1
    return found


def _signed(values: np.ndarray, objectives: Objectives) -> np.ndarray:
    return values * np.array([objective.sign for objective in objectives])


def _maxima(points: np.ndarray) -> np.ndarray:
    """Tell which of (n, k) different points, sorted by rows, no other one reaches in every column: more is better."""
    keep = np.zeros(len(points), dtype=bool)
    if points.shape[1] == 2:
        # From the best first column down, a point stays when its second column beats all before it.
        best = np.maximum.accumulate(points[::-1, 1])
        keep[::-1] = np.append(True, points[::-1, 1][1:] > best[:-1])
        return keep
    if points.shape[1] == 3:
        stairs = _Stairs()
        for i in range(len(points) - 1, -1, -1):
            keep[i] = stairs.add(points[i, 1], points[i, 2])
        return keep
    for i, point in enumerate(points):
        keep[i] = not np.any(np.all(points >= point, axis=1) & np.any(points > point, axis=1))
    return keep


class _Stairs:
    """The corners of a falling staircase: those points (x, y) of all that were added that no other one reaches."""

    def __init__(self) -> None:
        self.x: list[float] = []  # rising
        self.y: list[float] = []  # falling

    def add(self, x: float, y: float) -> bool:
        """Take a point; False when one that was added before reaches it."""
        at = bisect_left(self.x, x)
        if at < len(self.x) and self.y[at] >= y:
            return False
        # Those that it reaches leave: they lie to the left, and are the lowest there.
        end = at + 1 if at < len(self.x) and self.x[at] == x else at
        while at and self.y[at - 1] <= y:
            at -= 1
        self.x[at:end], self.y[at:end] = [x], [y]
        return True


def values_of(trials: Sequence[Trial], objectives: Objectives) -> np.ndarray:
    """Return the (n, k) values of trials.

    Raises:
        BadInput: If an objective of one was not measured.
    """
    rows = [trial.values(objectives) for trial in trials]
    return np.array(rows, dtype=float).reshape(len(rows), len(objectives))


def front(trials: Sequence[Trial], objectives: Objectives) -> tuple[Trial, ...]:
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


class RunningFront:
    """The front of trials that finish one by one, as a live view wants it: a trial costs what it changes.

    Args:
        objectives: The axes.
    """

    def __init__(self, objectives: Objectives) -> None:
        self._objectives = objectives
        self.trials: tuple[Trial, ...] = ()
        self.seen = 0

    def add(self, trials: Sequence[Trial]) -> None:
        """Take complete trials."""
        if trials:
            self.seen += len(trials)
            self.trials = front((*self.trials, *trials), self._objectives)


def knee(trials: Sequence[Trial], objectives: Objectives) -> Trial:
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


def box(trials: Sequence[Trial], objectives: Objectives, caps: Caps | None = None) -> Box:
    """Return the box of some trials: an axis ends at its cap, as its objective states, else with what was seen.

    Args:
        trials: Trials, perhaps of several runs that are to be compared.
        objectives: The axes.
        caps: Largest cost allowed; taken as worst, seen or not.
    """
    complete = [trial for trial in trials if trial.state == "complete"]
    seen = Box((0.0,) * len(objectives), (1.0,) * len(objectives))
    if complete:
        seen = _seen(values_of(complete, objectives), objectives)
    worst, best = list(seen.worst), list(seen.best)
    for i, objective in enumerate(objectives):
        cap = caps.limits.get(objective.name) if caps is not None else None
        worst[i] = next(end for end in (cap, objective.worst, worst[i]) if end is not None)
        best[i] = best[i] if objective.best is None else objective.best
    return Box(tuple(worst), tuple(best))


def hypervolume(values: np.ndarray, objectives: Objectives, reference: Box) -> float:
    """Return the exact share of the reference box, 0 to 1, that some points dominate.

    Args:
        values: (n, k) numbers in natural units; parts beyond the box count as its edge.
        objectives: The k objectives.
        reference: The box; an axis without extent leaves the others to decide.
    """
    values = _checked(values, objectives)
    if not len(values):
        return 0.0
    return _union(_gains(values, objectives, reference))


def hypervolume_over_trials(
    trials: Sequence[Trial], objectives: Objectives, reference: Box | None = None
) -> np.ndarray:
    """Return the share covered after each finished trial, by number; a failed trial costs budget and adds nothing.

    Args:
        trials: Trials of one search; running ones are left out.
        objectives: The axes.
        reference: The box; by default that of these trials, which is not comparable with another run.
    """
    reference = reference or box(trials, objectives)
    finished = _finished(trials)
    complete = [trial for trial in finished if trial.state == "complete"]
    gains = iter(_gains(values_of(complete, objectives), objectives, reference) if complete else ())
    covered = _Covered(len(objectives))
    shares = np.zeros(len(finished))
    for i, trial in enumerate(finished):
        if trial.state == "complete":
            covered.add(next(gains))
        shares[i] = covered.share
    return shares


def epochs_over_trials(trials: Sequence[Trial]) -> np.ndarray:
    """Return the epochs spent in all after each finished trial, by number: the other axis of `hypervolume_over_trials`.

    A trial that continues a stopped one spends what it adds. Of a failed one the epochs of its last rung are known.
    """
    reached = {trial.number: _epochs(trial) for trial in trials}
    spent = [
        max(reached[trial.number] - (0 if trial.continues is None else reached.get(trial.continues, 0)), 0)
        for trial in _finished(trials)
    ]
    return np.cumsum(spent, dtype=int)


def _epochs(trial: Trial) -> int:
    last = trial.measurement or (trial.rungs[-1] if trial.rungs else None)
    return 0 if last is None else last.epochs


def _finished(trials: Sequence[Trial]) -> list[Trial]:
    return sorted((trial for trial in trials if trial.state != "running"), key=lambda trial: trial.number)


class _Covered:
    """The volume that points in the unit cube cover, one after the other: a point pays for what it adds alone."""

    def __init__(self, axes: int) -> None:
        self.share = 0.0
        self._front = np.zeros((0, axes))

    def add(self, gain: np.ndarray) -> None:
        front = self._front
        if np.any(np.all(front >= gain, axis=1)):
            return
        # What the others cover of the box of this point: their boxes cut to it.
        shared = np.minimum(front, gain)
        self.share = min(self.share + float(np.prod(gain)) - _union(shared), 1.0)
        self._front = np.concatenate([front[~np.all(front <= gain, axis=1)], gain[None]])


def _union(gains: np.ndarray) -> float:
    if not len(gains):
        return 0.0
    points = np.unique(gains, axis=0)
    return _volume(points[_maxima(points)])


def _checked(values: np.ndarray, objectives: Objectives) -> np.ndarray:
    values = np.asarray(values, dtype=float)
    if values.size == 0:
        values = values.reshape(0, len(objectives))
    if values.ndim != 2 or values.shape[1] != len(objectives):
        raise BadInput(f"the values must be a table with {len(objectives)} columns, but got shape {values.shape}")
    if np.isnan(values).any():
        row, column = np.argwhere(np.isnan(values))[0]
        raise BadInput(f"the value of `{objectives[column].name}` in row {row} is not a number (NaN)")
    return values


def _seen(values: np.ndarray, objectives: Objectives) -> Box:
    low, high = values.min(axis=0), values.max(axis=0)
    upward = [objective.sign > 0 for objective in objectives]
    return Box(
        tuple(float(low[i] if up else high[i]) for i, up in enumerate(upward)),
        tuple(float(high[i] if up else low[i]) for i, up in enumerate(upward)),
    )


def _gains(values: np.ndarray, objectives: Objectives, reference: Box) -> np.ndarray:
    """Return (n, k) gains: 0 at the worst corner of the box or beyond, 1 at the best."""
    points, worst, best = (_upward(part, objectives) for part in (values, reference.worst, reference.best))
    extent = best - worst
    # Where all that was seen lies beyond an end that is stated: 0 below the worst, 1 above the best.
    beyond = np.where(extent < 0, points >= worst, 1.0)
    return np.where(extent <= 0, beyond, np.clip((points - worst) / np.where(extent <= 0, 1.0, extent), 0.0, 1.0))


def _upward(values: np.ndarray | tuple[float, ...], objectives: Objectives) -> np.ndarray:
    columns = np.array(values, dtype=float).T
    upward = [
        objective.sign * (np.log10(np.maximum(column, SMALLEST)) if objective.log else column)
        for objective, column in zip(objectives, columns, strict=True)
    ]
    return np.stack(upward, axis=-1)


def _volume(gains: np.ndarray) -> float:
    """Return the volume of the union of the boxes between the origin and each point, one slice after another."""
    gains = gains[np.argsort(-gains[:, -1], kind="stable")]
    thickness = gains[:, -1] - np.append(gains[1:, -1], 0.0)
    if gains.shape[1] == 2:
        return float(thickness @ np.maximum.accumulate(gains[:, 0]))
    return float(sum(t * _volume(gains[: i + 1, :-1]) for i, t in enumerate(thickness) if t > 0))
