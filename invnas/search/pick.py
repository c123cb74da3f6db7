"""Which trial a user's words name."""

from __future__ import annotations

from collections.abc import Sequence

from invnas.errors import BadInput, nearest
from invnas.experiment import parse_count
from invnas.measurement import Trial
from invnas.pareto import knee

_WORDS = ("knee", "best", "trial=17", "max-macs=20M", "max-parameters=1M")


def pick(trials: Sequence[Trial], text: str, objectives: tuple[str, ...]) -> Trial:
    """Return the trial that a user's words name; a trial of the baseline is found by its number only.

    Args:
        trials: The trials of a run.
        text: "knee", "best" (highest top1), "trial=17", "max-macs=20M" or "max-parameters=1M" (the best within).
        objectives: Names of the axes in which the knee is looked for.

    Raises:
        BadInput: If the words are unknown or name no complete trial.
    """
    word, _, value = text.partition("=")
    if word == "trial" and value:
        return _numbered(trials, value)
    capped = word in ("max-macs", "max-parameters") and value
    if not capped and text not in ("knee", "best"):
        raise BadInput(f"cannot pick '{text}'; {nearest(text, _WORDS)}")
    complete = [trial for trial in trials if trial.state == "complete" and not trial.baseline]
    if not complete:
        raise BadInput(f"cannot pick '{text}': no trial of the search is complete yet")
    if text == "knee":
        return knee(complete, objectives)
    return max(_within(complete, word, value) if capped else complete, key=_accuracy)


def _within(complete: list[Trial], word: str, value: str) -> list[Trial]:
    field = word.removeprefix("max-")
    spent = {trial.number: getattr(trial.cost, field) for trial in complete}
    within = [trial for trial in complete if spent[trial.number] <= parse_count(value)]
    if not within:
        raise BadInput(f"no complete trial is within {word}={value}: the smallest has {min(spent.values()):,} {field}")
    return within


def _numbered(trials: Sequence[Trial], value: str) -> Trial:
    trial = next((trial for trial in trials if str(trial.number) == value), None)
    if trial is None:
        raise BadInput(f"there is no trial {value}; the run has {len(trials)} trials, counted from 0")
    if trial.state != "complete":
        raise BadInput(f"trial {value} is {trial.state}" + (f": {trial.reason}" if trial.reason else ", not complete"))
    return trial


def _accuracy(trial: Trial) -> float:
    assert trial.measurement is not None
    return trial.measurement.top1
