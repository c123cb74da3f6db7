from __future__ import annotations

from dataclasses import dataclass

import pytest

from invnas.errors import BadInput
from invnas.experiment import Experiment
from invnas.objective import Objective
from invnas.task import TASKS, load_task
from invnas.tasks.classification import Classification


class Needs:
    def __init__(self, argument: int) -> None:
        pass


class Leaves:
    def __init__(self) -> None:
        raise SystemExit(0)


@dataclass(frozen=True)
class Wrong(Classification):
    tested: tuple[str, ...] = ("top3",)


@dataclass(frozen=True)
class Own(Classification):
    objectives: tuple[Objective, ...] = (*Classification.objectives, Objective("recall", "recall", "Recall"))
    tested: tuple[str, ...] = ("recall",)


@pytest.mark.parametrize("name", list(TASKS))
def test_tasks_by_name(name: str) -> None:
    task = load_task(name)
    assert task.name == name
    assert Experiment(task=name, objectives=(task.objectives[0].name, "macs")).what == task


def test_a_task_by_its_class_path() -> None:
    path = f"{__name__}.Own"
    assert Experiment(task=path, objectives=("recall", "macs")).axes[0].name == "recall"
    with pytest.raises(BadInput, match="unknown objective 'recall'"):
        Experiment(objectives=("recall", "macs"))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("clasification", "unknown task 'clasification'; nearest: 'classification'"),
        ("no.such.Task", "unknown task 'no.such.Task'"),
        ("", "unknown task ''"),
        (3, "`task` must be text, but got"),
        ("json.dumps", "the task 'json.dumps' raised TypeError"),
        ("collections.OrderedDict", "'collections.OrderedDict' is no task: it has no `name`"),
        (f"{__name__}.Needs", "raised TypeError: .*'argument'"),
        (f"{__name__}.Leaves", r"called sys.exit\(0\)"),
        (
            f"{__name__}.Wrong",
            "`tested` of the task .* has 'top3', which it does not measure; .*valid: top1, top5, loss",
        ),
    ],
)
def test_what_is_no_task_is_refused_in_a_sentence(name: str, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        Experiment(task=name)
