"""Backbones: timm's contract, and where their weights come from."""

from __future__ import annotations

import copy
import importlib
import pickle
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from export.export_cases import DIGITS, ODD, OWN_SPACE, trained
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

import invnas
from invnas import zoo
from invnas.architecture import Architecture
from invnas.backbones.features import Backbone, indices
from invnas.dense import ConvolutionFPN, DenseNet, SemanticFPN
from invnas.errors import BadInput, MissingExtra
from invnas.export import export
from invnas.hybrid import HybridNet
from invnas.nn import build
from invnas.preprocessing import Preprocessing
from invnas.space import load_space
from invnas.weights import save_weights
from invnas.zoo_weights import published_name

SEEN = Preprocessing((8, 8), 1, 1.0, (0.25,), (0.5,))


@pytest.fixture(scope="module")
def network() -> Any:
    return trained(DIGITS, (1, 8, 8), 10)


@pytest.fixture(scope="module")
def folder(network: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("exported") / "model"
    export(network, DIGITS, (1, 8, 8), 10, path, ["safetensors"], preprocessing=SEEN)
    return path


def same(body: nn.Module, network: Any, wanted: tuple[int, ...], images: torch.Tensor) -> bool:
    with torch.no_grad():
        all_maps = network.eval().features(images)
        found = body.eval()(images)
    return len(found) == len(wanted) and all(
        torch.equal(one, all_maps[i]) for one, i in zip(found, wanted, strict=True)
    )


@pytest.mark.parametrize(
    ("asked", "wanted"), [(None, (1, 2)), (0, (0,)), (-1, (2,)), ((0, 2), (0, 2)), ([-3, -2], (0, 1)), ((1,), (1,))]
)
def test_an_export_gives_the_maps_of_its_network_and_says_what_they_are(
    asked: Any, wanted: tuple[int, ...], folder: Path, network: Any
) -> None:
    state = torch.random.get_rng_state()
    body = invnas.backbone(folder, out_indices=asked)
    assert torch.equal(state, torch.random.get_rng_state())
    images = torch.rand(2, 1, 8, 8)
    assert same(body, network, wanted, images)
    info = body.feature_info
    assert (info.out_indices, len(info)) == (wanted, 3)
    for one, channels, reduction, name in zip(
        body(images), info.channels(), info.reduction(), info.module_name(), strict=True
    ):
        assert one.shape[1:] == (channels, 8 // reduction, 8 // reduction)
        body.get_submodule(name)
    # What comes after the last map is not there, and what is there has the names of the whole network.
    assert len(body.stages) == wanted[-1]
    assert body.state_dict().keys() <= network.state_dict().keys()
    assert body.preprocessing == SEEN


def test_the_info_answers_as_that_of_timm_does() -> None:
    info = invnas.backbone("resnet18", out_indices=(1, -1)).feature_info
    assert info[0] == {"num_chs": 64, "reduction": 4, "module": "stem", "index": 0}
    assert info.get_dicts() == [info[1], info[4]]
    assert info.get_dicts(["module"]) == [{"module": "stages.0"}, {"module": "stages.3"}]
    assert info.get_dicts(["module"], 2) == {"module": "stages.1"}
    assert (info.channels(2), info.reduction([0, 2]), info.get("num_chs")) == (128, [4, 8], [64, 512])


@given(st.integers(1, 6), st.data())
def test_any_ascending_numbers_are_those_maps_also_counted_from_the_end(stages: int, data: st.DataObject) -> None:
    wanted = sorted(data.draw(st.sets(st.integers(0, stages), min_size=1)))
    assert indices([i - data.draw(st.sampled_from((0, stages + 1))) for i in wanted], stages) == tuple(wanted)


def test_a_copy_computes_the_same_and_learns_alone() -> None:
    body = invnas.backbone(DIGITS, in_channels=1)
    images, names = torch.rand(2, 1, 8, 8), set(body.state_dict())
    assert body.training
    for other in (copy.deepcopy(body), pickle.loads(pickle.dumps(body))):
        assert [torch.equal(a, b) for a, b in zip(body(images), other(images), strict=True)] == [True, True]
        assert (set(other.state_dict()), other.feature_info) == (names, body.feature_info)
    other(images)[-1].sum().backward()
    assert next(other.parameters()).grad is not None
    assert next(body.parameters()).grad is None


def test_a_backbone_is_folded_and_exported_for_any_batch_and_keeps_channels_last() -> None:
    body = invnas.backbone(DIGITS, in_channels=1, out_indices=(0, 2)).eval()
    weights = [value for value in body.parameters() if value.dim() == 4]
    assert all(value.is_contiguous(memory_format=torch.channels_last) for value in weights)
    images = torch.rand(3, 1, 8, 8).to(memory_format=torch.channels_last)
    program = torch.export.export(body, (images,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    for module in (program.module(), invnas.fold(body)):
        for one, other in zip(body(images[:2]), module(images[:2]), strict=True):
            torch.testing.assert_close(one, other)
            assert other.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("kind", ["ours", "published"])
def test_weights_of_other_classes_are_taken_whatever_they_are_called(kind: str, tmp_path: Path) -> None:
    network: Any = build(zoo.by_name("rednet26"), (3, 32, 32), 7)
    if kind == "ours":
        path = tmp_path / "model.safetensors"
        save_weights(network, path)
    else:
        path = tmp_path / "rednet26.pth"
        tensors = {published_name(name): value for name, value in network.state_dict().items()}
        torch.save({"state_dict": {k: v for k, v in tensors.items() if "num_batches" not in k}}, path)
    body = invnas.backbone("rednet26", path, out_indices=(0, 1))
    assert same(body, network, (0, 1), torch.rand(1, 3, 32, 32))


def test_the_backbone_of_a_network_for_dense_prediction_is_that_of_its_value() -> None:
    value = DIGITS.network
    assert isinstance(value, HybridNet)
    torch.manual_seed(1)
    one = invnas.backbone(value)
    torch.manual_seed(1)
    other = invnas.backbone(DenseNet(value, ConvolutionFPN(8), SemanticFPN(8)))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_types_of_a_users_own_are_found_again(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN_SPACE)
    space = load_space(tmp_path / "own.py")
    (_, architecture), *_ = space.enumerate()
    network = trained(architecture, (3, 6, 6), 3)
    export(network, architecture, (3, 6, 6), 3, tmp_path / "out", ["safetensors"], space_text=OWN_SPACE)
    for how in ({"space": space}, {"space": tmp_path / "own.py"}, {"trust": True}):
        assert same(invnas.backbone(tmp_path / "out", **how), network, (1,), torch.rand(1, 3, 6, 6))
    with pytest.raises(BadInput, match="code that would be executed"):
        invnas.backbone(tmp_path / "out")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"source": "rednet51"}, "nor a network of the name 'rednet51'; nearest: 'rednet50'"),
        ({"source": 3}, "`source` must be the folder of an export, a name or an architecture, but got 3"),
        ({"source": "."}, "'.' is not an export of invnas"),
        (
            {"out_indices": 5},
            r"`out_indices` names the map 5, but the network has 0 \(stem\) to 4 \(last stage\), or -5 to",
        ),
        ({"out_indices": (-6,)}, "names the map -6"),
        ({"out_indices": (3, 1)}, r"each once and the finest first, but got \(3, 1\); nearest: \(1, 3\)"),
        ({"out_indices": (4, -1)}, r"nearest: \(4,\)"),
        ({"out_indices": ()}, r"got \(\): 0 \(stem\) to 4"),
        ({"out_indices": "all"}, "must hold numbers of maps, .* but got 'all'"),
        ({"in_channels": 0}, "`in_channels` must be a whole number"),
        ({"weights": "missing.pth"}, "'missing.pth' is no file: none is downloaded"),
        ({"weights": "."}, "'.' is a folder: an export is given as the source itself"),
    ],
)
def test_what_cannot_be_is_one_sentence(given: Any, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput, match=said):
        invnas.backbone(**{"source": "resnet18", **given})


def test_folders_that_are_something_else_are_named(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(BadInput, match="is a run, not a network: export a trial of it first"):
        invnas.backbone(tmp_path)
    with pytest.raises(BadInput, match="is a file: give the folder of an export"):
        invnas.backbone(folder / "model.safetensors")
    with pytest.raises(BadInput, match=r"`in_channels` is 3, but the network of .* takes images of 1"):
        invnas.backbone(folder, in_channels=3)
    with pytest.raises(BadInput, match="has its own: give one of both"):
        invnas.backbone(folder, folder / "model.safetensors")


def test_weights_of_another_network_are_refused_though_names_agree(tmp_path: Path) -> None:
    def saved(architecture: Architecture, channels: int = 1) -> Path:
        path = tmp_path / f"{architecture.fingerprint}{channels}.safetensors"
        save_weights(build(architecture, (channels, 8, 8), 2), path)
        return path

    value: Any = DIGITS.network
    # Fewer blocks of the same names: what is left out is seen, even beyond the maps that are asked for.
    shorter = Architecture(
        HybridNet(value.stem, (type(value.stages[0])(16, value.stages[0].blocks[:1]), value.stages[1]))
    )
    with pytest.raises(BadInput, match=r"holds `stages.0.1..*`, which the network has not"):
        invnas.backbone(shorter, saved(DIGITS), in_channels=1, out_indices=0)
    with pytest.raises(BadInput, match=r"lacks `stages.0.1..*` of the network"):
        invnas.backbone(DIGITS, saved(shorter), in_channels=1)
    with pytest.raises(BadInput, match=r"`stem.0.0.weight` in .* has shape \(8, 3, 3, 3\), but the network needs"):
        invnas.backbone(DIGITS, saved(DIGITS, 3), in_channels=1)
    save_file(
        {"encoder.a": torch.zeros(2, 3), "b": torch.zeros(1), "fc": torch.zeros(4)}, tmp_path / "other.safetensors"
    )
    said = (
        r"it holds `b` \(1\), `encoder.a` \(2 x 3\), `fc` \(4\), and the backbone `stem.0.0.weight` \(8 x 1 x 3 x 3\), "
    )
    with pytest.raises(BadInput, match=said):
        invnas.backbone(DIGITS, tmp_path / "other.safetensors", in_channels=1)
    broken = {**build(ODD, (1, 8, 8), 2).state_dict()}
    broken["stem.0.1.bias"] = torch.full((8,), float("nan"))
    torch.save(broken, tmp_path / "nan.pth")
    with pytest.raises(BadInput, match=r"`stem.0.1.bias` of '.*nan.pth' is not finite"):
        invnas.backbone(ODD, tmp_path / "nan.pth", in_channels=1)


@dataclass(frozen=True)
class Own:
    def build(self, **given: Any) -> nn.Module:
        return nn.Identity()


def test_a_network_of_a_users_own_has_no_maps() -> None:
    with pytest.raises(BadInput, match="Own is a network of your own, whose maps are not known"):
        Backbone(Architecture(Own()), (1, 8, 8))


def test_without_its_package_an_adapter_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    monkeypatch.delitem(sys.modules, "invnas.backbones.transformers", raising=False)
    with pytest.raises(MissingExtra, match=r"needs the package `transformers`, .*invnas\[transformers\]"):
        importlib.import_module("invnas.backbones.transformers")
