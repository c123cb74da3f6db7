from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from invnas import Experiment, backbone
from invnas.errors import BadInput
from invnas.export import load_model
from invnas.export.description import FILE, checksum
from invnas.init_from import _read
from invnas.profile import profile


def rewrite(folder: Path, change: Any) -> None:
    """Change the description as somebody who knows its checksum would."""
    data = json.loads((folder / FILE).read_text())
    change(data)
    if isinstance(data.get("architecture"), dict):
        data["architecture_sha256"] = checksum(data["architecture"])
    (folder / FILE).write_text(json.dumps(data))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d.update(format=2), "format 2, which a newer invnas wrote"),
        (lambda d: d.update(format="1"), "`format` in .* must be a whole number"),
        (lambda d: d.update(clases=3), "unknown key 'clases' in .*nearest: 'classes'"),
        (lambda d: d.pop("classes"), "the key 'classes' is missing"),
        (lambda d: d.update(classes=True), "`classes` in .* must be a whole number"),
        (lambda d: d.update(classes=11), "has shape .* but the network needs"),
        (lambda d: d.update(input_shape=[1, 8]), "`input_shape` in .* must be"),
        (lambda d: d.update(input_shape=[3, 8, 8]), "but the network needs"),
        (lambda d: d.update(class_names=["a"]), "one name for each class"),
        (lambda d: d.update(sha256=[]), "checksums by file name"),
        (lambda d: d.update(sha256={}), "with the format safetensors too"),
        (lambda d: d["architecture"].update(type="HybridNett"), "unknown type 'HybridNett'.*your own.*space"),
        (lambda d: d["architecture"]["stem"].update(widht=3), "unknown key 'widht' in PlainStem"),
        (lambda d: d["architecture"]["stem"].update(width="8"), "must be a whole number"),
        (lambda d: d["architecture"].pop("stages"), "the key 'stages' of HybridNet is missing"),
        (lambda d: d["architecture"].update(stages=5), "architecture.json: "),
        (lambda d: d["architecture"].update(stem="x"), "'x' stands where a stem is wanted"),
        (lambda d: d["architecture"]["stages"][0]["blocks"][0].update(expansion=3), "must divide"),
        (lambda d: d["architecture"]["stages"][0].update(width=16 * 10**5), "architecture.json: `width`"),
        (lambda d: d["architecture"]["stages"].pop(), "which the network has not|but the network needs"),
    ],
)  # fmt: skip
def test_a_tampered_description_is_one_sentence(copy: Path, change: Any, said: str) -> None:
    rewrite(copy, change)
    with pytest.raises(BadInput, match=said) as raised:
        load_model(copy)
    assert "\n" not in str(raised.value)


def test_a_change_that_fits_the_weights_is_seen_too(copy: Path) -> None:
    text = (copy / FILE).read_text()
    (copy / FILE).write_text(text.replace('"stride": 2', '"stride": 1'))
    with pytest.raises(BadInput, match="changed after the export"):
        load_model(copy)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "\udcff", "[" * 100_000])
def test_what_is_no_description_is_refused(copy: Path, text: str) -> None:
    (copy / FILE).write_text(text, errors="surrogateescape")
    with pytest.raises(BadInput, match=r"not valid JSON|must hold an object"):
        load_model(copy)


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    pick=st.integers(0, 10_000),
    value=st.sampled_from([None, True, -1, 0, 1, 3, 10**6, 1.5, float("nan"), "x", [], {}, [1], {"type": "Stage"}]),
)
def test_any_value_anywhere_loads_or_is_refused(saved: Path, copy: Path, pick: int, value: Any) -> None:
    places: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:
        for key in node if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ():
            places.append((node, key))
            walk(node[key])

    def change(data: Any) -> None:
        places.clear()
        walk(data)
        node, key = places[pick % len(places)]
        node[key] = value

    shutil.copy(saved / FILE, copy / FILE)
    rewrite(copy, change)
    try:
        said = "" if isinstance(load_model(copy), nn.Module) else "no network"
    except BadInput as error:
        said = str(error)
    assert "\n" not in said
    assert said != "no network"


@pytest.mark.parametrize("task", ["trap.Task", "os.abort"])
def test_a_task_of_its_own_is_not_imported_without_trust(
    copy: Path, task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (copy / "trap.py").write_text("open('executed', 'w')\nclass Task: pass\n")
    rewrite(copy, lambda data: data.update(task=task))
    monkeypatch.syspath_prepend(copy)
    monkeypatch.chdir(copy)
    starts: list[Any] = [
        load_model,
        backbone,
        profile,
        lambda folder: _read(Experiment(init_from=folder)),
    ]
    for start in starts:
        with pytest.raises(BadInput, match=f"has the task '{task}', which is code of its own"):
            start(str(copy))
    assert not Path("executed").exists()


def test_changed_weights_are_refused(copy: Path) -> None:
    path = copy / "model.safetensors"
    whole = path.read_bytes()
    for content in (whole[:-1] + bytes([whole[-1] ^ 1]), whole[:-9], b""):
        path.write_bytes(content)
        with pytest.raises(BadInput, match=r"checksum of .* differs"):
            load_model(copy)
    path.write_bytes(whole[:-9])
    rewrite(copy, lambda d: d["sha256"].update({path.name: checksum(path)}))
    with pytest.raises(BadInput, match="not a whole safetensors file"):
        load_model(copy)
    path.unlink()
    with pytest.raises(BadInput, match="there is no file of weights"):
        load_model(copy)


def test_a_folder_that_is_no_export_is_said(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(BadInput, match="is not an export of invnas"):
            load_model(folder)
