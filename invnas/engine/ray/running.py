"""A job under Ray as the search holds it: the time it took, and the actors it has outlived."""

from __future__ import annotations

from dataclasses import dataclass, replace

from invnas.engine.ray.desk import Letter
from invnas.messages import Job

#: Deaths of an actor that a trial survives, and as many in a row of actors in which it had not begun: what follows the
#: loss of a machine, where Tune may make the next actor on what is lost, is no second death.
RETRIES = 3
#: What Ray says when it has killed an actor because its machine had no memory left.
_LOW = "running low on memory"


@dataclass
class Running:
    """A job that Tune has.

    Attributes:
        job: What is trained, with the number of this attempt.
        letter: The last one that came of it: where it runs.
        begun: Whether this attempt has been heard of.
        spent: Seconds since then in which somebody looked.
        deaths: Actors that died while it trained.
        vain: Actors in a row that died before it had begun.
        over: Whether it has failed, which the search is about to read.
    """

    job: Job
    letter: Letter | None = None
    begun: bool = False
    spent: float = 0.0
    deaths: int = 0
    vain: int = 0
    over: bool = False

    def died(self, error: BaseException | None) -> str | None:
        """Take note that its actor died; return why the trial has failed, None where it is tried again."""
        words, half = " ".join(str(error or "").split()), self.job.micro_batches > 1
        if _LOW in words and half:
            return f"out of memory: {words:.300} (with half a batch at a time, too)"
        # A kill by the kernel, which memory that ran out brings about, and a crash look the same to Ray.
        parts = 2 if _LOW in words or (self.begun and "high memory usage" in words) else self.job.micro_batches
        if self.begun:
            self.deaths, self.vain = self.deaths + 1, 0
        else:
            self.vain += 1
        if max(self.deaths, self.vain) > RETRIES:
            tried = f" (tried {self.deaths + self.vain} times{', at last with half a batch at a time' * half})"
            return f"its actor died{tried}: {words:.300}"
        self.begun, self.spent = False, 0.0
        self.job = replace(self.job, attempt=self.job.attempt + 1, micro_batches=parts)
        return None
