"""Which trial a user's words name."""

from __future__ import annotations

from collections.abc import Sequence

from invnas.errors import BadInput, nearest
from invnas.measurement import Trial
from invnas.objective import Objective
from invnas.pareto import knee
from invnas.settings import parse_count

_WORDS = ("knee", "best", "trial=17", "max-macs=20M", "max-parameters=1M")


def pick(trials: Sequence[Trial], text: str, objectives: Sequence[Objective]) -> Trial:
    """Return the trial that a user's words name; a trial of the baseline is found by its number only.

    Args:
        trials: The trials of a run.
        text: "knee", "best" (by the learned objective), "trial=17", "max-macs=20M" or "max-parameters=1M" (the best
            within).
        objectives: The axes in which the knee is looked for.

    Raises:
        BadInput: If the words are unknown or name no complete trial.
    """
    word, _, value = text.partition("=")
    if word == "trial" and value:
        return _numbered(trials, value)
    capped = word in ("max-macs", "max-parameters") and value
    if not capped and text not in ("knee", "best"):
        raise BadInput(f"cannot pick '{text}'; {nearest(text, _WORDS)}")
    complete = [trial for trial in trials if trial.state == "complete" and trial.phase == "search"]
    if not complete:
        raise BadInput(f"cannot pick '{text}': no trial of the search is complete yet")
    if text == "knee":
        return knee(complete, objectives)
    learned = next((objective for objective in objectives if objective.source == "learned"), objectives[0])
    within = _within(complete, word, value) if capped else complete
    return max(within, key=lambda trial: learned.sign * trial.values([learned])[0])


def _within(complete: list[Trial], word: str, value: str) -> list[Trial]:
    field = word.removeprefix("max-")
    spent = {trial.number: trial.cost[field] for trial in complete}
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
