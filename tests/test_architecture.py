from __future__ import annotations

import json
import math
import os
import random
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import invnas
from invnas import (
    Bottleneck,
    Choice,
    Convolution,
    DeepStem,
    HybridNet,
    Involution,
    LocalAttention,
    PlainStem,
    Repeat,
    Space,
    Stage,
)
from invnas.architecture import SHIPPED, Architecture
from invnas.cost import cost
from invnas.errors import BadInput
from invnas.nn import build
from invnas.rules import divisors
from invnas.space import load_space
from invnas.zoo import rednet, resnet

HYBRID = Architecture(
    HybridNet(
        PlainStem(8, 3, 1, False),
        (
            Stage(8, (Bottleneck(Convolution(3), 2), Bottleneck(Involution(3, 4, 2), 2))),
            Stage(16, (Bottleneck("own"),)),
        ),
    )
)


def sampled(name: str, seed: int) -> Architecture:
    return load_space(name).sample(random.Random(seed))[1]


@settings(max_examples=15)
@given(st.sampled_from(("digits", "hybrid_cifar", "hybrid_imagenet", "plain_function")), st.integers(0, 10**6))
def test_json_keeps_everything(name: str, seed: int) -> None:
    space = load_space(name)
    _, architecture = space.sample(random.Random(seed))
    text = architecture.to_json()
    again = Architecture.from_json(text, space.types)
    assert again == architecture
    assert again.to_json() == text
    assert again.fingerprint == architecture.fingerprint
    assert "\n" not in text
    assert json.loads(text) == architecture.to_dict()


def test_keys_with_defaults_may_be_left_out() -> None:
    data = {"type": "Convolution", "groups": 2}
    network = {
        "type": "HybridNet",
        "stem": {"type": "PlainStem"},
        "stages": [{"type": "Stage", "width": 8, "blocks": [data]}],
    }
    assert Architecture.from_dict(network).network.stages[0].blocks == (Convolution(3, 2),)


SOME_NETWORKS = HybridNet(
    Choice(PlainStem(Choice(4, 8), Choice(1, 3), 1, False), DeepStem(Choice(Convolution(3), Involution(3, 4, 2)), 8)),
    [
        Stage(
            Choice(4, 8),
            Repeat(
                Bottleneck(Choice(Convolution(3, Choice(1, 2)), Involution(3, Choice(1, 2))), Choice(1, 2)),
                Choice(1, 2),
            ),
            Choice(1, 2),
        )
    ],
)


def signature(architecture: Architecture) -> tuple[str, tuple[Any, ...]]:
    """Return what torch knows of a network: its modules with their settings, and its weights with their shapes."""
    with torch.device("meta"):
        network = build(architecture, (3, 8, 8), 5)
    return str(network), tuple((name, tuple(weight.shape)) for name, weight in network.state_dict().items())


def agree(architectures: list[Architecture]) -> None:
    """Assert that fingerprints are equal exactly when the built networks are."""
    networks, prints = defaultdict(set), defaultdict(set)
    for architecture in architectures:
        built = signature(architecture)
        networks[architecture.fingerprint].add(built)
        prints[built].add(architecture.fingerprint)
    assert all(len(built) == 1 for built in networks.values())
    assert all(len(names) == 1 for names in prints.values())


def test_fingerprints_of_a_whole_space_are_equal_exactly_when_the_networks_are() -> None:
    space = Space(SOME_NETWORKS)
    found = [architecture for _, architecture in space.enumerate()]
    agree([*random.Random(0).sample(found, 60), *found[:20]])
    assert len({architecture.fingerprint for architecture in found}) == len(found)


@pytest.mark.parametrize("name", ["digits", "hybrid_cifar"])
def test_fingerprints_of_neighbours_are_equal_exactly_when_the_networks_are(name: str) -> None:
    space, rng = load_space(name), random.Random(2)
    found: list[Architecture] = []
    for _ in range(6):
        decisions, architecture = space.sample(rng)
        back, neighbour = space.mutate(decisions, rng)
        found += [architecture, neighbour, space.architecture(back)]
    agree(found)


def test_a_fingerprint_stays_the_same_between_versions() -> None:
    assert resnet(50).fingerprint == "2c233e50f3bdc214"
    assert rednet(50).fingerprint == "fe49992fb0c89df9"


def test_operators_carry_their_path_and_give_the_kind() -> None:
    assert [path for path, _ in HYBRID.operators] == ["stages.0.blocks.0.spatial", "stages.0.blocks.1.spatial"]
    assert HYBRID.kind == "hybrid"
    assert Architecture(HybridNet(PlainStem(), ())).kind == "own"
    assert Architecture(HybridNet(DeepStem(Involution()), ())).operators[0][0] == "stem.spatial"


GOOD = {
    "type": "HybridNet",
    "stem": {"type": "PlainStem", "width": 8, "kernel_size": 3, "stride": 1, "pool": False},
    "stages": [
        {
            "type": "Stage",
            "width": 8,
            "stride": 2,
            "blocks": [
                {
                    "type": "Bottleneck",
                    "expansion": 2,
                    "spatial": {"type": "Convolution", "kernel_size": 3, "groups": 1},
                },
                {
                    "type": "Bottleneck",
                    "expansion": 2,
                    "spatial": {"type": "Involution", "kernel_size": 3, "group_channels": 2},
                },
            ],
        }
    ],
}


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('"type":"Convolution"', '"type":"Convolutoin"', "unknown type 'Convolutoin' at architecture.stages.0"),
        ('"type":"PlainStem",', "", "unknown type 'None' at architecture.stem; "),
        ('"type":"PlainStem"', '"type":["PlainStem"]', "unknown type '['PlainStem']' at architecture.stem; near"),
        ('"expansion"', '"expantion"', "unknown key 'expantion' in Bottleneck at architecture.stages.0"),
        ('"stem"', '"stm"', "unknown key 'stm' in HybridNet at architecture; nearest: 'stem'"),
        ('"width":8,"stride":2,', "", "the key 'width' of Stage is missing at architecture.stages.0"),
        ('"kernel_size":3', '"kernel_size":"3"', "architecture.stem.kernel_size must be a whole number, but got '3'"),
        ('"kernel_size":3', '"kernel_size":null', "architecture.stem.kernel_size must be a whole number, but got None"),
        ('"kernel_size":3', '"kernel_size":3.0', "architecture.stem.kernel_size must be a whole number, but got 3.0"),
        ('"kernel_size":3', '"kernel_size":true', "architecture.stem.kernel_size must be a whole number, but got True"),
        ('"pool":false', '"pool":0', "architecture.stem.pool must be true or false, but got 0"),
        ('"kernel_size":3', '"kernel_size":-3', "`kernel_size` must be a whole number from 1 to 65,536, but got -3"),
        ('"kernel_size":3', '"kernel_size":1' + "0" * 30, "`kernel_size` must be a whole number from 1 to"),
        ('"kernel_size":3', '"kernel_size":1' + "0" * 5000, "the architecture is not valid JSON: Exceeds the limit"),
        ('"stages":[', '"stages":[' + "[" * 100_000, "the architecture is not valid JSON"),
        ('"stages":[', '"stages":[[', "the architecture is not valid JSON: Expecting"),
        ('"stages":[', '"stages":[5,', "5 stands where a Stage is wanted (stage 1)"),
    ],
)  # fmt: skip
def test_a_tampered_architecture_is_refused_with_the_place(old: str, new: str, sentence: str) -> None:
    text = json.dumps(GOOD, separators=(",", ":"))
    assert old in text
    with pytest.raises(BadInput) as error:
        Architecture.from_json(text.replace(old, new, 1)).check()
    assert str(error.value).startswith(sentence)


@pytest.mark.parametrize("text", ["", "3", "null", "[]", '"HybridNet"', "NaN", "[1, 2]", '[{"type": "Convolution"}]'])
def test_json_that_is_no_architecture_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match=r"not valid JSON|must be an object with a `type`"):
        Architecture.from_json(text)


def test_endless_nesting_is_refused() -> None:
    data: Any = []
    for _ in range(100_000):
        data = [data]
    with pytest.raises(BadInput, match="must not be nested this deeply"):
        Architecture.from_dict(data)


KEYS = st.sampled_from(
    ["type", "stem", "stages", "width", "blocks", "stride", "spatial", "expansion", "kernel_size", "x"]
)
NUMBERS = st.integers(-2, 9) | st.integers() | st.sampled_from((0, -1, 2**16, 2**31, 2**63, 10**40)) | st.floats()
SCALARS = st.none() | st.booleans() | NUMBERS | st.text(max_size=3) | st.sampled_from(sorted(SHIPPED))
OBJECTS = st.sampled_from(sorted(SHIPPED)).map(lambda name: {"type": name})
GARBAGE = st.recursive(
    SCALARS | OBJECTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=10,
)


def places(data: Any) -> list[tuple[Any, Any]]:
    """Return every place of JSON data as its container and key."""
    keys = list(data) if isinstance(data, dict) else range(len(data)) if isinstance(data, list) else ()
    return [place for key in keys for place in [(data, key), *places(data[key])]]


def only_bad_input(data: Any) -> None:
    try:
        architecture = Architecture.from_dict(data)
        architecture.check()
        cost(architecture, (1, 8, 8), 10)
    except BadInput as error:
        assert str(error)  # noqa: PT017


@settings(max_examples=150)
@given(GARBAGE)
def test_garbage_never_raises_anything_but_bad_input(data: Any) -> None:
    only_bad_input(data)


@settings(max_examples=250)
@given(st.data())
def test_an_architecture_with_garbage_in_it_never_raises_anything_but_bad_input(draw: st.DataObject) -> None:
    data = json.loads(json.dumps(GOOD))
    for _ in range(draw.draw(st.integers(1, 2))):
        container, key = draw.draw(st.sampled_from(places(data)))
        container[key] = draw.draw(GARBAGE)
    only_bad_input(data)


@given(st.text())
def test_any_text_is_an_architecture_or_bad_input(text: str) -> None:
    with pytest.raises(BadInput):
        Architecture.from_json(text)


@dataclass(frozen=True)
class Fussy:
    size: Any

    def __post_init__(self) -> None:
        if self.size > 3:
            raise ValueError("too large")

    def build(self, input_shape: tuple[int, int, int], classes: int) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(input_shape), classes))


def test_an_own_value_that_refuses_its_json_is_named() -> None:
    types = {"Fussy": Fussy}
    assert Architecture.from_dict({"type": "Fussy", "size": 3}, types).network == Fussy(3)
    with pytest.raises(BadInput, match="Fussy at architecture refuses its values: ValueError: too large"):
        Architecture.from_dict({"type": "Fussy", "size": 4}, types)
    with pytest.raises(BadInput, match="unknown type 'Fussy' at architecture"):
        Architecture.from_dict({"type": "Fussy", "size": 3})


def test_what_json_cannot_hold_is_refused() -> None:
    with pytest.raises(BadInput, match="an architecture holds numbers, text and dataclasses only, but found <class"):
        Architecture(HybridNet(PlainStem(), (nn.ReLU,))).to_json()
    for number in (2**63, -(10**5000)):
        with pytest.raises(BadInput, match=r"lie below 2\*\*63, but one has [0-9,]+ bits"):
            Architecture(HybridNet(PlainStem(number), ())).to_json()
    assert '"width":9223372036854775807' in Architecture(HybridNet(PlainStem(2**63 - 1), ())).to_json().replace(" ", "")


@given(st.integers(1, 3000))
def test_divisors_divide(number: int) -> None:
    assert divisors(number) == [d for d in range(1, number + 1) if number % d == 0]
    assert divisors(number)[-1] == number


@dataclass(frozen=True)
class Pool:
    size: int = 3


@dataclass(frozen=True)
class Depthwise:
    kind: ClassVar[str] = "convolution"


@dataclass(frozen=True)
class OwnBlock:
    size: int = 3


@pytest.mark.parametrize(
    ("spatials", "kind"),
    [
        ([Pool()], "own"),
        ([Depthwise()], "convolution"),
        ([Convolution(), Pool()], "own"),
        ([Involution(), Depthwise()], "hybrid"),
        ([Involution(), LocalAttention()], "involution"),
        ([Involution(), Convolution(), Pool()], "hybrid"),
    ],
)
def test_a_value_says_what_it_is_or_is_own(spatials: list[Any], kind: str) -> None:
    blocks = tuple(Bottleneck(spatial, 1) for spatial in spatials)
    assert Architecture(HybridNet(PlainStem(16), (Stage(16, blocks),))).kind == kind


def test_own_blocks_and_own_networks_are_own_unless_they_say_otherwise() -> None:
    stage = Stage(16, (Bottleneck(Convolution(), 1), OwnBlock()))
    assert Architecture(HybridNet(PlainStem(16), (stage,))).kind == "own"
    assert Architecture(Pool()).kind == "own"
    assert Architecture(Depthwise()).kind == "convolution"


def test_types_of_a_users_file_are_checked(tmp_path: Path) -> None:
    """mypy passes a file as the docs have it, and names each method that does not keep the contract."""
    good = """
from dataclasses import dataclass
from torch import nn
from invnas import Bottleneck, Choice, Convolution, HybridNet, Involution, PlainStem, Repeat, Stage

@dataclass(frozen=True)
class Separable:
    kernel_size: int
    def build(self, channels: int, stride: int) -> nn.Module:
        return nn.Conv2d(channels, channels, self.kernel_size, stride, self.kernel_size // 2, groups=channels)

spatial = Choice(Convolution(Choice(3, 5)), Involution(7, 8, 2), Separable(Choice(3, 5)))
fixed = Bottleneck(Separable(3), expansion=2)
block = Bottleneck(spatial, expansion=Choice(1, 2))
stages = [Stage(Choice(16, 32), Repeat(block, times=Choice(1, 2))), Stage(16, [fixed])]
space = HybridNet(PlainStem(16, 3, 1, False), stages)
"""
    bad = good.replace("channels: int, stride: int) -> nn.Module", "channels: int) -> int").replace(
        ", stride, ", ", 1, "
    )
    # Of all that invnas imports, only the modules of torch matter here: to check the rest takes six times as long.
    looked_at = "[mypy-invnas.*,torch,torch.nn,torch.nn.modules,torch.nn.modules.*]\nfollow_imports = silent\n"
    (tmp_path / "mypy.ini").write_text(f"[mypy]\nfollow_imports = skip\n{looked_at}")
    for name, text in (("good", good), ("bad", bad)):
        (tmp_path / f"{name}.py").write_text(text)
    command = [sys.executable, "-m", "mypy", "--ignore-missing-imports", "--no-error-summary", "good.py", "bad.py"]
    environment = {**os.environ, "MYPYPATH": str(Path(invnas.__file__).parent.parent), "MYPY_CACHE_DIR": str(tmp_path)}
    ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert "good.py" not in ran.stdout
    assert 'incompatible type "Separable"' in ran.stdout
    assert "def build(self, channels: int, stride: int) -> Module" in ran.stdout
