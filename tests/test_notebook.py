"""What a notebook shows: a notebook is run by a kernel of Jupyter, and its outputs are read."""

from __future__ import annotations

import copy
import html
import os
import pickle
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from invnas import Architecture, Convolution, Cost, Measurement, Run, Trial, show_report
from invnas.errors import BadInput
from invnas.in_place import in_notebook
from invnas.objective import MACS
from invnas.plain_table import ROWS
from invnas.tasks.classification import TOP1
from invnas.trials import Trials


def trial(number: int, **others: Any) -> Trial:
    cost = Cost.counted(macs=1000 * (number + 1), parameters=20, activation_bytes=4)
    found = {"state": "complete", "measurement": Measurement({"top1": 0.5}), **others}
    return Trial(number, Architecture(Convolution()), {}, cost, **found)


def test_a_trial_is_one_line() -> None:
    assert repr(trial(3)) == "Trial(3, complete, convolution: top1 0.5, macs 4000, parameters 20, activation_bytes 4)"
    failed = trial(1, state="failed", measurement=None, reason="the loss became nan")
    assert repr(failed) == "Trial(1, failed, convolution: the loss became nan)"


@pytest.mark.parametrize("number", [0, 1, 2, ROWS, ROWS + 3])
def test_trials_are_a_tuple_that_shows_a_table(number: int) -> None:
    members = [trial(i) for i in range(number)]
    trials = Trials(members, (TOP1, MACS))
    assert trials == tuple(members)
    assert isinstance(trials[:2], Trials)
    assert trials[:2].axes == trials.axes
    lines = repr(trials).splitlines()
    assert len(lines) == (1 if number == 0 else min(number, ROWS) + 1 + (number > ROWS))
    shown = trials._repr_html_()
    assert shown.count("<tr>") == (0 if number == 0 else min(number, ROWS) + 1)
    assert f"{number} trial" in shown or number == 0
    assert ("and 3 more" in shown) is (number == ROWS + 3)
    for other in (copy.deepcopy(trials), pickle.loads(pickle.dumps(trials))):
        assert other == trials
        assert other.axes == trials.axes


def test_words_of_a_user_are_no_html() -> None:
    from invnas.plain_table import as_html

    shown = as_html("<b>", ["<i>"], [["<script>"]], ["a < b"])
    assert "<script>" not in shown
    assert html.unescape(re.sub("<[^>]+>", "", shown)) == "<b><i><script>a < b"


def test_this_is_no_notebook() -> None:
    assert not in_notebook()


def executed(cells: Sequence[str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[Any]]:
    """Return the outputs of the cells of a notebook."""
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    for name in ("JUPYTER_DATA_DIR", "IPYTHONDIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(folder / name))
    kernel = folder / "JUPYTER_DATA_DIR" / "kernels" / "here"
    kernel.mkdir(parents=True)
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    said = str(command).replace("'", '"')
    (kernel / "kernel.json").write_text(f'{{"argv": {said}, "display_name": "here", "language": "python"}}')
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(part for part in sys.path if part))
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbclient.NotebookClient(
        notebook, kernel_name="here", timeout=300, resources={"metadata": {"path": str(folder)}}
    ).execute()
    return [cell["outputs"] for cell in notebook["cells"]]


CELLS = (
    """
from invnas import DataSource, Experiment, Recipe, retrain, run_search, show_report
asked = Experiment(space="digits", trials=2, recipe=Recipe(epochs=1), data=DataSource("invnas.data.Digits"))
run = run_search(asked, "mine")
""",
    "run",
    "run.front()",
    "run.trials()[0]",
    "found = retrain(run, pick='best', epochs=2, seeds=1)",
    "show_report(run)",
)


def displayed(outputs: list[Any]) -> list[str]:
    return [output["data"]["text/html"] for output in outputs if output["output_type"] == "display_data"]


def said(outputs: list[Any]) -> str:
    return "".join(output["text"] for output in outputs if output["output_type"] == "stream")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the client of Jupyter
def test_a_notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    search, run, front, one, again, report = executed(CELLS, tmp_path, monkeypatch)
    # One place, replaced as the search went on: not a line for each trial.
    (board,) = displayed(search)
    assert "2/2" in board
    assert "front:" in board
    assert "trial 0" not in said(search)
    assert "mine: 2 complete" in run[0]["data"]["text/html"]
    assert run[0]["data"]["text/plain"] == "Run(mine: 2 complete)"
    opened = Run.open(tmp_path / "mine")
    assert front[0]["data"]["text/html"].count("<tr>") == len(opened.front()) + 1
    assert one[0]["data"]["text/plain"] == repr(opened.trials()[0])
    (bar,) = displayed(again)
    assert "seed 0, epoch 2 of 2" in bar
    framed = re.search('<iframe srcdoc="(.*?)" width', report[0]["data"]["text/html"], re.DOTALL)
    assert framed
    assert html.unescape(framed[1]) == (tmp_path / "mine" / "report" / "index.html").read_text(encoding="utf-8")
    with pytest.raises(BadInput, match="`height` must be at least 1 pixel, but got 0"):
        show_report(opened, height=0)
