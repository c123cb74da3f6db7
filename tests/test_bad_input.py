"""Bad input, one by one: one sentence, exit code 2, nothing lost."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from invnas import load_model
from invnas.cli import main
from invnas.errors import BadInput
from invnas.manifest import FORMAT
from invnas.run import Run

#: Three architectures, of which the one of width 3 fails in training.
SPACE = """
from torch import nn
from invnas import Choice
from invnas.nn import Involution2d

class Net(nn.Sequential):
    def forward(self, images):
        if self[0].out_channels == 3 and images.device.type != "meta":
            raise RuntimeError("three is a bad number")
        return super().forward(images)

def space(input_shape, classes, width=Choice(2, 3, 4)):
    layers = [nn.Conv2d(input_shape[0], width, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return Net(*layers, nn.Linear(width, classes))
"""
NET = """
from invnas import Bottleneck, Choice, Convolution, HybridNet, Involution, PlainStem, Repeat, Stage
spatial = {spatial}
space = HybridNet(PlainStem(8, 3, 1, False), [Stage(8, Repeat(Bottleneck(spatial, 2), times=1))])
"""
TINY = ["--recipe.epochs", "1", "--recipe.threads", "1", "--data.init_args.batch_size", "256", "--quiet"]
HELD = ("lock", "holder")
Refused = Callable[..., str]


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Refused:
    """Return a call of the command line that asserts a refusal and returns its sentence."""

    def call(*words: Any) -> str:
        capsys.readouterr()
        code = main([str(word) for word in words])
        out, err = capsys.readouterr()
        assert (code, out) == (2, ""), err
        assert err.startswith("invnas: error: ")
        assert err.count("\n") == 1
        assert "Traceback" not in err
        return err.removeprefix("invnas: error: ")

    return call


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name not in HELD}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    (folder / "three.py").write_text(SPACE)
    words = ["search", "--space", str(folder / "three.py"), "--trials", "3", "--run-dir", str(folder / "run"), *TINY]
    assert main(words) == 0
    return folder / "run"


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished, tmp_path / "run")


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


# Unknown words.


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["serch"], "unknown command 'serch'; nearest: 'search'"),
        (["space", "chek", "digits"], "unknown command 'space chek'; nearest: 'space check'"),
        (["search", "digitz"], "unknown name 'digitz' in experiments; nearest: 'digits'"),
        (["search", "hybrid_cifar"], "it is a search space, which an experiment names: --space hybrid_cifar"),
        (["search", "nothing.yaml"], "there is no file 'nothing.yaml'"),
        (["search", "--trails", "3"], "unknown option '--trails'; nearest: '--trials'"),
        (["search", "--recipe.epoch=3"], "unknown option '--recipe.epoch'; nearest: '--recipe.epochs'"),
        (["search", "digits", "twice"], "unexpected word 'twice'"),
        (
            ["search", "--data.class_path.help", "a"],
            "unknown option '--data.class_path.help'; nearest: '--data.class_path'",
        ),
        (["search", "--trials.x=3"], "unknown option '--trials.x'; nearest: '--trials'"),
        (["search", "--sampler", "tpee"], "unknown sampler 'tpee'; nearest: 'tpe'"),
        (["search", "--sampler", "random", "--sampler_args.n", "3"], "the sampler random has no argument 'n'"),
        (["search", "--sampler", "known-cost", "--warm-start", "nowhere"], "nowhere is not a run folder"),
        (["search", "--sampler", "tpe", "--warm-start", "x"], "`warm_start` is for the sampler known-cost"),
        (["search", "--stopper", "halvin"], "unknown stopper 'halvin'; nearest: 'halving'"),
        (
            ["search", "--stopper", "halving", "--stopper_args.eta", "1"],
            "`stopper_args.eta` must be at least 2, but got 1",
        ),
        (["search", "--stopper", "halving", "--stopper_args.rate", "1"], "the stopper halving has no argument 'rate'"),
        (["search", "--stopper", "halving", "--recipe.epochs", "1"], "halving has no epoch to judge at"),
        (["search", "--objectives", "top1,marcs"], "unknown objective 'marcs'; nearest: 'macs'"),
        (["search", "--objectives", "top1"], "`objectives` must name two or three different objectives"),
        (["search", "--space", "digit"], "unknown name 'digit' in search_spaces; nearest: 'digits'"),
        (["search", "--data.class_path", "invnas.data.Digitz"], "nearest: 'Digits'"),
        (["search", "--data.init_args.batch", "3"], "takes no argument `batch`; nearest: 'batch_size'"),
        (["space", "check", "nothing.py", "--input", "1x8x8"], "there is no file 'nothing.py'"),
        (["resume"], "`run` is missing; see invnas resume --help"),
        (["space", "check", "digits"], "`input` is missing; see invnas space check --help"),
    ],
)
def test_unknown_or_missing_word(refused: Refused, words: list[str], sentence: str) -> None:
    assert sentence in refused(*words)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("trails: 3", "unknown key 'trails' in {}; nearest: 'trials'; valid: space, data,"),
        ("recipe: {epoch: 3}", "unknown key 'recipe.epoch' in {}; nearest: 'recipe.epochs'"),
        ("data: {path: x}", "unknown key 'data.path' in {}; nearest: 'data.class_path'"),
        ("3: 4", "unknown key '3' in {}"),
        ("trials: many", "{}: `trials` must be a whole number, but got 'many'"),
        ("trials: 2.5", "{}: `trials` must be a whole number, but got '2.5'"),
        ("trials: 0", "{}: `trials` must be at least 1, but got 0"),
        (
            "recipe: {optimizer: sgdd}",
            "{}: `recipe.optimizer` must be one of sgd, adamw, but got 'sgdd'; nearest: 'sgd'",
        ),
        ("recipe: 3", "{}: `recipe` must be a mapping"),
        ("data: {init_args: 3}", "{}: `data.init_args` must be a mapping"),
        ("max_macs: lots", "{}: `max_macs`: 'lots' is not a count: write a number, or a number with k, M or G"),
        ("max_macs: 0", "{}: `max_macs` must be positive"),
        ("- trials", "{}: the file must be a mapping"),
        ("", "{}: the file must be a mapping"),
        ("trials: 3\nspace: [digits\n", "{} is malformed YAML at line 3, column 1"),
        ("trials: 3\n\tspace: digits\n", "{} is malformed YAML at line 2"),
        ("trials: 3\ntrials: *x", "{} is malformed YAML at line 2"),
        (
            "trials: 3\nseed: 1\ntrials: 4",
            "{} is malformed YAML at line 3, column 1: the key 'trials' stands there twice",
        ),
        ("recipe: {epochs: 3, epochs: 4}", "{} is malformed YAML at line 1, column 21: the key 'epochs' stands there"),
    ],
)
def test_bad_experiment_file(refused: Refused, tmp_path: Path, text: str, sentence: str) -> None:
    path = written(tmp_path, "mine.yaml", text)
    assert sentence.format(path) in refused("search", path, "--run-dir", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_experiment_that_is_no_text(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_bytes(b"\xff\xfe\x00space")
    assert "is malformed YAML" in refused("search", tmp_path / "mine.yaml")
    (tmp_path / "folder.yaml").mkdir()
    assert "folder.yaml" in refused("search", tmp_path / "folder.yaml")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--trials", "0"], "`trials` must be at least 1, but got 0"),
        (["--trials", "many"], "`trials` must be a whole number, but got 'many'"),
        (["--trials"], "`trials` needs a value that is no option"),
        (["--workers", "-1"], "`workers` must be at least 1, but got -1"),
        (["--max-macs", "-3"], "`max_macs`: '-3' is not a count"),
        (["--recipe.epochs", "0"], "`recipe.epochs` must be at least 1"),
        (["--recipe.learning_rate", "fast"], "`recipe.learning_rate` must be a number or auto, but got 'fast'"),
        (["--data.init_args", '{"batch_size": 3'], "`data.init_args` must be a mapping"),
        (["--data.init_args.batch_size", "many"], "`batch_size` must be a whole number"),
        (["--recipe", '{"epoch": 3}'], "does not accept option 'epoch'"),
        (["--recipe.precision", "7"], "`recipe.precision` is '7'"),
        (["--baselines", "6"], "`baselines` stands alone, or with true or false, but got '6'"),
        (["--quiet=3"], "`quiet` stands alone, but got '3'"),
        (["--max-macs", "-5M"], "`max_macs` needs a value that is no option, but got '-5M'"),
        (["--engine", "raz"], "`engine` must be one of local, ray, but got 'raz'; nearest: 'ray'"),
    ],
)
def test_bad_value(refused: Refused, tmp_path: Path, words: list[str], sentence: str) -> None:
    assert sentence in refused("search", *words, "--run-dir", tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("shape", ["8x8", "1x8x8x8", "1x0x8", "axbxc", "1x-8x8", ""])
def test_bad_image_shape(refused: Refused, shape: str) -> None:
    assert "must be channels x height x width, such as 3x32x32" in refused("space", "check", "digits", "--input", shape)


# Spaces.


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("1 / 0", "{} raised ZeroDivisionError: division by zero"),
        ("import sys; sys.exit('no')", "{} called sys.exit('no')"),
        ("space = (", "{} raised SyntaxError"),
        ("import nothing_of_that_name", "{} raised ModuleNotFoundError: No module named 'nothing_of_that_name'"),
        ("x = 3", "{}: the file must define exactly one space, but it defines none"),
        ("", "{}: the file must define exactly one space, but it defines none"),
        (
            "from invnas import Space, Convolution\na, b = Space(Convolution(3)), Space(Convolution(5))",
            "{}: the file must define exactly one space, but it defines 2: a, b",
        ),
        ("space = 3", "{}: a space must be a network value or a function, but got 3"),
        ("space = 10**5000", "but got an int too long to be written"),
        (NET.format(spatial="Choice(Involution(3), Convolution(10**5000))"), "lie below 2**63"),
        (NET.format(spatial="Choice(10**5000, 3, 10**5000)"), "of a Choice too long to be written can both become"),
        (NET.format(spatial="Choice(Involution(3), Convolution(float('nan')))"), "numbers of a space must not be NaN"),
        (NET.format(spatial="Choice()"), "{}: "),
        (NET.format(spatial="Choice(Convolutoin(3))"), "{} raised NameError: name 'Convolutoin' is not defined"),
        (NET.format(spatial="Convolution(kernel=3)"), "{} raised TypeError"),
    ],
)
def test_bad_space_file(refused: Refused, tmp_path: Path, text: str, sentence: str) -> None:
    path = written(tmp_path, "mine.py", text)
    for words in (["search", "--run-dir", tmp_path / "run", "--space"], ["space", "sample"], ["space", "show"]):
        assert sentence.format(path) in refused(*words, path)
    assert sentence.format(path) in refused("space", "check", path, "--input", "1x8x8")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("spatial", "reason"),
    [
        ("Choice(Convolution(2), Convolution(4))", "`kernel_size` must be odd"),
        ("Choice('conv', 'involution')", "stands where a spatial operator is wanted"),
        ("Choice(Convolution(3, groups=3), Involution(3, group_channels=5))", "must divide the channels"),
    ],
)
def test_space_without_a_valid_architecture(refused: Refused, tmp_path: Path, spatial: str, reason: str) -> None:
    path = written(tmp_path, "mine.py", NET.format(spatial=spatial))
    for words in (["search", "--run-dir", tmp_path / "run", *TINY, "--space", path], ["space", "sample", path]):
        sentence = refused(*words)
        assert "no valid architecture" in sentence or "no architecture of the space mine is valid" in sentence
        assert reason in sentence
    assert reason in refused("space", "check", path, "--input", "1x8x8")


def test_space_of_a_single_point_is_trained_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path, "mine.py", NET.format(spatial="Convolution(3)"))
    words = ["search", "--space", str(path), "--trials", "5", "--run-dir", str(tmp_path / "run"), *TINY[:-1]]
    assert main(words) == 0
    out, err = capsys.readouterr()
    assert "Pareto front: 1 of 1" in out
    assert "all 1 valid architectures have been trained" in err
    assert len(Run.open(tmp_path / "run").trials()) == 1


@pytest.mark.parametrize(("cap", "unit"), [("max_macs", "MACs"), ("max_parameters", "parameters")])
def test_cap_that_excludes_everything_says_what_the_smallest_costs(
    refused: Refused, tmp_path: Path, cap: str, unit: str
) -> None:
    sentence = refused("search", "digits", f"--{cap}", 100, "--run-dir", tmp_path / "run")
    assert f"nothing in the space digits is within {cap}=100: of the smallest architecture, " in sentence
    assert f" {unit} are more than {cap}=100" in sentence
    assert not (tmp_path / "run").exists()


# Images with boxes; what else can be wrong in them is told in tests/data.


def test_annotations_that_cannot_be_read(refused: Refused, tmp_path: Path) -> None:
    words = ["search", "--space", "segmentation_small", "--task", "segmentation", "--objectives", "miou,macs"]
    words += ["--run-dir", str(tmp_path / "run"), "--data.init_args.root", str(tmp_path), "--data.class_path"]
    file = written(tmp_path, "annotations.json", "{}")
    assert refused(*words, "CocoFiles").startswith(f"'{file}' is no annotation file of COCO, which is an object with")
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
    (tmp_path / "images/a.png").touch()
    file = written(tmp_path / "labels", "a.txt", "2 0.5 0.5 0.1 0.1")
    written(tmp_path, "classes.txt", "bolt\nnut")
    assert (
        refused(*words, "BoxFolder")
        == f"line 1 of '{file}' has the class 2, but with 2 classes they are whole numbers in 0..1\n"
    )
    assert not (tmp_path / "run").exists()


# Run folders.


def test_foreign_run_folder(refused: Refused, tmp_path: Path, run: Path) -> None:
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    written(foreign, "thesis.tex", "years of work")
    before = contents(tmp_path)
    assert "is not empty and holds no run" in refused("search", "digits", "--run-dir", foreign)
    assert f"holds a run already: resume it (invnas resume {run})" in refused("search", "digits", "--run-dir", run)
    for command in ("resume", "report", "export", "retrain"):
        assert "is not a run folder: it has no run.json" in refused(command, foreign)
        assert "is not a run folder: there is no such folder" in refused(command, tmp_path / "nowhere")
    assert contents(tmp_path) == before


def test_run_folder_that_cannot_be_written(refused: Refused, tmp_path: Path) -> None:
    file = written(tmp_path, "file", "kept")
    for folder in (file, file / "run", Path("/proc/none/run")):  # not even root can
        assert f"cannot write the run folder {folder}" in refused("search", "digits", "--run-dir", folder)
    assert file.read_text() == "kept"


def test_export_folder_that_is_taken_is_refused_before_the_search(refused: Refused, tmp_path: Path) -> None:
    written(tmp_path, "thesis.tex", "years of work")
    sentence = refused("search", "digits", "--run-dir", tmp_path / "run", "--export", tmp_path)
    assert "is not empty and holds no export" in sentence
    assert not (tmp_path / "run").exists()


def test_export_to_a_foreign_folder(refused: Refused, tmp_path: Path, run: Path) -> None:
    file = written(tmp_path, "file", "kept")
    before = contents(tmp_path)
    for out in (file, file / "out", tmp_path):
        refused("export", run, "--format", "safetensors", "--out", out)
    assert contents(tmp_path) == before


def test_second_process_on_a_run(refused: Refused, run: Path) -> None:
    code = "import sys\nfrom invnas.run import Run\nwith Run.open(sys.argv[1]).locked(): print(1, flush=True); input()"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(
        [sys.executable, "-c", code, str(run)],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        before = contents(run)
        assert f"the run {run} is in use by process {other.pid}" in refused("resume", run, "--trials", "+1")
        assert contents(run) == before
        other.communicate("\n")
    assert other.returncode == 0


def test_corrupted_journal_line(refused: Refused, run: Path) -> None:
    path = run / "journal.log"
    lines = path.read_text().splitlines(keepends=True)
    lines[3] = lines[3][:20] + "\n"
    path.write_text("".join(lines))
    before = contents(run)
    for command in ("resume", "report", "export", "retrain"):
        assert f"line 4 of {path} is damaged" in refused(command, run)
    assert contents(run) == before


def test_tampered_architecture_in_the_journal(refused: Refused, run: Path) -> None:
    path = run / "journal.log"
    path.write_text(path.read_text().replace('"type":"space"', '"type":"spcae"', 1))
    before = contents(run)
    sentence = refused("resume", run)
    assert f"{path} is damaged: trial 0 cannot be read" in sentence
    assert "unknown type 'spcae'" in sentence
    assert contents(run) == before


def test_run_of_a_newer_format(refused: Refused, run: Path) -> None:
    path = run / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": FORMAT + 1}))
    before = contents(run)
    for command in ("resume", "report", "export", "retrain"):
        assert f"in format {FORMAT + 1}, but this invnas" in refused(command, run)
    assert contents(run) == before


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", f'{{"format": {FORMAT}, "experiment": {{"trails": 3}}}}'])
def test_malformed_run_json(refused: Refused, run: Path, text: str) -> None:
    (run / "run.json").write_text(text)
    before = contents(run)
    assert "run.json is malformed" in refused("resume", run)
    assert contents(run) == before


@pytest.mark.parametrize(
    ("trials", "sentence"),
    [
        ("0", "`trials` can only grow"),
        ("2", "`trials` can only grow"),
        ("+x", "'x' is not a count"),
        ("-4", "not a count"),
    ],
)
def test_resume_with_fewer_trials(refused: Refused, run: Path, trials: str, sentence: str) -> None:
    before = contents(run)
    assert sentence in refused("resume", run, f"--trials={trials}")
    assert contents(run) == before


# Exports.


@pytest.mark.parametrize(
    ("pick", "sentence"),
    [
        ("trial=99", "there is no trial 99"),
        ("kneee", "cannot pick 'kneee'; nearest: 'knee'"),
        ("max-macs=3", "no complete trial is within max-macs=3: the smallest has"),
    ],
)
def test_bad_pick(refused: Refused, run: Path, pick: str, sentence: str) -> None:
    for command in ("export", "retrain"):
        assert sentence in refused(command, run, "--pick", pick)


def test_export_of_a_failed_trial(refused: Refused, run: Path, tmp_path: Path) -> None:
    failed = next(trial.number for trial in Run.open(run).trials() if trial.state == "failed")
    sentence = refused("export", run, "--pick", f"trial={failed}", "--out", tmp_path / "out")
    assert f"trial {failed} is failed: RuntimeError: three is a bad number" in sentence
    assert not (tmp_path / "out").exists()


def test_unknown_export_format(refused: Refused, run: Path) -> None:
    assert "unknown export format 'onx'; nearest: 'onnx'" in refused("export", run, "--format", "pt2,onx")
    assert not (run / "export").exists()


def test_bad_numbers_of_retrain(refused: Refused, run: Path) -> None:
    assert "`seeds` must be at least 1" in refused("retrain", run, "--seeds", 0)
    for epochs in (-1, 0):
        assert "`recipe.epochs` must be at least 1" in refused("retrain", run, "--epochs", epochs)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def _other_shape(path: Path) -> None:
    save_file({name: value.repeat(2, *[1] * (value.dim() - 1)) for name, value in load_file(path).items()}, path)


@pytest.mark.parametrize("change", [_cut, _other_shape, Path.unlink, lambda path: path.write_bytes(b"pickle")])
def test_tampered_weights_of_a_run(refused: Refused, run: Path, tmp_path: Path, change: Callable[[Path], Any]) -> None:
    opened = Run.open(run)
    path = opened.weights_path(opened.pick("knee").number)
    change(path)
    before = contents(run)
    assert path.name in refused("export", run, "--format", "safetensors", "--out", tmp_path / "out")
    assert contents(run) == before
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("file", "change", "sentence"),
    [
        ("architecture.json", ('"width": ', '"width": 1'), "architecture.json"),
        ("architecture.json", ('"type": "space"', '"type": "spcae"'), "unknown type 'spcae'"),
        ("architecture.json", ('"width"', '"wdith"'), "unknown key 'wdith'"),
        ("architecture.json", ("{", ""), "is not valid JSON"),
        ("architecture.json", ('"format": 1', '"format": 2'), "a newer invnas wrote"),
        ("model.safetensors", None, "was changed after the export"),
    ],
)
def test_tampered_export(run: Path, file: str, change: tuple[str, str] | None, sentence: str) -> None:
    assert main(["export", str(run), "--format", "safetensors"]) == 0
    assert load_model(run / "export", space=run / "space.py")
    path = run / "export" / file
    if change is None:
        path.write_bytes(path.read_bytes()[:-1] + b"\x07")
    else:
        path.write_text(path.read_text().replace(*change, 1))
    with pytest.raises(BadInput, match=sentence):
        load_model(run / "export", space=run / "space.py")


# Missing extras.


@pytest.mark.parametrize(
    ("package", "words", "extra"),
    [
        ("onnx", ["export", "--format", "safetensors,onnx"], "onnx"),
        ("onnxruntime", ["export"], "onnx"),
        ("plotly", ["report"], "report"),
        ("matplotlib", ["report"], "report"),
    ],
)
def test_missing_extra(
    refused: Refused, run: Path, monkeypatch: pytest.MonkeyPatch, package: str, words: list[str], extra: str
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    assert f"pip install 'invnas[{extra}]'" in refused(words[0], run, *words[1:])
    assert not (run / "export").exists()


def test_search_without_the_report_extra_says_so_and_goes_on(
    tmp_path: Path, finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "plotly"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "plotly", None)
    space = finished.parent / "three.py"
    assert main(["search", "--space", str(space), "--trials", "2", "--run-dir", str(tmp_path / "run"), *TINY]) == 0
    out, err = capsys.readouterr()
    assert "no report: this needs the package `plotly`" in err
    assert "pip install 'invnas[report]'" in err
    assert "Pareto front" in out


# What is nobody's fault on the command line.


def test_internal_error_is_one_sentence_and_debug_shows_where(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> None:
        raise ValueError("a bug\nof ours")

    monkeypatch.setattr("invnas.cli.COMMANDS", {"list": broken})
    monkeypatch.delenv("INVNAS_DEBUG", raising=False)
    assert main(["list"]) == 1
    assert "internal error: ValueError: a bug of ours; INVNAS_DEBUG=1 shows where" in capsys.readouterr().err
    monkeypatch.setenv("INVNAS_DEBUG", "1")
    with pytest.raises(ValueError, match="a bug"):
        main(["list"])
