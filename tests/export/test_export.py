from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from export_cases import ALL, DIGITS, ODD, WEIGHTS, Forgetful, Moody, images, scores, trained

from invnas.errors import BadInput, InvnasError, MissingExtra
from invnas.export import ExportMismatch, export, load_model
from invnas.export.description import FILE
from invnas.nn import build
from invnas.space import Space


def test_an_unknown_format_names_the_nearest(tmp_path: Path) -> None:
    network = build(DIGITS, (1, 8, 8), 10)
    for formats, said in ((("onx",), "unknown export format 'onx'; nearest: 'onnx'"), ((), "names no format")):
        with pytest.raises(BadInput, match=said):
            export(network, DIGITS, (1, 8, 8), 10, tmp_path / "out", formats)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_extra_is_named_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtra, match=r"onnxruntime.*invnas\[onnx\]"):
        export(build(DIGITS, (1, 8, 8), 10), DIGITS, (1, 8, 8), 10, tmp_path / "out", ALL)
    assert list(tmp_path.iterdir()) == []


def test_a_previous_export_is_replaced_whole(copy: Path) -> None:
    network = trained(ODD, (3, 9, 7), 4)
    (copy / "model.onnx").write_text("of an export with more formats")
    export(network, ODD, (3, 9, 7), 4, copy, WEIGHTS)
    assert {path.name for path in copy.iterdir()} == {"README.md", FILE, "preprocess.json", "model.safetensors"}
    x = images((3, 9, 7), 2)
    assert np.array_equal(scores(load_model(copy), x), scores(network, x))
    assert {path.name for path in copy.parent.iterdir()} == {"out"}


def test_an_export_is_on_the_disk_before_it_replaces_another(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    rename = os.rename
    monkeypatch.setattr("invnas.export.folder.sync", lambda path: done.append(path.name))
    monkeypatch.setattr(os, "rename", lambda a, b: (done.append("rename"), rename(a, b))[1])
    export(trained(DIGITS, (1, 8, 8), 10), DIGITS, (1, 8, 8), 10, copy, WEIGHTS)
    assert sorted(done[:-2]) == sorted(["README.md", FILE, "preprocess.json", "model.safetensors"])
    assert done[-2:] == ["rename", "rename"]


def test_other_files_are_never_replaced(copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = build(DIGITS, (1, 8, 8), 10)
    (copy / "notes.txt").write_text("mine")
    foreign, file = tmp_path / "foreign", tmp_path / "file"
    foreign.mkdir()
    (foreign / "README.md").write_text("mine")
    file.write_text("mine")
    for folder, said in (
        (copy, "`notes.txt`"),
        (foreign, "`README.md`"),
        (file, "is a file"),
        (file / "out", "cannot be written"),
    ):
        with pytest.raises(BadInput, match=said):
            export(network, DIGITS, (1, 8, 8), 10, folder, WEIGHTS)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(BadInput, match="current folder"):
        export(network, DIGITS, (1, 8, 8), 10, ".", WEIGHTS)
    assert {path.name for path in tmp_path.iterdir()} == {"out", "foreign", "file", "here"}
    assert (copy / "notes.txt").read_text() == (foreign / "README.md").read_text() == file.read_text() == "mine"


def test_a_mismatch_fails_and_keeps_what_was_there(copy: Path) -> None:
    before = {path.name: path.read_bytes() for path in copy.iterdir()}
    architecture = Space(lambda: Forgetful()).resolve(lambda path, choice: 0)
    with pytest.raises(ExportMismatch, match="the safetensors file differs from the network"):
        export(build(architecture, (1, 2, 2), 2), architecture, (1, 2, 2), 2, copy, WEIGHTS)
    assert {path.name: path.read_bytes() for path in copy.iterdir()} == before
    assert {path.name for path in copy.parent.iterdir()} == {"out"}
    assert not issubclass(ExportMismatch, BadInput)


def test_a_network_that_cannot_be_traced_is_one_sentence(tmp_path: Path) -> None:
    architecture = Space(lambda: Moody()).resolve(lambda path, choice: 0)
    with pytest.raises(InvnasError, match="cannot trace the network") as raised:
        export(build(architecture, (1, 2, 2), 2), architecture, (1, 2, 2), 2, tmp_path / "out", ("pt2",))
    assert "\n" not in str(raised.value)
    assert not isinstance(raised.value, BadInput)
    assert list(tmp_path.iterdir()) == []


def test_a_network_of_another_input_or_output_is_refused(tmp_path: Path) -> None:
    architecture = Space(lambda: Forgetful()).resolve(lambda path, choice: 0)
    for shape, classes, said in (
        ((1, 3, 3), 2, "does not take images"),
        ((1, 2, 2), 3, "one score for each of 3 classes"),
    ):
        with pytest.raises(BadInput, match=said) as raised:
            export(build(architecture, shape, classes), architecture, shape, classes, tmp_path / "out", WEIGHTS)
        assert "\n" not in str(raised.value)


def test_a_network_that_does_not_fit_or_has_diverged_is_refused(tmp_path: Path) -> None:
    network = trained(DIGITS, (1, 8, 8), 10)
    for shape, classes, said in (
        ((3, 8, 8), 10, "not of the given architecture"),
        ((1, 8, 8), 9, "not of the given architecture"),
        ((1, 8), 10, "`input_shape` must be"),
    ):
        with pytest.raises(BadInput, match=said):
            export(network, DIGITS, shape, classes, tmp_path / "out", WEIGHTS)  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="not of the given architecture"):
        export(network, ODD, (1, 8, 8), 10, tmp_path / "out", ("pt2",))
    with torch.no_grad():
        network.head[2].bias.fill_(torch.nan)
    with pytest.raises(BadInput, match="not finite"):
        export(network, DIGITS, (1, 8, 8), 10, tmp_path / "out", WEIGHTS)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("failing", [{1}, {2}, {2, 3}, {1, 2, 3}])
def test_a_previous_export_outlives_every_failing_rename(
    copy: Path, monkeypatch: pytest.MonkeyPatch, failing: set[int]
) -> None:
    before = {path.name: path.read_bytes() for path in copy.iterdir()}
    network, rename, calls = trained(ODD, (3, 9, 7), 4), os.rename, []

    def torn(source: str | Path, target: str | Path) -> None:
        if Path(source).suffix == ".part":  # a file inside, on its way
            return rename(source, target)
        calls.append(source)
        if len(calls) in failing:
            raise OSError(errno.EIO, "Input/output error")
        return rename(source, target)

    monkeypatch.setattr(os, "rename", torn)
    monkeypatch.setattr(os, "replace", torn)
    with pytest.raises(BadInput, match=r"cannot be written to .*Input/output error") as raised:
        export(network, ODD, (3, 9, 7), 4, copy, WEIGHTS)
    kept = copy if copy.exists() else Path(str(raised.value).split("it lies in '")[1].rstrip("'"))
    assert {path.name: path.read_bytes() for path in kept.iterdir()} == before
    assert [path.name for path in copy.parent.iterdir()] == [kept.name]
    assert (kept == copy) == (failing != {2, 3})


def test_the_card_counts_stages_from_one_as_the_report_does(copy: Path) -> None:
    text = (copy / "README.md").read_text()
    assert "- stage 1 (width" in text
    assert "stage 0" not in text
