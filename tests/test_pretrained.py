"""What a network takes of weights that exist: the equal parts bit by bit, and everything else is as without them."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from invnas.architecture import Architecture, Bottleneck, Convolution, HybridNet, Involution, PlainStem, Stage
from invnas.errors import BadInput, InvalidArchitecture
from invnas.facts import DataFacts
from invnas.nn import build
from invnas.pretrained import Pretrained, keys_of
from invnas.space import Space, load_space

FACTS = DataFacts((1, 8, 8), 3, ("a", "b", "c"))
TASK = "classification"
CONV, INV = Bottleneck(Convolution(3), 2), Bottleneck(Involution(3, 4, 2), 2)


def net(*stages: tuple[Any, ...], width: int = 8) -> Architecture:
    return Architecture(HybridNet(PlainStem(8, 3, 1, False), tuple(Stage(width, blocks) for blocks in stages)))


def built(architecture: Architecture, seed: int = 0, facts: DataFacts = FACTS) -> torch.nn.Module:
    torch.manual_seed(seed)
    return build(architecture, facts.input_shape, facts.classes)


def source(architecture: Architecture, seed: int = 1, facts: DataFacts = FACTS) -> Pretrained:
    network = built(architecture, seed, facts)
    with torch.no_grad():  # as a training leaves it: nothing is as a fresh one has it
        for name, value in network.state_dict().items():
            value.copy_(torch.rand(value.shape) if value.is_floating_point() else torch.tensor(7))
            assert name
    return Pretrained("there", network.state_dict(), keys_of(architecture, facts, TASK))


def drawn(space: Space, rng: random.Random) -> Architecture:
    while True:
        try:
            return space.architecture(space.draw_branches(rng))
        except InvalidArchitecture:
            continue


SPACE = load_space("digits")


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(1, 3))
def test_what_is_inherited_is_the_source_and_the_rest_a_fresh_start(one: int, other: int, mutations: int) -> None:
    rng = random.Random(f"{one}/{other}")
    decisions = SPACE.decisions(given_one := drawn(SPACE, rng))
    wanted = given_one
    for _ in range(mutations):
        assert decisions is not None
        decisions, wanted = SPACE.mutate(decisions, rng)
    held, keys = source(given_one), keys_of(wanted, FACTS, TASK)
    fresh, network = built(wanted, 5).state_dict(), built(wanted, 5)
    after = torch.get_rng_state()
    share = held.fill(keys, network)
    assert torch.equal(torch.get_rng_state(), after)  # what is drawn later is the same, too
    shapes = {name: tuple(value.shape) for name, value in fresh.items()}
    chosen = held.chosen(keys, shapes)
    assert len(set(chosen.values())) == len(chosen)
    inherited = 0
    for name, value in network.state_dict().items():
        place = next((place for place in chosen if name.startswith(f"{place}.")), None)
        if place is None:
            assert torch.equal(value, fresh[name])
        else:
            assert held.keys[chosen[place]] == keys[place]
            assert torch.equal(value, held.tensors[chosen[place] + name[len(place) :]])
            assert not torch.equal(value, fresh[name])
            inherited += value.numel() if name in dict(network.named_parameters()) else 0
    assert share == inherited / sum(value.numel() for value in network.parameters())
    assert 0 < share <= 1  # the head at least, or the stem, after so few mutations


def test_an_equal_network_of_the_same_classes_is_the_same_function() -> None:
    one = net((CONV, INV), (INV,))
    trained = built(one, 3)
    held = Pretrained("there", trained.state_dict(), keys_of(one, FACTS, TASK))
    network = built(one, 4)
    assert held.fill(keys_of(one, FACTS, TASK), network) == 1.0
    images = torch.rand(2, 1, 8, 8)
    assert torch.equal(trained.eval()(images), network.eval()(images))


@pytest.mark.parametrize("names", [("a", "c", "b"), ("a", "b", "x"), None])
def test_a_head_of_other_classes_starts_fresh(names: tuple[str, ...] | None) -> None:
    one, theirs = net((CONV,)), DataFacts((1, 8, 8), 3, names)
    for held, facts in ((source(one, facts=theirs), FACTS), (source(one), theirs), (source(one, facts=theirs), theirs)):
        keys = keys_of(one, facts, TASK)
        shapes = {name: tuple(value.shape) for name, value in built(one).state_dict().items()}
        assert ("head" in held.chosen(keys, shapes)) == (names is not None and facts is theirs and held.keys == keys)


def places(held: Architecture, wanted: Architecture) -> dict[str, str]:
    shapes = {name: tuple(value.shape) for name, value in built(wanted).state_dict().items()}
    found = source(held).chosen(keys_of(wanted, FACTS, TASK), shapes)
    return {place: other for place, other in found.items() if place.startswith("stages")}


def test_a_part_comes_from_its_own_place_or_the_nearest_and_serves_once() -> None:
    assert places(net((CONV, INV)), net((CONV, INV))) == {"stages.0.0": "stages.0.0", "stages.0.1": "stages.0.1"}
    assert places(net((CONV, INV)), net((INV, CONV))) == {"stages.0.0": "stages.0.1", "stages.0.1": "stages.0.0"}
    # Its own place counts first, even where another part asks earlier.
    assert places(net((INV, CONV)), net((CONV, CONV))) == {"stages.0.1": "stages.0.1"}
    assert places(net((CONV,), (CONV, CONV)), net((INV, CONV), (INV,))) == {"stages.0.1": "stages.0.0"}
    assert places(net((CONV,)), net((INV, CONV, CONV))) == {"stages.0.1": "stages.0.0"}
    assert places(net((CONV,)), net((INV,))) == {}


def test_the_same_values_with_other_channels_are_no_equals() -> None:
    assert places(net((CONV,), (CONV,), width=8), net((CONV,), (CONV,), width=16)) == {}


def test_of_a_file_names_and_shapes_count_and_a_missing_counter_does_not_matter() -> None:
    one = net((CONV, INV))
    tensors = {name: value for name, value in source(one).tensors.items() if not name.endswith("num_batches_tracked")}
    held = Pretrained("file", tensors, {"stem": "", "stages.0.0": "", "stages.0.1": ""})
    network, keys = built(one), keys_of(one, FACTS, TASK)
    assert 0.5 < held.fill(keys, network) < 1
    for name, value in network.state_dict().items():
        if name in tensors and not name.startswith("head"):
            assert torch.equal(value, tensors[name])


def test_it_is_kept_in_one_file(tmp_path: Path) -> None:
    held, path = source(net((CONV, INV))), tmp_path / "pretrained.safetensors"
    held.save(path)
    again = Pretrained.load(path)
    assert (again.origin, again.keys) == (held.origin, held.keys)
    assert again.tensors.keys() == held.tensors.keys()
    assert all(torch.equal(again.tensors[name], value) for name, value in held.tensors.items())
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(BadInput, match="is damaged"):
        Pretrained.load(path)
    path.unlink()
    with pytest.raises(BadInput, match=r"there is no .*pretrained\.safetensors: without it"):
        Pretrained.load(path)
