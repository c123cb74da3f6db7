from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from invnas.architecture import Architecture, Bottleneck, Convolution, HybridNet, Involution, PlainStem, Stage
from invnas.cost import cost
from invnas.errors import BadInput
from invnas.export import export
from invnas.latency.settings import Latency
from invnas.measurement import CONVENTIONS
from invnas.nn import build
from invnas.profile import profile
from invnas.zoo import NAMES, by_name, rednet

Call = Callable[..., tuple[int, str, str]]
SMALL = Architecture(HybridNet(PlainStem(8, 3, 1, False), (Stage(8, (Bottleneck(Involution(3, 2, 2), 2),), 2),)))
OWN = """
from dataclasses import dataclass
from torch import nn
from invnas import Bottleneck, Choice, HybridNet, PlainStem, Stage

@dataclass(frozen=True)
class Depthwise:
    size: int = 3

    def build(self, channels, stride):
        return nn.Conv2d(channels, channels, self.size, stride, self.size // 2, groups=channels)

space = HybridNet(PlainStem(8, 3, 1, False), [Stage(8, [Bottleneck(Depthwise(Choice(3, 5)), 2)])])
"""


def test_a_name_of_the_zoo_as_json(call: Call) -> None:
    code, out, err = call("profile", "rednet50", "--input", "3x224x224", "--json")
    assert (code, err) == (0, "")
    price = cost(rednet(50), (3, 224, 224), 1000)
    assert json.loads(out) == {
        "parameters": 15_540_806,
        "macs": price.macs,
        "activation_bytes": price.activation_bytes,
        "latency_ms": None,
    }
    found = json.loads(call("profile", "rednet50-stem7", "--convention", "published", "--json")[1])
    assert (found["parameters"], round(found["macs"] / 1e9, 2)) == (15_541_526, 2.71)


def test_a_table_for_a_reader(call: Call) -> None:
    code, out, err = call("profile", "resnet26", "--input", "3x64x48", "--classes", 7)
    assert (code, err) == (0, "")
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in out.splitlines() if line.startswith("│")]
    assert [row[0] for row in rows] == ["stem", "stage 1", "stage 2", "stage 3", "stage 4", "head", "total"]
    assert [row[1] for row in rows[:2]] == ["64 x 16 x 12", "256 x 16 x 12"]
    price = cost(by_name("resnet26"), (3, 64, 48), 7)
    assert rows[-1] == ["total", "", f"{price.macs:,}", f"{price.parameters:,}"]
    for column, whole in ((2, price.macs), (3, price.parameters)):
        assert sum(int(row[column].replace(",", "")) for row in rows[:-1]) == whole
    assert f"{price.activation_bytes:,} bytes" in out
    assert CONVENTIONS["macs"] in out
    assert "latency" not in out


def test_the_table_says_what_was_counted(call: Call) -> None:
    out = call("profile", "resnet26", "--input", "3x32x32", "--convention", "published", "--latency")[1]
    assert CONVENTIONS["published"] in out
    assert CONVENTIONS["macs"] not in out
    assert "latency (torch, 1 thread, version " in out


def test_a_file_holds_an_architecture_or_an_object_with_one(tmp_path: Path) -> None:
    expected = cost(SMALL, (1, 8, 8), 5)
    for place, data in enumerate((SMALL.to_dict(), {"fingerprint": "x", "architecture": SMALL.to_dict()})):
        path = tmp_path / f"{place}.json"
        path.write_text(json.dumps(data))
        found = profile(str(path), (1, 8, 8), 5, latency=Latency())
        assert found.cost == expected
        assert found.latency_ms is not None
        assert found.latency_ms > 0
        assert profile(str(path)).cost == cost(SMALL, (3, 224, 224), 1000)


def test_an_export_knows_its_image_and_classes(tmp_path: Path, call: Call) -> None:
    folder = tmp_path / "model"
    export(build(SMALL, (1, 8, 8), 5).eval(), SMALL, (1, 8, 8), 5, folder, ["safetensors"])
    assert profile(str(folder)).cost == cost(SMALL, (1, 8, 8), 5)
    assert profile(str(folder), (2, 9, 9), 3).cost == cost(SMALL, (2, 9, 9), 3)
    found = json.loads(call("profile", folder, "--json")[1])
    assert found["macs"] == cost(SMALL, (1, 8, 8), 5).macs
    assert profile(str(folder / "architecture.json"), (1, 8, 8), 5).cost == cost(SMALL, (1, 8, 8), 5)


def test_a_name_wins_over_a_folder_of_that_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "resnet26").mkdir()
    assert profile("resnet26").cost.parameters == 13_696_552
    with pytest.raises(BadInput, match="is not an export"):
        profile("./resnet26")


def test_types_of_the_user_come_from_their_space(tmp_path: Path, call: Call) -> None:
    space = tmp_path / "mine.py"
    space.write_text(OWN)
    spatial = {"type": "Depthwise", "size": 5}
    network = SMALL.to_dict()
    network["stages"][0]["blocks"][0]["spatial"] = spatial
    (tmp_path / "net.json").write_text(json.dumps(network))
    code, out, _ = call("profile", tmp_path / "net.json", "--input", "1x8x8", "--space", space, "--json")
    assert code == 0
    assert json.loads(out)["macs"] > 0
    code, _, err = call("profile", tmp_path / "net.json", "--input", "1x8x8")
    assert code == 2
    assert "unknown type 'Depthwise'" in err
    assert "Traceback" not in err


INPUT = "`input` must be channels x height x width, such as 3x32x32, each a whole number from 1 to 65,536,"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["rednet5"], "unknown network 'rednet5'; nearest: 'rednet50'; valid: rednet26, "),
        (["nets/rednet50.json"], "there is no file 'nets/rednet50.json'; or give the name of a network: nearest: 'red"),
        (["rednet50", "--input", "224"], f"{INPUT} but got '224'"),
        (["rednet50", "--input", f"3x{10**20}x224"], f"{INPUT} but got '3x{10**20}x224'"),
        (["rednet50", "--input", f"3x{'9' * 5000}x224"], f"{INPUT} but got '3x999"),
        (["rednet50", "--input", "3x224x0"], f"{INPUT} but got '3x224x0'"),
        (["rednet50", "--input", "3x-1x224"], f"{INPUT} but got '3x-1x224'"),
        (
            ["rednet50", "--classes", str(10**20)],
            "`classes` must be a whole number from 1 to 16,777,216, but got 1000",
        ),
        (["rednet50", "--classes", "0"], "`classes` must be a whole number from 1 to 16,777,216, but got 0"),
        (
            ["rednet50", "--convention", "publishd"],
            "`convention` must be one of macs, published, published-segmentation, but got 'publishd'",
        ),
        ([], "`network` is missing; see invnas profile --help"),
    ],
)
def test_bad_words_are_one_sentence(call: Call, words: list[str], sentence: str) -> None:
    code, out, err = call("profile", *words)
    assert (code, out) == (2, "")
    assert err.startswith(f"invnas: error: {sentence}")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "net.json is malformed: it is not valid JSON: "),
        ("[" * 100_000, "values nest too deeply"),
        ("[1]", "must be an object with a `type`"),
        ('{"type": "HybridNett"}', "unknown type 'HybridNett' at architecture; nearest: 'HybridNet'"),
        (json.dumps(Architecture(HybridNet(PlainStem(4), 3)).to_dict()), "`stages` must be a list of Stage"),
        (
            json.dumps(Architecture(HybridNet(PlainStem(4), (Stage(8, (Bottleneck(Convolution(3, 3)),)),))).to_dict()),
            "`groups` must divide the channels",
        ),
    ],
)
def test_a_broken_file_is_one_sentence(call: Call, tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "net.json").write_text(text)
    code, out, err = call("profile", tmp_path / "net.json")
    assert (code, out) == (2, "")
    assert sentence in err
    assert err.count("\n") == 1


def test_help_and_bad_words_need_no_torch() -> None:
    code = (
        "import sys; from invnas.cli import main; main(['profile', 'rednet50', '--input', '3']);"
        "print('torch' in sys.modules)"
    )
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=180, check=True)
    assert child.stdout == "False\n"


def test_every_name_has_a_price() -> None:
    assert all(profile(name).cost.macs > 10**8 for name in NAMES)


def test_a_latency_says_where_it_was_measured(call: Call) -> None:
    words = ["profile", "resnet26", "--input", "3x16x16", "--latency", "--batch", "2", "--json"]
    code, out, _ = call(*words)
    found = json.loads(out)
    assert code == 0
    assert found["latency_ms"] > 0 <= found["latency_spread_ms"]
    assert (found["runtime"], found["threads"], found["batch"], found["on"]) == ("torch", 1, 2, "local")
    assert found["version"]
    assert json.loads(call(*words)[1]) == found  # it is known


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--threads", "2"], "`threads` says how a latency is measured: it needs --latency"),
        (["--latency", "--threads", "0"], "`latency.threads` must be 1 to 1,024, but got 0"),
        (
            ["--latency", "--runtime", "onnx"],
            "`runtime` must be one of torch, onnxruntime, executorch, openvino, but",
        ),
        (["--latency", "--on", "board"], "`latency.on` must be local or ssh://user@host"),
        (["--latency", "--on", "ssh://127.0.0.1:9"], "`latency.on`: the host 127.0.0.1 did not answer: "),
    ],
)
def test_a_latency_that_cannot_be_measured_is_refused(call: Call, words: list[str], sentence: str) -> None:
    code, out, err = call("profile", "resnet26", *words)
    assert (code, out) == (2, "")
    assert err.startswith(f"invnas: error: {sentence}")
    assert err.count("\n") == 1
