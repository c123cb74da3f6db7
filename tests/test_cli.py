from __future__ import annotations

import contextlib
import csv
import inspect
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import invnas.data
from invnas import __version__
from invnas.cli import COMMANDS, main
from invnas.run import Run
from invnas.shipped import shipped

SPACE = """
from invnas import Bottleneck, Choice, Convolution, HybridNet, Involution, PlainStem, Repeat, Stage
spatial = Choice(Convolution(3), Involution(Choice(3, 5), group_channels=4, reduction_ratio=2))
space = HybridNet(
    PlainStem(8, 3, 1, False), [Stage(8, Repeat(Bottleneck(spatial, expansion=Choice(1, 2)), times=Choice(1, 2)))]
)
"""
FAILS_IN_TRAINING = """
from torch import nn
from invnas import Choice

class Network(nn.Module):
    def __init__(self, channels, classes, width):
        super().__init__()
        layers = nn.Conv2d(channels, width, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes)
        self.layers = nn.Sequential(*layers)

    def forward(self, x):
        if self.training:
            raise RuntimeError("not while training")
        return self.layers(x)

def space(input_shape, classes, width=Choice(4, 8)):
    return Network(input_shape[0], classes, width)
"""
TINY = ["--recipe.epochs", "1", "--recipe.threads", "1", "--data.init_args.batch_size", "256"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("space") / "my_space.py"
    path.write_text(SPACE)
    return path


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory, space: Path) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "mine"
    assert main(["search", "digits", "--space", str(space), "--trials", "3", "--quiet", "--workers", "1",
                 "--run-dir", str(folder), *TINY]) == 0  # fmt: skip
    return folder


def start(*words: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "invnas", *map(str, words)]
    return subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_until(true: Callable[[], bool], child: subprocess.Popen[str], seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert child.poll() is None, child.communicate()[1]
        assert time.monotonic() < end
        time.sleep(0.02)


def begun(folder: Path) -> bool:
    return (folder / "run.json").is_file()


# Help, and what it must not import.


def test_help_names_every_command(call: Call) -> None:
    code, out, _ = call("--help")
    assert code == 0
    assert all(f"invnas {name} " in out for name in COMMANDS)
    assert call() == call("-h") == (0, out, "")
    assert "space sample" in call("space")[1]
    assert "invnas resume" not in call("space", "--help")[1]
    assert call("--version") == (0, f"invnas {__version__}\n", "")


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_explains_each_argument(call: Call, name: str) -> None:
    code, out, err = call(*name.split(), "--help")
    assert (code, err) == (0, "")
    assert "SUPPRESS" not in out
    lines = out[out.index("help message") :].splitlines()[1:]
    heads = [place for place, line in enumerate(lines) if re.match("  (--|[a-z])", line)]
    for place in heads:
        told = lines[place][24:].strip() or lines[place + 1].strip()
        assert told, lines[place]


def test_search_help_is_that_of_the_dataclasses(call: Call) -> None:
    out = " ".join(call("search", "--help")[1].split())
    for words in (
        "--trials TRIALS Architectures to train.",
        "--recipe.epochs EPOCHS Passes over the training images. Default: 30.",
        "--max_macs MAX_MACS Cap on multiply-adds of one image, such as 30M",
        "--data.class_path CLASS_PATH Dotted path of a LightningDataModule",
        "Name of an experiment that comes with invnas",
    ):
        assert words in out


@pytest.mark.parametrize(
    "words",
    [["--help"], ["search", "--help"], ["search", "--trails", "3"], ["list"], ["search", "digits", "--print_config"]],
)
def test_help_and_refusals_import_nothing_heavy(words: list[str]) -> None:
    code = (
        "import sys; from invnas.cli import main; code = main(sys.argv[1:]);"
        "print([name for name in ('torch', 'lightning', 'optuna', 'rich', 'numpy', 'plotly') if name in sys.modules])"
    )
    child = subprocess.run([sys.executable, "-c", code, *words], env=ENVIRONMENT, capture_output=True, text=True)
    assert child.stdout.splitlines()[-1] == "[]", child.stderr


def test_installed_script_and_module() -> None:
    script = Path(sys.executable).with_name("invnas")
    for command in ([str(script)], [sys.executable, "-m", "invnas"]):
        child = subprocess.run([*command, "--version"], env=ENVIRONMENT, capture_output=True, text=True)
        assert (child.returncode, child.stdout, child.stderr) == (0, f"invnas {__version__}\n", "")


# Settings.


def test_print_config_is_an_experiment_again(call: Call, tmp_path: Path) -> None:
    words = ["--print-config", "--trials=7", "--max-macs", "1.5M", "--objectives", "top1,parameters"]
    code, out, _ = call(
        "search",
        "digits",
        *words,
        "--data.init-args.batch_size",
        32,
        "--random-baseline",
        "--branch-baseline",
        "--baselines",
    )
    assert code == 0
    found = yaml.safe_load(out)
    assert found["trials"] == 7
    assert found["max_macs"] == 1_500_000
    assert found["objectives"] == ["top1", "parameters"]
    shares = {"validation_share": 0.2, "test_share": 0.2}
    given = {"batch_size": 32, "seed": 0, **shares}
    assert found["data"] == {"class_path": "invnas.data.HardDigits", "init_args": given}
    assert found["random_baseline"] is found["branch_baseline"] is found["baselines"] is True
    assert found["recipe"]["epochs"] == yaml.safe_load(shipped("experiments")["digits"].read_text())["recipe"]["epochs"]
    (tmp_path / "again.yaml").write_text(out)
    assert call("search", tmp_path / "again.yaml", "--print_config")[1] == out


def test_options_win_over_the_file_wherever_they_stand(call: Call, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "trials: 9\nmax_macs: 30M\nrecipe: {epochs: 3, learning_rate: 1e-2}\n"
        "data: {class_path: invnas.data.Digits, init_args: {batch_size: 8, seed: 5}}\n"
        "sampler: evolution\nsampler_args: {population: 4}\n"
    )
    for words in (["search", path, "--trials", 2], ["search", "--trials=2", path]):
        found = yaml.safe_load(call(*words, "--max_macs=null", "--data.init_args.batch_size=16", "--print_config")[1])
        assert found["trials"] == 2
        assert found["max_macs"] is None
        assert found["recipe"]["epochs"] == 3
        assert found["recipe"]["learning_rate"] == 0.01
        assert found["data"]["init_args"]["batch_size"] == 16
        assert found["data"]["init_args"]["seed"] == 5
        assert found["sampler_args"] == {"population": 4}


@pytest.mark.parametrize(
    "name", ["Cifar", "invnas.data.Digits", "HardDigits", "invnas.data.HuggingFace", "invnas.data.folder.ImageFolder"]
)
def test_print_config_shows_each_default_of_a_source(call: Call, name: str) -> None:
    code, out, err = call("search", "--data.class_path", name, "--print_config")
    assert (code, err) == (0, "")
    kind = getattr(invnas.data, name.split(".")[-1])
    parameters = inspect.signature(kind).parameters.values()
    defaults = {one.name: one.default for one in parameters if one.default is not one.empty}
    assert yaml.safe_load(out)["data"]["init_args"] == defaults


def test_print_config_shows_the_defaults_of_an_own_data_module(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "def Mine(root, size=3, *, scale=0.5, names=('a', 'b'), act=print): ...\n"
    (tmp_path / "own_defaults.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    asked = ("search", "--data.class_path", "own_defaults.Mine", "--print_config")
    code, out, _ = call(*asked)
    assert code == 0
    assert out.startswith("# data.init_args needs `root`: own_defaults.Mine has no default for it\n")
    assert yaml.safe_load(out)["data"]["init_args"] == {"size": 3, "scale": 0.5, "names": ["a", "b"]}
    assert "#" not in call(*asked, "--data.init_args.root", "x")[1]
    (tmp_path / "leaves.py").write_text("import os; os._exit(0)")
    assert "class_path: leaves.Mine" in call("search", "--data.class_path", "leaves.Mine", "--print_config")[1]
    for missing in ("own_defaults.Other", "no_such_module.Mine", "Digitz", "nothing"):
        assert yaml.safe_load(call("search", "--data.class_path", missing, "--print_config")[1])["data"] == {
            "class_path": missing,
            "init_args": {},
        }


def test_print_config_shows_the_rate_of_the_optimizer(call: Call) -> None:
    shown = yaml.safe_load(call("search", "--recipe.optimizer", "adamw", "--print_config")[1])["recipe"]
    assert (shown["learning_rate"], shown["weight_decay"]) == (0.002, 0.05)
    words = ("--recipe.optimizer", "adamw", "--recipe.learning_rate", "0.01")
    assert yaml.safe_load(call("search", *words, "--print_config")[1])["recipe"]["learning_rate"] == 0.01


@pytest.mark.parametrize("name", ["digits", "cifar10", "imagenet", "ablation"])
def test_shipped_experiments_are_whole(call: Call, name: str) -> None:
    assert call("search", name, "--print_config")[0] == 0
    assert name in call("list")[1]


def test_without_an_experiment_the_defaults_count(call: Call) -> None:
    found = yaml.safe_load(call("search", "--print_config")[1])
    assert (found["space"], found["trials"]) == ("digits", 48)


def test_a_space_may_lie_beside_the_experiment(
    call: Call, tmp_path: Path, space: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (space.parent / "mine.yaml").write_text("space: my_space.py\n")
    monkeypatch.chdir(tmp_path)
    found = yaml.safe_load(call("search", space.parent / "mine.yaml", "--print_config")[1])
    assert found["space"] == str(space)


# Spaces.


def test_space_check(call: Call, space: Path) -> None:
    code, out, _ = call("space", "check", space, "--input", "1x8x8", "--max-macs", "100k")
    assert code == 0
    for words in (
        "my_space: 42 architectures, all of them looked at",
        "valid: 100 %",
        "within max_macs=100,000",
        "MACs",
    ):
        assert words in out
    found = json.loads(call("space", "check", space, "--input", "1x8x8", "--max-macs", "1G", "--json")[1])
    assert found["size"] == 42
    assert found["kept_share"] == 1
    assert found["macs"]["minimum"] <= found["macs"]["median"] <= found["macs"]["maximum"]
    huge = call("space", "check", "digits", "--input", "1x8x8")[1]
    assert re.search(r"digits: [\d,]{10,} \(about \d\.\de7\) architectures, 2,000 drawn uniformly", huge)
    assert "refused: " in huge
    low = "space", "check", "mobile", "--input", "3x8x8", "--classes", 3, "--max-macs"
    assert "none of those drawn, but the smallest, of 249,984 MACs\n" in call(*low, "0.3M")[1]
    assert "within max_macs=200,000: none of those drawn\n" in call(*low, "0.2M")[1]


def test_space_sample(call: Call, space: Path) -> None:
    words = ("space", "sample", space, "--number", 4, "--seed", 3)
    lines = call(*words, "--json")[1].splitlines()
    found = [json.loads(line) for line in lines]
    assert len(found) == 4
    assert all(set(one) == {"fingerprint", "kind", "architecture"} for one in found)
    readable = call(*words)[1]
    assert all(one["fingerprint"] in readable for one in found)
    assert readable == call(*words)[1]
    assert readable != call(*words, "--seed", 4)[1]


def test_space_show(call: Call, space: Path, tmp_path: Path) -> None:
    code, out, _ = call("space", "show", space)
    assert code == 0
    assert "stage 1: 8 channels" in out
    assert call("space", "show", space, "--out", tmp_path / "a.svg")[0] == 0
    assert (tmp_path / "a.svg").read_text().startswith("<svg")


# Runs.


def test_search_shows_the_front_and_writes_the_report(call: Call, searched: Path) -> None:
    run = Run.open(searched)
    assert [trial.state for trial in run.trials()] == ["complete"] * 3
    assert (searched / "report" / "index.html").is_file()
    code, out, err = call("report", searched)
    assert (code, err) == (0, "")
    knee = run.pick("knee")
    assert knee.measurement is not None
    for words in (f"{knee.number} (knee)", f"{knee.cost.macs:,}", "multiply-adds", "report: ", "test top-1"):
        assert words in out


def test_search_and_export_in_one_command(call: Call, space: Path, tmp_path: Path) -> None:
    words = ["--space", space, "--trials", 1, "--run-dir", tmp_path / "run", "--export", tmp_path / "model"]
    code, _, err = call("search", *words[:-2], "--with-preprocessing", *TINY)
    assert (code, "`with_preprocessing` is a file of an export: give its folder too, --export" in err) == (2, True)
    code, out, err = call("search", *words, "--with-preprocessing", "--json", *TINY)
    assert code == 0, err
    found = json.loads(out)  # progress is on standard error
    assert "search 1/1" in err
    assert found["trials"] == {"complete": 1, "stopped": 0, "failed": 0, "running": 0}
    assert [one["format"] for one in found["export"]] == ["onnx", "pt2", "safetensors", "onnx with preprocessing"]
    assert all(one["parity_error"] < 1e-4 and Path(one["path"]).is_file() for one in found["export"])
    assert Path(found["report"]).is_file()
    assert found["front"][0]["trial"] == found["knee"] == 0
    assert found["front"][0]["architecture"]["type"] == "HybridNet"
    assert Path(found["front"][0]["weights"]).is_file()
    assert 0 <= found["front"][0]["test_top1"] <= 1


def test_run_folder_gets_the_next_free_number(
    call: Call, space: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "my_space-1").mkdir(parents=True)
    code, out, _ = call("search", "--space", space, "--trials", 1, "--quiet", *TINY)
    assert code == 0
    assert "invnas resume runs/my_space-2 --trials +20" in out
    assert Run.open("runs/my_space-2").trials()


def test_resume_extends(call: Call, searched: Path) -> None:
    before = Run.open(searched).trials()
    code, out, err = call("resume", searched, "--trials", "+1", "--json")
    assert code == 0, err
    assert json.loads(out)["trials"]["complete"] == len(before) + 1
    assert Run.open(searched).trials()[: len(before)] == before


def test_export(call: Call, searched: Path, tmp_path: Path) -> None:
    code, out, _ = call("export", searched, "--pick", "trial=1", "--format", "safetensors,pt2", "--out", tmp_path / "m")
    assert code == 0
    assert "parity error" in out
    assert "exported trial 1" in out
    found = json.loads(call("export", searched, "--format", "safetensors", "--json")[1])
    assert found["trial"] == Run.open(searched).pick("knee").number
    assert found["files"][0]["path"] == str(searched / "export" / "model.safetensors")


def test_retrain(call: Call, searched: Path) -> None:
    code, out, err = call("retrain", searched, "--epochs", 1, "--seeds", 2, "--json")
    assert code == 0, err
    found = json.loads(out)
    assert len(found["test_top1"]) == 2
    assert min(found["test_top1"]) <= found["mean"] <= max(found["test_top1"])
    said = f"test top1 {found['mean']:.4f}, standard deviation {found['standard_deviation']:.4f}"
    assert said in call("retrain", searched, "--epochs", 1, "--seeds", 2)[1]
    alone = call("retrain", searched, "--epochs", 1, "--seeds", 1)[1]
    assert f"test top1 {found['test_top1'][0]:.4f}; how much seeds differ is unknown: it takes two" in alone
    alone = json.loads(call("retrain", searched, "--epochs", 1, "--seeds", 1, "--json")[1])
    assert alone["standard_deviation"] is None


def test_search_in_which_every_trial_fails_ends_with_1(call: Call, space: Path, tmp_path: Path) -> None:
    space = tmp_path / "broken.py"
    space.write_text(FAILS_IN_TRAINING)
    code, out, err = call("search", "--space", space, "--trials", 2, "--run-dir", tmp_path / "run", *TINY)
    assert code == 1
    assert out == ""
    assert err.splitlines()[-1].startswith(f"invnas: error: no trial of {tmp_path / 'run'} is complete")
    assert "RuntimeError: not while training" in err
    assert [trial.state for trial in Run.open(tmp_path / "run").trials()] == ["failed", "failed"]


def test_a_space_in_which_nothing_can_be_built_is_refused(call: Call, tmp_path: Path) -> None:
    space = tmp_path / "broken.py"
    space.write_text("def space(input_shape, classes, a=1):\n    raise RuntimeError('no network')\n")
    code, out, err = call("search", "--space", space, "--trials", 1, "--run-dir", tmp_path / "run", *TINY)
    assert (code, out) == (2, "")
    assert err.splitlines()[-1].startswith("invnas: error: ")
    assert "no network" in err


# Interruptions.


def slow(folder: Path, space: Path, trials: int, workers: int, epochs: int) -> list[Any]:
    return ["search", "--space", space, "--trials", trials, "--workers", workers, "--run-dir", folder,
            "--recipe.epochs", epochs, "--recipe.threads", 1, "--data.init_args.batch_size", 256]  # fmt: skip


@pytest.mark.parametrize(
    ("workers", "number"),
    [(1, signal.SIGINT), (1, signal.SIGHUP), (2, signal.SIGINT), (2, signal.SIGTERM)],
    ids=lambda value: getattr(value, "name", value),
)
def test_a_signal_stops_cleanly_and_resume_completes(
    call: Call, space: Path, tmp_path: Path, workers: int, number: signal.Signals
) -> None:
    """Ctrl-C, and what SLURM, `timeout` and a closed terminal send: kept, said, exit code 1, and no worker lives on."""
    folder = tmp_path / "run"
    child = start(*slow(folder, space, 4, workers, 4))
    wait_until(lambda: begun(folder) and any(trial.state == "complete" for trial in Run.open(folder).trials()), child)
    started = children(child.pid)
    assert len(started) >= (workers if workers > 1 else 0)
    child.send_signal(number)
    _, err = child.communicate(timeout=120)
    assert child.returncode == 1
    assert not [pid for pid in started if Path(f"/proc/{pid}").exists()]
    assert err.splitlines()[-1] == (f"invnas: stopped; what was trained is kept, continue with: invnas resume {folder}")
    assert "Traceback" not in err
    kept = [trial for trial in Run.open(folder).trials() if trial.state == "complete"]
    assert kept
    if number == signal.SIGHUP:  # with two, the test below resumes
        code, out, err = call("resume", folder, "--json")
        assert code == 0, err
        assert json.loads(out)["trials"] == {"complete": 4, "stopped": 0, "failed": 0, "running": 0}
        assert all(trial in Run.open(folder).trials() for trial in kept)


def children(pid: int) -> list[int]:
    """Return the processes that a process has started and that run."""
    listed = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(one) for one in listed.read_text().split()] if listed.is_file() else []


def last_epoch(folder: Path, number: int) -> int:
    """Return the epoch that the checkpoint of a running trial holds, from 0, or -1."""
    path = folder / "checkpoints" / str(number) / "last.ckpt"
    return int(torch.load(path, weights_only=False)["epoch"]) if path.is_file() else -1


def wait_for_orphans(folder: Path) -> None:
    """Wait until the workers of a killed search are gone: one may still be writing the checkpoint of its last epoch."""
    until = time.monotonic() + 120
    while _mentioned(str(folder).encode()) and time.monotonic() < until:
        time.sleep(0.05)


def _mentioned(words: bytes) -> bool:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # gone in between
            if words in path.read_bytes():
                return True
    return False


@pytest.mark.parametrize("workers", [1, 2])
def test_kill_9_continues_from_the_last_checkpoint(call: Call, space: Path, tmp_path: Path, workers: int) -> None:
    folder = tmp_path / "run"
    child = start(*slow(folder, space, 3, workers, 15), "--recipe.logger", "csv")

    def in_the_middle_of_a_later_trial() -> bool:
        trials = Run.open(folder).trials() if begun(folder) else ()
        running = [trial.number for trial in trials if trial.state == "running"]
        return len(running) < len(trials) and any(2 <= last_epoch(folder, number) < 10 for number in running)

    wait_until(in_the_middle_of_a_later_trial, child)
    child.kill()
    child.communicate()
    wait_for_orphans(folder)
    before = Run.open(folder).trials()
    kept = [trial for trial in before if trial.state == "complete"]
    reached = {trial.number: last_epoch(folder, trial.number) for trial in before if trial.state == "running"}
    assert kept
    assert max(reached.values()) >= 2
    shutil.rmtree(folder / "logs")  # what is logged from here on is what resume trained
    code, out, err = call("resume", folder, "--json")
    assert code == 0, err
    assert json.loads(out)["trials"] == {"complete": 3, "stopped": 0, "failed": 0, "running": 0}
    after = Run.open(folder).trials()
    assert all(trial in after for trial in kept)
    for number, epoch in reached.items():
        assert after[number].architecture == before[number].architecture
        if epoch == 14:  # killed after its last epoch, before it could tell: validated again and not trained
            continue
        rows = list(csv.DictReader((folder / "logs" / str(number) / "metrics.csv").read_text().splitlines()))
        assert int(rows[0]["epoch"]) == epoch + 1
        assert int(rows[-1]["epoch"]) == 14


def test_own_data_module_in_the_current_folder_is_found_by_the_installed_command(space: Path, tmp_path: Path) -> None:
    (tmp_path / "my_images.py").write_text("from invnas.data import Digits\n\nclass Mine(Digits): pass\n")
    # The first entry is the folder of the script, as it is for the `invnas` that pip installs.
    begin = "import sys; sys.path[0] = sys.prefix; from invnas.cli import main; sys.exit(main())"
    words = ["search", "--space", space, "--data.class_path", "my_images.Mine", "--trials", "1", "--quiet", *TINY]
    command = [sys.executable, "-c", begin, *map(str, words)]
    done = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
