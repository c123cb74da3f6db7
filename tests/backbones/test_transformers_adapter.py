"""A backbone within transformers, which is not among the packages of the tests: pip install 'invnas[transformers]'."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import invnas
from invnas.blocks import Bottleneck
from invnas.errors import BadInput
from invnas.hybrid import HybridNet, PlainStem, Stage
from invnas.operators import Involution
from invnas.preprocessing import Preprocessing

pytest.importorskip("transformers", reason="needs the extra 'transformers'")

from transformers import AutoBackbone, AutoConfig, UperNetConfig, UperNetForSemanticSegmentation

from invnas.backbones.transformers import InvnasBackbone, InvnasConfig

BLOCK = Bottleneck(Involution(3, 4, 2), 2)
NET = HybridNet(PlainStem(8, 3, 2, True), tuple(Stage(8 * 2**i, (BLOCK,), 1 + (i > 0)) for i in range(4)))
IMAGES = torch.rand(2, 3, 64, 64)


def maps_of(model: Any, **given: Any) -> tuple[torch.Tensor, ...]:
    with torch.no_grad():
        found = model.eval()(IMAGES, **given)
    return tuple(found if isinstance(found, list) else found.feature_maps)


def same(one: Any, other: Any) -> bool:
    return len(one) == len(other) > 0 and all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_it_computes_what_the_backbone_computes_and_comes_back_from_a_folder(tmp_path: Path) -> None:
    body = invnas.backbone(NET, out_indices=(1, 3))
    body.preprocessing = Preprocessing((64, 64), 3, 1.0, (0.1, 0.2, 0.3), (1.0, 1.0, 1.0))
    model = InvnasBackbone.of(body)
    assert model.training
    assert (model.out_features, model.channels) == (["stage1", "stage3"], [8, 32])
    model.save_pretrained(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "model.safetensors"}
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["architecture"] == model.config.value.to_dict()
    assert Preprocessing.from_dict(config["preprocessing"]) == body.preprocessing
    again = InvnasBackbone.from_pretrained(tmp_path)
    assert not again.training
    for one in (model, again):
        assert same(maps_of(one), maps_of(body))
    # Another choice of the maps; what lies behind the last one of the backbone was left out.
    assert again.stage_names == ["stem", "stage1", "stage2", "stage3"]
    all_maps = InvnasBackbone.from_pretrained(tmp_path, out_indices=[0, -1])(IMAGES, output_hidden_states=True)
    assert same((all_maps.hidden_states[0], all_maps.hidden_states[-1]), all_maps.feature_maps)


def test_the_auto_classes_know_it(tmp_path: Path) -> None:
    InvnasBackbone.of(invnas.backbone(NET)).save_pretrained(tmp_path)
    config = AutoConfig.from_pretrained(tmp_path)
    assert type(config) is InvnasConfig
    assert type(AutoBackbone.from_config(config)) is InvnasBackbone


def test_it_begins_with_our_first_weights_also_where_a_checkpoint_lacks_some(tmp_path: Path) -> None:
    torch.manual_seed(3)
    body = invnas.backbone(NET)
    model = InvnasBackbone.of(body)
    torch.manual_seed(3)
    assert same(tuple(InvnasBackbone(model.config).parameters()), tuple(body.parameters()))
    model.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    lost = tensors.pop("body.stages.0.0.enter.0.weight")
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    again = InvnasBackbone.from_pretrained(tmp_path).state_dict()
    made = again.pop("body.stages.0.0.enter.0.weight")
    assert all(torch.equal(value, tensors[name]) for name, value in again.items())
    assert 0.3 < made.std() / lost.std() < 3


def test_upernet_is_built_on_it_learns_and_comes_back(tmp_path: Path) -> None:
    config = UperNetConfig(
        backbone_config=InvnasBackbone.of(invnas.backbone(NET)).config,
        hidden_size=8,
        num_labels=5,
        auxiliary_channels=8,
        auxiliary_in_channels=32,
    )
    model = UperNetForSemanticSegmentation(config)
    model(IMAGES, labels=torch.zeros(2, 64, 64, dtype=torch.long)).loss.backward()
    assert all(value.grad is not None for value in model.backbone.parameters())
    model.eval().save_pretrained(tmp_path)
    again = UperNetForSemanticSegmentation.from_pretrained(tmp_path)
    with torch.no_grad():
        scores = model(IMAGES).logits
        assert scores.shape == (2, 5, 64, 64)
        assert torch.equal(again(IMAGES).logits, scores)


@dataclass(frozen=True)
class Own:
    def build(self, in_channels: int, width: int, stride: int) -> torch.nn.Module:
        return torch.nn.Conv2d(in_channels, width, 1, stride)


def test_what_a_config_cannot_hold_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="Own is a class of your own, and a config of transformers holds no code"):
        InvnasBackbone.of(invnas.backbone(HybridNet(PlainStem(8), (Stage(8, (Own(),)),))))
    with pytest.raises(BadInput, match="needs its architecture"):
        InvnasConfig()
    InvnasBackbone.of(invnas.backbone(NET)).save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(path.read_text().replace('"Bottleneck"', '"Bottlenecks"'))
    with pytest.raises(
        BadInput, match=r"unknown type 'Bottlenecks' at architecture.stages.0.blocks.0; nearest: 'Bottleneck'"
    ):
        InvnasBackbone.from_pretrained(tmp_path)
