"""Ends a search when nothing that is untrained is expected to add much to its front any more."""

from __future__ import annotations

from collections.abc import Sequence

from invnas.measurement import Trial
from invnas.objective import Objective
from invnas.search.believe import believe
from invnas.search.outlook import Candidates


class Convergence:
    """Judges the record of a search, whoever proposes; the same record is judged alike, also after a kill.

    Args:
        candidates: What could be trained.
        objectives: The axes.
        share: Share of what the front covers that the best candidate must be expected to add for the search to go on.
        trials: Trials for which it must have been less: it is looked at now, and as it was so many trials ago.
        since: Finished trials at which this ended an earlier call; so many more are trained before it judges again.
    """

    def __init__(
        self,
        candidates: Candidates,
        objectives: Sequence[Objective],
        share: float,
        trials: int,
        since: int | None = None,
    ) -> None:
        self._candidates, self._objectives, self._share, self._trials = candidates, objectives, share, trials
        self._least = trials if since is None else since + trials
        self._judged = -1
        self.reason = ""

    def __call__(self, trials: Sequence[Trial]) -> bool:
        """Tell whether a search has converged; `reason` then says why. Looked at once after each trial that ended."""
        ended = [trial for trial in trials if trial.phase == "search" and trial.state != "running"]
        if len(ended) == self._judged:
            return bool(self.reason)
        self._judged = len(ended)
        if len(ended) < self._least:
            return False
        now = self._expected(ended)
        before = None if now is None or now >= self._share else self._expected(ended[: len(ended) - self._trials])
        if now is None or before is None or before >= self._share:
            return False
        self.reason = (
            f"converged after {len(ended)} trials: of all candidates that were looked at, the best is expected to add "
            f"{now:.2g} of what the front covers, and {self._trials} trials ago it was {before:.2g}; "
            f"both are less than the stated {self._share:g}"
        )
        return True

    def _expected(self, ended: Sequence[Trial]) -> float | None:
        """Return the share that the best candidate is expected to add; None where nothing is believed or foretold."""
        found = self._candidates.ranked(believe(ended, self._objectives), ended)
        if found is None:
            return None
        return found[0].share if found else 0.0
