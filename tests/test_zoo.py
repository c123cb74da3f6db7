from __future__ import annotations

import pytest

from invnas import Convolution, DeepStem, Involution, PlainStem
from invnas.errors import BadInput
from invnas.space import load_space
from invnas.zoo import DEPTHS, NAMES, by_name, rednet, residual, resnet, small_mobilenet, small_networks, small_resnet


@pytest.mark.parametrize("depth", DEPTHS)
def test_a_depth_counts_its_layers(depth: int) -> None:
    blocks = [block for stage in resnet(depth).network.stages for block in stage.blocks]
    assert 3 * len(blocks) + 2 == depth
    assert rednet(depth).kind == "involution"
    assert resnet(depth).kind == "convolution"


def test_the_stem_of_a_rednet_has_an_involution_of_either_size() -> None:
    assert rednet(50).network.stem == DeepStem(Involution(3, 16, 4), 64)
    assert rednet(50, 7).network.stem == DeepStem(Involution(7, 16, 4), 64)
    assert resnet(50).network.stem == PlainStem(64, 7, 2, True)


@pytest.mark.parametrize("depth", [26, 38, 50])
@pytest.mark.parametrize("make", [resnet, rednet, lambda depth: rednet(depth, 7)])
def test_the_published_networks_are_points_of_the_imagenet_space(depth: int, make: type) -> None:
    space, architecture = load_space("hybrid_imagenet"), make(depth)
    decisions = space.decisions(architecture)
    assert decisions is not None
    assert space.architecture(decisions) == architecture


def test_deeper_networks_are_not_points_of_it() -> None:
    assert load_space("hybrid_imagenet").decisions(resnet(101)) is None


def test_an_unknown_depth_is_refused_with_the_nearest() -> None:
    with pytest.raises(BadInput) as error:
        residual(51, Convolution(3), PlainStem())
    assert str(error.value).startswith("unknown depth 51; nearest: '")
    assert str(error.value).endswith("valid: 26, 38, 50, 101, 152")


@pytest.mark.parametrize("depth", DEPTHS)
def test_every_published_network_has_a_name(depth: int) -> None:
    assert by_name(f"rednet{depth}") == rednet(depth)
    assert by_name(f"resnet{depth}") == resnet(depth)
    assert by_name(f"rednet{depth}-stem7") == rednet(depth, 7)
    assert {*NAMES} - {f"{kind}{depth}" for kind in ("resnet", "rednet") for depth in DEPTHS} == {
        *(f"rednet{depth}-stem7" for depth in DEPTHS),
        *("resnet18", "resnet34", "mobilenet_v2"),
    }


def test_the_small_networks_are_each_one_and_have_a_name() -> None:
    found = small_networks()
    assert len(set(found.values())) == len(found) > 20
    assert found["small ResNet-8 x 0.5"] == small_resnet(8, 0.5)
    assert {architecture.kind for architecture in found.values()} == {"convolution"}
    assert {architecture.problem for architecture in found.values()} == {None}


def test_a_small_resnet_counts_its_layers_and_a_small_mobilenet_has_gates_from_version_three_on() -> None:
    assert sum(2 * len(stage.blocks) for stage in small_resnet(20).network.stages) + 2 == 20
    for version, ratio in ((2, None), (3, 4)):
        blocks = [block for stage in small_mobilenet(version).network.stages[:-1] for block in stage.blocks]
        assert {block.squeeze_ratio for block in blocks} == {ratio}


@pytest.mark.parametrize(
    ("name", "near"), [("rednet51", "rednet50"), ("ResNet101", "resnet101"), ("rednet50stem7", "rednet50-stem7")]
)
def test_an_unknown_name_is_refused_with_the_nearest(name: str, near: str) -> None:
    with pytest.raises(BadInput) as error:
        by_name(name)
    assert str(error.value) == f"unknown network '{name}'; nearest: '{near}'; valid: {', '.join(NAMES)}"
