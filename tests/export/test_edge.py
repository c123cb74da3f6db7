"""ExecuTorch programs and OpenVINO's form: parity in their own runtimes, the lines of the card, int8."""

from __future__ import annotations

import re
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from export_cases import KERNELS, ODD, images, trained
from PIL import Image

from invnas import Bottleneck, HybridNet, Involution, PlainStem, Preprocessing, Stage, fold, load_model
from invnas.architecture import Architecture
from invnas.errors import BadInput, MissingExtra
from invnas.export import Exported, export
from invnas.export.graphs import GRAPHS
from invnas.export.int8 import Judges
from invnas.export.parity import truth_of
from invnas.latency.runner import openvino_core

executorch = pytest.mark.skipif(
    any(find_spec(name) is None for name in GRAPHS["pte"].packages), reason="executorch is not installed"
)
openvino = pytest.mark.skipif(
    any(find_spec(name) is None for name in GRAPHS["openvino"].packages), reason="openvino is not installed"
)
EDGE = [pytest.param("pte", marks=executorch), pytest.param("openvino", marks=openvino)]

#: As few nodes as can be, since ExecuTorch takes seconds for each dozen.
SMALL = Architecture(HybridNet(PlainStem(4, 3, 2, False), (Stage(8, (Bottleneck(Involution(3, 4, 2), 2),)),)))
HOW = Preprocessing((9, 7), 3, 0.875, (0.4, 0.5, 0.6), (0.2, 0.25, 0.3))
NAMES = tuple("abcdefghij")


def check(name: str, architecture: Architecture, shape: tuple[int, int, int], folder: Path, *batches: int) -> None:
    network = trained(architecture, shape, 10).eval()
    truth = truth_of(network, [images(shape, batch) for batch in batches])
    GRAPHS[name].write(fold(network), images(shape, 2), folder / GRAPHS[name].file)
    assert truth.error(GRAPHS[name].run(folder / GRAPHS[name].file, truth.images)) <= truth.limit


@pytest.mark.parametrize("name", EDGE)
def test_scores_are_those_of_the_network_at_224(name: str, tmp_path: Path) -> None:
    check(name, SMALL, (3, 224, 224), tmp_path, 1, 2)


@openvino
@pytest.mark.parametrize(("architecture", "shape"), [(ODD, (3, 9, 7)), (KERNELS, (2, 11, 10))])
def test_openvino_takes_every_operator_and_any_batch(
    architecture: Architecture, shape: tuple[int, int, int], tmp_path: Path
) -> None:
    check("openvino", architecture, shape, tmp_path, 1, 2, 5)


class Made:
    """A small network for images of odd sides in both forms, with an int8 program; judged by what float says."""

    def __init__(self, formats: tuple[str, ...], folder: Path) -> None:
        network, shown = trained(SMALL, (3, 9, 7), 10), images((3, 9, 7), 48)
        with torch.no_grad():
            labels = network.eval()(shown).argmax(1)
        self.judges = Judges([(shown.contiguous(memory_format=torch.channels_last), labels)], max_drop=0)
        judges = self.judges if "pte" in formats else None
        asked = (network, SMALL, (3, 9, 7), 10, folder, (*formats, "safetensors"))
        self.folder = folder
        self.exported: dict[str, Exported] = {
            one.format: one for one in export(*asked, class_names=NAMES, preprocessing=HOW, judges=judges)
        }


@pytest.fixture(scope="module", params=EDGE)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made((request.param,), tmp_path_factory.mktemp("edge") / "out")


def test_the_lines_of_the_card_give_what_predict_gives(
    made: Made, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any
) -> None:
    rng, paths = np.random.default_rng(0), [tmp_path / f"{number}.png" for number in range(8)]
    for path in paths:
        pixels = rng.integers(0, 256, 3) + rng.normal(0, 20, (*rng.integers(7, 60, 2), 3))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)
    wanted = load_model(made.folder).predict(paths)
    assert len({one.name for one in wanted}) > 1
    if "openvino" in made.exported:  # two cores of these lines, let go in any order, would be a trap for later tests
        monkeypatch.setattr("openvino.Core", openvino_core)
    codes = re.findall(r"```python\n(.*?)```", (made.folder / "README.md").read_text(), re.DOTALL)
    monkeypatch.chdir(made.folder)
    for (name, entry), code in zip(made.exported.items(), codes, strict=True):
        code, near = code.replace("photo.jpg", str(paths[0])), 0.05 if name == "int8 pte" else 1e-5
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what the runtimes say about themselves
            exec(code, {})
            assert capsys.readouterr().out.strip() == wanted[0].name
            if name == "safetensors":
                continue
            assert f'"{entry.path.name}"' in code
            names: dict[str, Any] = {"torch": torch}
            exec(code.replace("return names[int(scores.argmax())]", "return torch.as_tensor(scores)"), names)
        capsys.readouterr()
        for path, one in zip(paths, wanted, strict=True):
            found = names["classify"](path)[0].softmax(0).tolist()
            assert found == pytest.approx(one.probabilities, abs=near)


@pytest.mark.parametrize("made", EDGE[:1], indirect=True)
def test_an_int8_program_is_judged_beside_the_float_one(made: Made) -> None:
    found = made.exported["int8 pte"]
    assert found.said.startswith("int8 pte: accuracy ")
    assert "where float has 1.0000 on 48 validation images" in found.said
    assert found.said in (made.folder / "README.md").read_text()
    after = float(found.said.split("accuracy ")[1].split()[0])
    assert after > 0.7
    assert (after < 1) == ("loses more than 0 percentage points" in found.said)
    # A rounding to 8 bits, and no more than that.
    assert 1e-4 < found.parity_error < 0.2


@pytest.mark.parametrize(("name", "package"), [("pte", "executorch"), ("openvino", "openvino")])
def test_a_missing_runtime_is_named_before_anything_is_written(
    name: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("invnas.export.graphs.find_spec", lambda wanted: None if wanted == package else wanted)
    with pytest.raises(MissingExtra, match=rf"`{package}`.*invnas\[{package}\]"):
        export(trained(SMALL, (3, 9, 7), 10), SMALL, (3, 9, 7), 10, tmp_path / "out", ("pt2", name))
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_format_names_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"'ptee'; nearest: 'pte'; valid: onnx, pt2, pte, openvino, safetensors"):
        export(trained(SMALL, (3, 9, 7), 10), SMALL, (3, 9, 7), 10, tmp_path / "out", ("ptee",))
