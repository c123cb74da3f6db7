"""What networks are trained for, as one value: its head, its training, its objectives, its checks.

A task is a folder in `invnas/tasks` and a line in `TASKS`, or anyone's class by its path. The deciding half reads it,
so a task imports torch inside its methods only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from invnas.class_path import load_class
from invnas.errors import BadInput, nearest, shown
from invnas.gate import user_code
from invnas.objective import COSTS, Objective
from invnas.rules import CLASSES, whole

if TYPE_CHECKING:
    from torch import nn

    from invnas.experiment import Recipe
    from invnas.facts import DataFacts
    from invnas.head import Head
    from invnas.learner import Learner

#: Tasks that come with invnas: name, and class path.
TASKS: Mapping[str, str] = {
    "classification": "invnas.tasks.classification.Classification",
    "detection": "invnas.tasks.detection.Detection",
    "segmentation": "invnas.tasks.segmentation.Segmentation",
}


@dataclass(frozen=True)
class Legend:
    """What the pictures of a task show.

    Attributes:
        note: In words, such as "the image, the truth, what the network finds".
        first: Value of `invnas.masks.palette` whose colour the first class has.
    """

    note: str
    first: int = 0


class Task(Protocol):
    """What a network is trained for; a class of your own needs no base class, only a constructor without arguments."""

    @property
    def name(self) -> str:
        """What to call it."""
        ...

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """What training finds, the one that matters first; each a number of a `Measurement`."""
        ...

    @property
    def tested(self) -> tuple[str, ...]:
        """Names of those that are measured once at the end, on the test images."""
        ...

    def head(self, facts: DataFacts) -> Head:
        """Return what its networks end in, for images of these facts."""
        ...

    def module(self, network: nn.Module, facts: DataFacts, recipe: Recipe) -> Learner:
        """Return what Lightning trains, validates and tests; its `measured` gives the objectives by name."""
        ...

    def check_targets(self, facts: DataFacts) -> Callable[[Any, int, bool], None]:
        """Return what raises BadInput unless the targets of a batch are right.

        It is called with the targets, the number of images in the batch, and whether they are for training.
        """
        ...

    def output(self, facts: DataFacts) -> str:
        """Return what the numbers of the output mean, as a model card says it."""
        ...

    def describe(self, facts: DataFacts) -> Mapping[str, str]:
        """Return what a report says of the targets, by name, such as {"classes": "10"}."""
        ...


#: Settings of a recipe that a task has to know how to follow.
_OF_TASKS = ("class_weights", "loss", "mixup", "cutmix")

_MEMBERS = tuple(name for name in vars(Task) if not name.startswith("_"))


def load_task(name: str) -> Task:
    """Return a task by its name or its class path.

    Raises:
        BadInput: If there is no such task, or what is there is none.
    """
    kind = load_class(TASKS.get(name, name), "task", TASKS)
    with user_code(f"the task '{name}'"):
        task: Task = kind()
    for member in _MEMBERS:
        if not hasattr(task, member):
            raise BadInput(f"'{name}' is no task: it has no `{member}`; a task has {', '.join(_MEMBERS)}")
    names = [objective.name for objective in task.objectives]
    for tested in task.tested:
        if tested not in names:
            raise BadInput(
                f"`tested` of the task '{name}' has '{tested}', which it does not measure; {nearest(tested, names)}"
            )
    return task


def check_recipe(task: Task, recipe: Recipe, facts: DataFacts) -> None:
    """Raise BadInput unless a task can train as a recipe says, on images of these facts.

    A task with a method `check_recipe(recipe, facts)` is asked; one without follows the common settings alone.
    """
    if own := getattr(task, "check_recipe", None):
        own(recipe, facts)
    else:
        check_common(task, recipe)


def check_common(task: Task, recipe: Recipe) -> None:
    """Raise BadInput where a recipe has a setting that a task has to know how to follow."""
    usual = type(recipe)()
    for name in _OF_TASKS:
        if getattr(recipe, name) != getattr(usual, name):
            raise BadInput(
                f"`recipe.{name}` is {shown(getattr(recipe, name), 60)}, but the task {task.name} does not say that it "
                "follows it: a task that does has a method `check_recipe(recipe, facts)`"
            )


def check_network(task: Task, network: Any) -> None:
    """Raise BadInput unless a network value (of a space, with its choices) is of a kind that a task can train.

    A task with a method `check_network(network)` is asked; one without takes any.
    """
    if own := getattr(task, "check_network", None):
        own(network)


def head_of(task: str, input_shape: tuple[int, int, int], classes: int) -> Head:
    """Return what the networks of a task end in, for images of this shape and so many classes.

    Raises:
        BadInput: If there is no such task, or no network has so many classes.
    """
    from invnas.facts import DataFacts

    for problem in whole("classes", classes, CLASSES):
        raise BadInput(problem)
    return load_task(task).head(DataFacts(input_shape, classes))


def objectives_of(task: Task) -> tuple[Objective, ...]:
    """Return all that can be an objective: what training finds and what a network costs."""
    return (*task.objectives, *COSTS)
