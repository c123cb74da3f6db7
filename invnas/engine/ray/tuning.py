"""The two hooks of Tune through which it serves a search: a searcher that is fed, a scheduler that tells."""

from __future__ import annotations

import inspect
import pickle
from typing import Any, Protocol

from ray.exceptions import OutOfMemoryError, RayActorError
from ray.tune import Callback, schedulers
from ray.tune.progress_reporter import TrialProgressCallback
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher
from ray.tune.stopper import Stopper

from invnas.class_path import load_class
from invnas.errors import BadInput
from invnas.experiment import Experiment
from invnas.objective import COSTS


class Hub(Protocol):
    """What the hooks tell, in the thread of Tune."""

    def next_number(self, idle: bool) -> int | None:
        """Return which job comes next, None for none now; wait for one while Tune is idle."""
        ...

    def closing(self) -> bool:
        """Tell whether no more jobs will come."""
        ...

    def stop(self, number: int) -> None:
        """End a training because a scheduler of Tune says so."""
        ...

    def retried(self, number: int, error: BaseException | None) -> None:
        """Take note that an actor died and the training goes on in another."""
        ...

    def over(self, number: int, reason: str) -> None:
        """Take note that Tune is done with a trial; a reason says why it failed."""
        ...


class Feed(Searcher):
    """Gives Tune the jobs of the search, each as a number."""

    def __init__(self, hub: Hub) -> None:
        super().__init__(metric="epoch", mode="max")
        self._hub, self._numbers = hub, dict[str, int]()

    def suggest(self, trial_id: str) -> Any:
        """Return the next job, None for now, or that there are no more."""
        number = self._hub.next_number(idle=not self._numbers)
        if number is not None:
            self._numbers[trial_id] = number
            return {"number": number}
        return Searcher.FINISHED if self._hub.closing() else None

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Forget a trial; why one failed is said by the callback."""
        number = self._numbers.pop(trial_id, None)
        if number is not None and not error:
            self._hub.over(number, "it ended without an answer")

    def save(self, checkpoint_path: str) -> None:
        """Save nothing: the record is the journal."""

    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing."""

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles it with its own state, which nobody reads


class Closing(Stopper):
    """Ends Tune with the search, also where trials wait for a machine that is gone or go on from death to death."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Stop no trial by itself."""
        return False

    def stop_all(self) -> bool:
        """Tell whether the search has ended."""
        return self._hub.closing()

    def __getstate__(self) -> dict[str, Any]:
        return {}


def make_scheduler(experiment: Experiment, hub: Hub) -> TrialScheduler:
    """Return the scheduler that an experiment names, or one that lets all trainings run.

    Raises:
        BadInput: If there is no such scheduler, it refuses its arguments, or nobody says which metric it watches.
    """
    if experiment.tune_scheduler is None:
        return FIFOScheduler()
    kind = _scheduler_class(experiment.tune_scheduler)
    scheduler: Any = _made(_telling(kind), experiment, _arguments(kind, experiment))
    scheduler._invnas_hub = hub
    made: TrialScheduler = scheduler
    return made


def check_scheduler(experiment: Experiment) -> None:
    """Raise BadInput where `make_scheduler` would."""
    if experiment.tune_scheduler is not None:
        kind = _scheduler_class(experiment.tune_scheduler)
        _made(kind, experiment, _arguments(kind, experiment))


def _made(kind: type[TrialScheduler], experiment: Experiment, args: dict[str, Any]) -> TrialScheduler:
    try:
        return kind(**args)
    except Exception as error:  # Tune raises of many kinds
        said = " ".join(str(error).split()) or type(error).__name__
        raise BadInput(f"`stopper_args`: {experiment.stopper} refuses them: {said}") from None


def _scheduler_class(class_path: str) -> type[TrialScheduler]:
    shipped = [f"ray.tune.schedulers.{known}" for known in schedulers.__all__ if known != "TrialScheduler"]
    kind: type[TrialScheduler] = load_class(class_path, "stopper", shipped, TrialScheduler)
    return kind


def _arguments(kind: type[TrialScheduler], experiment: Experiment) -> dict[str, Any]:
    """Return the arguments of a scheduler: what it watches is the learned objective, if there is but one."""
    args = dict(experiment.stopper_args)
    known = inspect.signature(kind.__init__).parameters
    learned = [axis for axis in experiment.axes if axis.name not in {cost.name for cost in COSTS}]
    if "metric" in known and "metric" not in args:
        if len(learned) != 1:
            named = ", ".join(axis.name for axis in experiment.axes)
            raise BadInput(f"`stopper_args.metric` must say which of {named} the stopper {experiment.stopper} watches")
        args["metric"] = learned[0].name
    if "metric" in args and "mode" in known and "mode" not in args:
        found = [axis for axis in (*experiment.axes, *experiment.what.objectives) if axis.name == args["metric"]]
        if not found:
            raise BadInput(f"`stopper_args.metric` '{args['metric']}' is no objective of the task {experiment.task}")
        args["mode"] = "max" if found[0].sign > 0 else "min"
    if "time_attr" in known:
        args.setdefault("time_attr", "epoch")
    return args


class _Unsearched:
    """Tune's controller as a scheduler sees it that works with no searcher: ours only hands on what was decided."""

    search_alg = None

    def __init__(self, controller: Any) -> None:
        self._controller = controller

    def __getattr__(self, name: str) -> Any:
        return getattr(self._controller, name)


def _telling(kind: type[TrialScheduler]) -> type[TrialScheduler]:
    class Telling(kind):  # type: ignore[misc, valid-type]
        """Hears of rungs; what the scheduler decides there is carried out by the training."""

        _invnas_hub: Hub  # set on the instance: Tune pickles the class

        def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
            super().on_trial_add(_Unsearched(tune_controller), trial)

        def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
            if "epoch" in result:  # else its training ends
                decision = super().on_trial_result(tune_controller, trial, result)
                if decision == TrialScheduler.STOP:
                    self._invnas_hub.stop(trial.config["number"])
                elif decision == TrialScheduler.PAUSE:
                    return TrialScheduler.PAUSE
            return TrialScheduler.CONTINUE

        def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
            if "epoch" in result:
                super().on_trial_complete(tune_controller, trial, result)

        def _checkpoint_or_exploit(self, trial: Any, tune_controller: Any, upper_quantile: Any, lower: Any) -> None:
            # What population based training would replace by a copy of a better trial ends: the record has that one.
            if trial in lower:
                self._invnas_hub.stop(trial.config["number"])

        def __getstate__(self) -> dict[str, Any]:
            return {}

    return Telling


def bear_kills_for_memory() -> None:
    """Let Tune take the kill of an actor by Ray's memory monitor for its death; itself it would end, with all trials.

    Ray 2.60 raises OutOfMemoryError there, which Tune's manager of actors calls unexpected; no setting changes that.
    """
    try:
        from ray.air.execution._internal import RayActorManager
        from ray.tune.execution import tune_controller
    except ImportError:  # a Ray that is made otherwise is taken as it is
        return

    def death(error: Exception) -> Exception:
        return RayActorError(error_msg=str(error)) if isinstance(error, OutOfMemoryError) else error

    class Manager(RayActorManager):
        def _actor_start_failed(self, tracked_actor: Any, exception: Exception) -> None:
            super()._actor_start_failed(tracked_actor, death(exception))

        def _actor_task_failed(self, tracked_actor_task: Any, exception: Exception) -> None:
            super()._actor_task_failed(tracked_actor_task, death(exception))

    controller: Any = tune_controller
    controller.RayActorManager = Manager


def _error_of(trial: Any) -> BaseException | None:
    """Return what the actor of a trial died of; Tune's own method looks where the file comes only later."""
    try:
        with open(trial.pickled_error_file, "rb") as file:
            error: BaseException = pickle.load(file)
            return getattr(error, "cause", None) or error  # what was raised, without the lines of Ray's own
    except (OSError, TypeError, AttributeError, ImportError, pickle.UnpicklingError):
        return None


class _Deaths(TrialProgressCallback):
    """Stands where Tune would put its own, which prints of every trial and keeps what it printed."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._hub.retried(trial.config["number"], _error_of(trial))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._hub.over(trial.config["number"], f"its actor died: {_error_of(trial)}")

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: Any, **info: Any) -> None:
        pass

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        pass

    def __getstate__(self) -> dict[str, Any]:
        return {}


def callback_on_deaths(hub: Hub) -> Callback:
    """Return what tells of each actor that died: its trial goes on in another, or has failed."""
    return _Deaths(hub)
