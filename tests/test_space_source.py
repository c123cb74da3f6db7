from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from invnas import Bottleneck, Choice, Convolution, Experiment, HybridNet, Involution, PlainStem, Repeat, Space, Stage
from invnas.commands import run_search
from invnas.errors import BadInput
from invnas.run import Run
from invnas.shipped import shipped
from invnas.space import load_space
from invnas.space_source import space_file

NETWORK = HybridNet(
    PlainStem(8, 3, 1, False),
    [Stage(8, Repeat(Bottleneck(Choice(Convolution(3), Involution(3, 4, 2)), 1), times=Choice(1, 2)))],
)
SHIPPED_ONLY = Space(NETWORK, name="mine")
OWN = """
from __future__ import annotations
from dataclasses import dataclass
from torch import nn
from invnas import Bottleneck, Choice, HybridNet, PlainStem, Space, Stage

@dataclass(frozen=True)
class Depthwise:
    size: int = 3

    def build(self, channels, stride):
        return nn.Conv2d(channels, channels, self.size, stride, self.size // 2, groups=channels)

def make(*sizes):
    return Space(HybridNet(PlainStem(8, 3, 1, False), [Stage(8, [Bottleneck(Depthwise(Choice(*sizes)), 2)])]))

def no_five(network):
    return "no 5" if network.stages[0].blocks[0].spatial.size == 5 else None

other, mine = make(3, 7), Space(make(3, 5, 7).network, constraints=(no_five,))

def net(input_shape, classes, width=Choice(2, 3)):
    layers = [nn.Conv2d(input_shape[0], width, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(width, classes))
"""
SEARCH = """
import sys
from invnas import Experiment, run_search
tiny = {{"recipe": {{"epochs": 1, "threads": 1}}, "data": {{"init_args": {{"batch_size": 256}}}}}}
experiment = Experiment(space={space}, trials=1, **tiny)
"""
RUN = "print(run_search(experiment, sys.argv[1], quiet=True).space.size)"


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module of the user's own that is imported."""
    import importlib

    (tmp_path / "own_spaces.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "own_spaces", raising=False)
    return importlib.import_module("own_spaces")


def rebuilt(given: Any) -> Space:
    with space_file(given) as path:
        return load_space(path)


@pytest.mark.parametrize("given", [SHIPPED_ONLY, NETWORK, Space(NETWORK)])
def test_a_space_of_shipped_values_is_written_as_it_is(given: Any) -> None:
    found = rebuilt(given)
    assert found.network == NETWORK
    assert found.size == Space(NETWORK).size
    assert (found.name == "mine") == (given is SHIPPED_ONLY)


@pytest.mark.parametrize("name", shipped("search_spaces"))
def test_each_shipped_space_can_be_given_as_an_object(name: str) -> None:
    space = load_space(name)
    assert rebuilt(space).size == space.size


def test_a_name_or_a_file_stays_what_it_is(tmp_path: Path) -> None:
    with space_file("digits") as path:
        assert path == shipped("search_spaces")["digits"]
    with pytest.raises(BadInput, match="unknown name 'digit'"), space_file("digit"):
        pass


def test_the_same_space_of_several_in_a_file_is_found(own: Any) -> None:
    for given, size, rules in ((own.mine, 3, 1), (own.other, 2, 0), (own.make(3, 5, 7, 9), 4, 0), (own.net, 2, 0)):
        found = rebuilt(given)
        assert (found.size, len(found.constraints)) == (size, rules)
    assert rebuilt(own.mine.network).size == 3


def test_what_is_in_no_file_is_refused(own: Any) -> None:
    two = Choice(2, 3)

    def local(input_shape: Any, classes: int, width: Any = two) -> None: ...

    ruled = Space(own.make(3, 5).network, (lambda network: None,))
    for given in (local, Space(lambda width=two: None), ruled):
        with pytest.raises(BadInput, match="put it and the classes it is made of into a Python file"):
            rebuilt(given)


@pytest.mark.parametrize("given", [3, None, [], Convolution, {"type": "HybridNet"}])
def test_what_is_no_space_is_refused(given: Any) -> None:
    with pytest.raises(BadInput, match="a space must be a network value or a function"):
        Experiment(space=given)


def test_a_search_takes_an_object_and_its_run_can_be_read_without_it(tmp_path: Path) -> None:
    tiny = {"recipe": {"epochs": 1, "threads": 1}, "data": {"init_args": {"batch_size": 256}}}
    run = run_search(Experiment(space=SHIPPED_ONLY, trials=1, **tiny), tmp_path / "run", quiet=True)  # type: ignore[arg-type]
    again = Run.open(run.folder)
    assert again.space.network == NETWORK
    assert again.space.name == "mine"
    assert [trial.state for trial in again.trials()] == ["complete"]


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (OWN + SEARCH.format(space="mine") + f"if __name__ == '__main__':\n    {RUN}", "3\n"),
        (OWN + SEARCH.format(space="mine") + RUN, "put that below `if __name__ == '__main__':`"),
    ],
)
def test_a_script_that_holds_its_space(tmp_path: Path, script: str, said: str) -> None:
    (tmp_path / "script.py").write_text(script)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, str(tmp_path / "script.py"), str(tmp_path / "run")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert said in done.stdout + done.stderr
    assert (done.returncode == 0) == (tmp_path / "run").exists()


def test_a_space_of_own_classes_in_a_shell_is_refused(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", OWN + SEARCH.format(space="mine") + RUN, str(tmp_path / "run")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert "put it and the classes it is made of into a Python file" in done.stderr.splitlines()[-1]


def test_other_files_that_were_read_are_not_read_again(tmp_path: Path) -> None:
    """Each reading executes a file: one that is not of this space would do again whatever it does."""
    marks = tmp_path / "marks"
    other = tmp_path / "other.py"
    other.write_text(
        f"from pathlib import Path\nwith Path({str(marks)!r}).open('a') as file:\n    file.write('x')\n"
        "from invnas import Choice\nfrom torch import nn\n\n"
        "def space(input_shape, classes, width=Choice(4, 5, 6)):\n    return nn.Linear(width, classes)\n"
    )
    load_space(other)
    assert marks.read_text() == "x"
    mine = tmp_path / "mine.py"
    mine.write_text(
        "from invnas import Choice\nfrom torch import nn\n\n"
        "def space(input_shape, classes, depth=Choice(1, 2)):\n    return nn.Linear(depth, classes)\n"
    )
    with space_file(load_space(mine)) as path:
        assert load_space(path).size == 2
    assert marks.read_text() == "x"
