"""The desk between a search and its actors: jobs and stops lie there for these, letters for that one.

It is a small actor on the machine of the search, so that neither jobs nor the messages of trainings go through Tune,
which takes one event at a time and keeps what it has seen.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

#: Seconds an actor waits at most until it may go.
_PATIENCE = 20.0


@dataclass(frozen=True)
class Letter:
    """What a training says.

    Attributes:
        message: A message as plain data.
        pid: The process that trains; None where nobody knows.
        node: Ray's name of its machine.
    """

    message: dict[str, Any]
    pid: int | None = None
    node: str = ""


class Desk:
    """Jobs to take, letters to the search, which trainings shall end, and which actors may go; an actor of Ray."""

    def __init__(self) -> None:
        self._jobs: dict[int, dict[str, Any] | None] = {}
        self._stopped: set[int] = set()
        self._actors: dict[int, Any] = {}
        self._letters: list[Letter] = []
        self._arrived = asyncio.Event()
        self._answers: dict[int, asyncio.Event] = {}
        self._doors: dict[int, asyncio.Event] = {}

    # What the search calls.

    async def put(self, number: int, job: dict[str, Any]) -> None:
        """Lay down a job."""
        self._jobs[number] = job

    async def letters(self) -> list[Letter]:
        """Return what has arrived, as soon as something has."""
        await self._arrived.wait()
        self._arrived.clear()
        letters, self._letters = self._letters, []
        return letters

    async def answer(self, number: int) -> None:
        """Let a training go on that waits to be judged."""
        if number in self._answers:
            self._answers[number].set()

    async def stop(self, number: int) -> None:
        """End a training at its next epoch."""
        self._stopped.add(number)

    async def again(self, number: int, job: dict[str, Any]) -> None:
        """Lay down the next attempt of a job, unless it is no longer wanted."""
        if self._jobs.get(number) is not None:
            self._jobs[number] = job

    async def drop(self, number: int) -> Any:
        """Forget a job, and return the actor that had it last."""
        self._jobs[number] = None
        self._stopped.discard(number)
        return self._actors.pop(number, None)

    async def let_go(self, numbers: list[int]) -> None:
        """Let the actors of ended jobs go."""
        for number in numbers:
            self._doors.setdefault(number, asyncio.Event()).set()

    # What an actor calls.

    async def take(self, number: int, actor: Any) -> dict[str, Any] | None:
        """Return a job to the actor that trains it; None when it is no longer wanted."""
        import ray

        before = self._actors.get(number)
        if before is not None and before != actor:  # one that cannot be reached may be alive, and training
            ray.kill(before)
        self._actors[number] = actor
        while number not in self._jobs:  # it is on its way: of two callers, either may be the first
            await asyncio.sleep(0.001)
        return self._jobs[number]

    async def tell(self, number: int, letter: Letter) -> bool:
        """Lay down a letter; return whether the training shall end."""
        self._letters.append(letter)
        self._arrived.set()
        return number in self._stopped

    async def ask(self, number: int, letter: Letter) -> bool:
        """Lay down the letter of a training that is judged; return whether it shall end, when the search has said."""
        answer = self._answers[number] = asyncio.Event()
        await self.tell(number, letter)
        await answer.wait()
        del self._answers[number]
        return number in self._stopped

    async def stopped(self, number: int) -> bool:
        """Tell whether a training shall end."""
        return number in self._stopped

    async def leave(self, number: int, letter: Letter) -> None:
        """Lay down the last letter of a training; return when its actor may go."""
        door = self._doors.setdefault(number, asyncio.Event())
        await self.tell(number, letter)
        try:
            await asyncio.wait_for(door.wait(), _PATIENCE)
        except TimeoutError:  # the search has more to do than to say so
            pass
        finally:
            self._doors.pop(number, None)


def open_desk() -> Any:
    """Start a desk on this machine."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(Desk).options(num_cpus=0, scheduling_strategy=here).remote()
