"""Searches that start from weights that exist: where those may come from, and that nothing of it is lost on the way."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from search.cheap import SMALL
from torch import nn
from torch.nn import functional as F

from invnas.architecture import Architecture, Bottleneck, Convolution, HybridNet, PlainStem, Stage
from invnas.blocks import BasicBlock
from invnas.commands import confirm_front, resume_search, run_search
from invnas.dense import ConvolutionFPN, DenseNet, SemanticFPN
from invnas.engine.images import open_data
from invnas.errors import BadInput
from invnas.experiment import DataSource, Experiment, Recipe
from invnas.export import export
from invnas.facts import DataFacts
from invnas.init_from import pretrained_for
from invnas.nn import build
from invnas.pretrained import Pretrained, keys_of
from invnas.results import export_model, retrain, trained_network, write_report
from invnas.run import Run
from invnas.space import load_space
from invnas.tasks.segmentation.head import PixelScores

Call = Callable[..., tuple[int, str, str]]

DATA = DataSource("HardDigits", {"batch_size": 256})
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("space") / "small.py"
    path.write_text(SMALL)
    return path


@pytest.fixture(scope="module")
def asked(small: Path) -> Experiment:
    recipe = Recipe(epochs=1, learning_rate=0.3, threads=1)
    return Experiment(str(small), DATA, recipe, trials=3, sampler="branch-uniform", seed=2)


@pytest.fixture(scope="module")
def source(asked: Experiment, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_search(replace(asked, seed=1), tmp_path_factory.mktemp("source") / "run", quiet=True)


@pytest.fixture(scope="module")
def started(asked: Experiment, source: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("started") / "run"
    return run_search(replace(asked, init_from=str(source.folder)), folder, quiet=True)


def read(asked: Experiment, init_from: Path | str, **more: Any) -> Pretrained:
    facts = open_data(asked.data)[1]
    return pretrained_for(replace(asked, init_from=str(init_from), **more), load_space(asked.space), facts)[0]


def told(run: Run) -> list[tuple[Any, ...]]:
    found = []
    for trial in run.trials():
        assert trial.measurement is not None
        found.append((trial.architecture.fingerprint, trial.measurement.values, trial.measurement.inherited))
    return found


def same_weights(one: Run, other: Run) -> bool:
    numbers = [trial.number for trial in one.trials()]
    return all(
        torch.equal(value, theirs[name])
        for number in numbers
        for theirs in [load_file(other.weights_path(number))]
        for name, value in load_file(one.weights_path(number)).items()
    )


def test_a_run_gives_its_best_trial_or_the_one_that_is_named(asked: Experiment, source: Run) -> None:
    best = source.pick("best")
    found = read(asked, source.folder)
    assert found.origin == f"{source.folder}:trial={best.number}"
    theirs = load_file(source.weights_path(best.number))
    assert found.tensors.keys() == theirs.keys()
    assert all(torch.equal(found.tensors[name], value) for name, value in theirs.items())
    other = next(trial.number for trial in source.trials() if trial.number != best.number)
    assert read(asked, f"{source.folder}:trial={other}").origin.endswith(f"trial={other}")
    with pytest.raises(BadInput, match="cannot pick 'knees'; nearest: 'knee'"):
        read(asked, f"{source.folder}:knees")


def test_nothing_of_a_source_is_executed(asked: Experiment, source: Run, tmp_path: Path) -> None:
    copied = tmp_path / "copied"
    shutil.copytree(source.folder, copied)
    (copied / "space.py").write_text("raise SystemExit('executed')")
    assert read(asked, copied).keys == read(asked, source.folder).keys


def test_an_export_with_its_own_architecture_and_classes_is_the_same_function(
    asked: Experiment, source: Run, tmp_path: Path
) -> None:
    trial = source.pick("best")
    export_model(source, "best", ["safetensors"], tmp_path / "model")
    found, facts = read(asked, tmp_path / "model"), source.manifest.facts
    network = build(trial.architecture, facts.input_shape, asked.what.head(facts)).eval()
    assert found.fill(keys_of(trial.architecture, facts, asked.task), network) == 1.0
    images = torch.rand(4, *facts.input_shape)
    assert torch.equal(network(images), trained_network(source, trial)(images))
    weights = tmp_path / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\1")
    with pytest.raises(BadInput, match="checksum"):
        read(asked, tmp_path / "model")


class ResNet(nn.Module):
    """A ResNet as torchvision and timm name its parts, of few channels."""

    def __init__(self, deep: bool) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        for number, (inside, stride) in enumerate(((8, 1), (16, 2)), 1):
            blocks = [Block(inside, 16, stride, deep), Block(16, 16, 1, deep)]
            self.add_module(f"layer{number}", nn.Sequential(*blocks))
        self.fc = nn.Linear(16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        return self.layer2(self.layer1(x))  # type: ignore[operator]


class Block(nn.Module):
    def __init__(self, inside: int, outside: int, stride: int, deep: bool) -> None:
        super().__init__()
        middle = outside // 4 if deep else outside
        sizes = [(1, 1), (3, stride), (1, 1)] if deep else [(3, stride), (3, 1)]
        widths = [inside, *[middle] * (len(sizes) - 1), outside]
        self.steps = len(sizes)
        for i, (size, step) in enumerate(sizes, 1):
            self.add_module(f"conv{i}", nn.Conv2d(widths[i - 1], widths[i], size, step, size // 2, bias=False))
            self.add_module(f"bn{i}", nn.BatchNorm2d(widths[i]))
        shortcut = nn.Sequential(nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside))
        self.downsample = shortcut if stride > 1 or inside != outside else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x
        for i in range(1, self.steps + 1):
            y = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(y))
            y = F.relu(y) if i < self.steps else y
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


RESNET_SPACE = """
from invnas import BasicBlock, Bottleneck, Choice, Convolution, HybridNet, PlainStem, Stage
block = Choice(Bottleneck(Convolution(3), 4), BasicBlock())
space = HybridNet(PlainStem(8, 3, 1, False), [Stage(16, (block, block)), Stage(16, (block, block), 2)])
"""


@pytest.mark.parametrize("deep", [True, False])
@pytest.mark.parametrize("how", ["plain", "safetensors", "wrapped"])
def test_a_resnet_of_torchvision_names_computes_the_same(tmp_path: Path, deep: bool, how: str) -> None:
    torch.manual_seed(0)
    theirs, space, path = ResNet(deep), tmp_path / "space.py", tmp_path / "resnet.pth"
    space.write_text(RESNET_SPACE)
    theirs.train()(torch.rand(8, 1, 8, 8))  # other statistics than fresh ones
    state, names = theirs.state_dict(), {}
    if how == "safetensors":
        save_file(state, path := tmp_path / "resnet.safetensors")
    elif how == "wrapped":
        names = {"module.encoder.": ""}
        torch.save({"epoch": 3, "model": {f"module.encoder.{name}": value for name, value in state.items()}}, path)
    else:
        torch.save(state, path)
    asked = Experiment(str(space), DATA, init_from=str(path), init_names=names)
    found, said = pretrained_for(asked, load_space(space), DataFacts((1, 8, 8), 10))
    assert "64 drawn networks take" in said
    block = Bottleneck(Convolution(3), 4) if deep else BasicBlock()
    stages = (Stage(16, (block, block)), Stage(16, (block, block), 2))
    network = build(one := Architecture(HybridNet(PlainStem(8, 3, 1, False), stages)), (1, 8, 8), 10)
    share = found.fill(keys_of(one, DataFacts((1, 8, 8), 10), asked.task), network)
    head = 170 / sum(value.numel() for value in network.parameters())  # a file says no classes
    assert share == pytest.approx(1 - head)
    images = torch.rand(2, 1, 8, 8)
    torch.testing.assert_close(network.eval().features(images)[-1], theirs.eval()(images))  # type: ignore[operator]


class Runs:
    """What a pickle could do."""

    def __reduce__(self) -> Any:
        return os.abort, ()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def spoil(path: Path, name: str, source: Run) -> None:
    tensors = load_file(source.weights_path(source.pick("best").number))
    if name == "colour":
        tensors["stem.0.0.weight"] = torch.rand(8, 3, 3, 3)
    elif name == "nan":
        tensors["stem.0.1.bias"][0] = float("nan")
    elif name == "strange":
        tensors = {f"blocks.{i}.attn": torch.rand(2, i + 1) for i in range(5)}
    save_file(tensors, path)


@pytest.mark.parametrize(
    ("name", "more", "said"),
    [
        ("missing.pt", (), "there is no file or folder 'missing.pt'; weights are read, not downloaded"),
        ("empty", (), "'empty' is neither the folder of a run"),
        ("text.pt", (), "'text.pt' is no checkpoint"),
        ("text.safetensors", (), "'text.safetensors' is no checkpoint that can be read"),
        ("code.pt", (), "'code.pt' is no checkpoint that can be read without executing what is in it"),
        ("list.pt", (), "'list.pt' is no checkpoint: it holds list, not tensors by name"),
        ("none.pt", (), "'none.pt' is no checkpoint: it holds no tensors"),
        ("colour", (), "takes images of 3 channels, but those of HardDigits have 1"),
        ("nan", (), "`stem.0.1.bias` of nan.safetensors is not finite"),
        (
            "strange",
            (),
            "drawn): it holds `blocks.0.attn` (2 x 1), `blocks.1.attn` (2 x 2), `blocks.2.attn` (2 x 3), and such a "
            "network `stem.0.0.weight` (16 x 1 x 3 x 3), ",
        ),
        ("fine:knee", (), "only of a run a trial can be picked"),
        ("empty", ("--init_names", '{"a": "b"}'), "`init_names` is for the names in a file"),
        ("fine", ("--init_names", '{"stem.0.1.weight": "x", "stem.0.1.bias": "x"}'), "have one name"),
        ("fine", ("--init_names", '{"stem": 3}'), "`init_names` must map text to text, but 'stem' becomes 3"),
        ("", ("--init_names", '{"stem": "a"}'), "it needs `init_from`"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_trained(
    call: Call, asked: Experiment, source: Run, here: Path, name: str, more: Any, said: str
) -> None:
    Path("empty").mkdir()
    Path("text.pt").write_text("no weights")
    Path("text.safetensors").write_text("no weights")
    for path, held in (("code.pt", {"a": Runs()}), ("list.pt", [torch.rand(2)]), ("none.pt", {"epoch": 3})):
        torch.save(held, path)
    if name.split(":")[0] in ("colour", "nan", "strange", "fine"):
        spoil(Path(f"{name.split(':')[0]}.safetensors"), name, source)
        name = f"{name.split(':')[0]}.safetensors{name[name.index(':') :] if ':' in name else ''}"
    words = ("search", asked.space, "--data.class_path", "HardDigits", "--run-dir", "run", *more)
    code, _, err = call(*words, *(("--init-from", name) if name else ()))
    assert (code, Path("run").exists()) == (2, False), err
    assert said in err
    assert "Traceback" not in err


def test_a_search_records_what_each_trial_inherited(started: Run, source: Run, call: Call) -> None:
    origin = f"{source.folder}:trial={source.pick('best').number}"
    assert started.experiment.init_from == origin == Run.open(started.folder).experiment.init_from
    shares = [trial.measurement.inherited for trial in started.trials() if trial.measurement is not None]
    assert len(shares) == 3
    assert max(share or 0 for share in shares) > 0
    page = write_report(started).read_text()
    assert "Trainings started from the weights of" in page
    head, *rows = (started.folder / "report" / "trials.csv").read_text().splitlines()
    column = head.split(",").index("inherited")
    assert [float(row.split(",")[column]) for row in rows] == shares
    pytest.importorskip("pandas")
    assert started.trials_frame()["inherited"].tolist() == shares


def test_without_it_nothing_of_it_is_written(source: Run) -> None:
    assert "init_from" not in (source.folder / "run.json").read_text()
    assert "inherited" not in (source.folder / "journal.log").read_text()
    write_report(source)
    assert "inherited" not in (source.folder / "report" / "trials.csv").read_text().splitlines()[0]
    assert not (source.folder / "pretrained.safetensors").exists()


def test_workers_and_a_source_that_is_gone_change_nothing(
    asked: Experiment, started: Run, source: Run, tmp_path: Path
) -> None:
    copied = tmp_path / "source"
    shutil.copytree(source.folder, copied)
    one = run_search(replace(asked, init_from=str(copied), trials=1), tmp_path / "one", quiet=True)
    shutil.rmtree(copied)
    assert told(resume_search(one.folder, trials=2, quiet=True)) == told(started)[:2]
    more = resume_search(one.folder, trials=3, placed={"workers": 2}, quiet=True)
    assert told(more) == told(started)
    assert same_weights(more, started)


def test_without_its_copy_a_search_stops_and_blames_no_trial(call: Call, started: Run, tmp_path: Path) -> None:
    shutil.copytree(started.folder, tmp_path / "run")
    (tmp_path / "run" / "pretrained.safetensors").unlink()
    code, _, err = call("resume", tmp_path / "run", "--trials", "+1", "--quiet")
    assert code == 1
    assert "pretrained.safetensors: without it trainings would start otherwise" in err
    assert [trial.state for trial in Run.open(tmp_path / "run").trials()] == ["complete"] * 3 + ["running"]


def test_further_seeds_and_retrainings_start_there_too(started: Run, tmp_path: Path) -> None:
    shutil.copytree(started.folder, tmp_path / "run")
    run = Run.open(tmp_path / "run")
    confirm_front(run.folder, 1, quiet=True)
    by = {trial.architecture.fingerprint: trial.measurement for trial in run.trials("search")}
    further = Run.open(run.folder).trials("confirm")
    assert further
    for trial in further:
        assert trial.measurement is not None
        assert trial.measurement.inherited == by[trial.architecture.fingerprint].inherited  # type: ignore[union-attr]
    number = max(run.trials("search"), key=lambda t: t.measurement.inherited or 0).number  # type: ignore[union-attr]
    retrain(run.folder, f"trial={number}", seeds=3, quiet=True)  # the last seed is that of the search
    (weights,) = run.folder.glob("retrain/*/seed2.safetensors")
    searched = load_file(run.weights_path(number))
    assert all(torch.equal(value, searched[name]) for name, value in load_file(weights).items())
    (tmp_path / "run" / "pretrained.safetensors").unlink()
    with pytest.raises(BadInput, match="without it trainings would start otherwise"):
        retrain(run.folder, f"trial={number}", 2, 1, quiet=True)


def test_a_kill_costs_nothing(asked: Experiment, source: Run, tmp_path: Path) -> None:
    experiment = replace(asked, init_from=str(source.folder), trials=2, recipe=replace(asked.recipe, epochs=3))
    (tmp_path / "asked.json").write_text(json.dumps(experiment.to_dict()))
    code = (
        "import json, os, sys; from pathlib import Path; from threading import Thread; import time\n"
        "from invnas.commands import run_search; from invnas.experiment import Experiment\n"
        "def watch():\n"
        "    while not Path('run/checkpoints/1/last.ckpt').is_file(): time.sleep(0.001)\n"
        "    os.kill(os.getpid(), 9)\n"
        "Thread(target=watch, daemon=True).start()\n"
        "run_search(Experiment.from_dict(json.load(open('asked.json'))), 'run', quiet=True)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=ENVIRONMENT).returncode == -9
    assert [trial.state for trial in Run.open(tmp_path / "run").trials()] == ["complete", "running"]
    resumed = resume_search(tmp_path / "run", quiet=True)
    whole = run_search(experiment, tmp_path / "whole", quiet=True)
    assert told(resumed) == told(whole)
    assert same_weights(resumed, whole)


SCENES = {"channels": 1, "images": 24, "image_size": 32, "batch_size": 8}
SCENERY = DataFacts((1, 32, 32), 11, tuple(f"class {i}" for i in range(11)))


def dense(asked: Experiment, backbone: Any, folder: Path) -> Experiment:
    """Return a search of necks over a backbone, on scenes."""
    path = folder / "dense.py"
    path.write_text(
        f"from invnas import *\nspace = DenseNet({backbone!r}, Choice(ConvolutionFPN(8), ConvolutionFPN(12)), "
        "SemanticFPN(8))"
    )
    source = DataSource("Scenes", SCENES)
    return replace(asked, space=str(path), task="segmentation", objectives=("miou", "macs"), data=source)


def of_scenes(experiment: Experiment, start: Path, facts: DataFacts = SCENERY) -> Pretrained:
    return pretrained_for(replace(experiment, init_from=str(start)), load_space(experiment.space), facts)[0]


@pytest.mark.parametrize("kind", ["run", "export", "file"])
def test_weights_of_a_classifier_are_those_of_a_backbone_for_segmentation(
    asked: Experiment, source: Run, tmp_path: Path, kind: str
) -> None:
    trial = source.pick("best")
    theirs, start = load_file(source.weights_path(trial.number)), source.folder
    if kind != "run":
        start = export_model(source, "best", ["safetensors"], tmp_path / "model")
    if kind == "file":
        start = start / "model.safetensors"
    body: Any = trial.architecture.network
    found = of_scenes(experiment := dense(asked, body, tmp_path), start)
    architecture = Architecture(DenseNet(body, ConvolutionFPN(12), SemanticFPN(8)))
    network = build(architecture, SCENERY.input_shape, experiment.what.head(SCENERY))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    share = found.fill(keys_of(architecture, SCENERY, "segmentation"), network)
    inside = sum(value.numel() for name, value in network.named_parameters() if not name.startswith("head"))
    assert share == pytest.approx(inside / sum(value.numel() for value in network.parameters()))
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name] if name.startswith("head") else theirs[name]), name


def test_a_search_for_segmentation_starts_from_a_classifier(
    asked: Experiment, source: Run, call: Call, tmp_path: Path
) -> None:
    experiment = dense(asked, source.pick("best").architecture.network, tmp_path)
    given = [word for name, value in SCENES.items() for word in (f"--data.init_args.{name}", value)]
    words = ("search", experiment.space, "--task", "segmentation", "--objectives", "miou,macs", "--trials", 1)
    words = (*words, "--recipe.epochs", 1, "--data.class_path", "Scenes", *given, "--init-from", source.folder)
    code, _, err = call(
        *words, "--run-dir", tmp_path / "run", "--random_baseline", "false", "--branch_baseline", "false"
    )
    assert code == 0, err
    assert "drawn networks take" in err
    (trial,) = Run.open(tmp_path / "run").trials()
    assert trial.measurement is not None
    assert 0 < (trial.measurement.inherited or 0) < 1


def test_what_does_not_fit_a_search_for_segmentation_is_refused(asked: Experiment, source: Run, tmp_path: Path) -> None:
    same = dense(asked, source.pick("best").architecture.network, tmp_path)
    with pytest.raises(BadInput, match=r"takes images of 1 channel, but those of .*Scenes have 3"):
        of_scenes(same, source.folder, DataFacts((3, 32, 32), 11))
    other = HybridNet(PlainStem(4, 5, 2, False), (Stage(20, (BasicBlock(),)),))
    with pytest.raises(
        BadInput, match=r"nothing in .* fits a network of the space dense .*: it holds `[^`]+`.* and such"
    ):
        of_scenes(dense(asked, other, tmp_path), source.folder)


@pytest.mark.parametrize("kind", ["file", "export"])
def test_a_dense_network_for_other_classes_gives_all_but_its_scores(
    asked: Experiment, tmp_path: Path, kind: str
) -> None:
    body = HybridNet(PlainStem(8, 3, 2, False), (Stage(8, (BasicBlock(),)),))
    architecture, shape = Architecture(DenseNet(body, ConvolutionFPN(8), SemanticFPN(8))), (1, 32, 32)
    start = tmp_path / "model"
    # As many classes, so that shapes agree: they are others.
    names = [f"other {i}" for i in range(11)]
    network = build(architecture, shape, PixelScores(11))
    export(network, architecture, shape, 11, start, ["safetensors"], class_names=names, task="segmentation")
    if kind == "file":
        start = start / "model.safetensors"
    found = of_scenes(dense(asked, body, tmp_path), start)
    shapes = {name: tuple(one.shape) for name, one in network.state_dict().items()}
    taken = found.chosen(keys_of(architecture, SCENERY, "segmentation"), shapes)
    assert set(taken) == {"stem", "stages.0.0", "head.neck"}
