from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from invnas.data import scenery
from invnas.data.scenery import Scene, Things, draw_scene
from invnas.data.things import digits

SQUARES = Things(
    np.pad(np.full((4, 6, 6), 255, np.uint8), ((0, 0), (1, 1), (1, 1))),
    np.full((4, 8, 8), 255, np.uint8),
    np.array([0, 1, 2, 2]),
)


def scene(seed: int = 0, side: int = 48, channels: int = 3, count: tuple[int, int] = (1, 5)) -> Scene:
    return draw_scene(SQUARES, side, channels, count, np.random.default_rng(seed))


@given(st.integers(0, 10**6), st.integers(8, 60), st.sampled_from([1, 3]), st.integers(0, 4), st.integers(0, 9))
def test_objects_are_numbered_from_one_and_have_a_class_each(
    seed: int, side: int, channels: int, least: int, more: int
) -> None:
    found = scene(seed, side, channels, (least, least + more))
    assert found.picture.shape == (side, side, channels)
    assert found.picture.dtype == found.objects.dtype == np.uint8
    assert set(np.unique(found.objects)) - {0} == set(range(1, len(found.labels) + 1))
    assert len(found.labels) <= least + more
    assert set(found.labels) <= {0, 1, 2}


def test_a_scene_is_the_same_on_every_machine() -> None:
    found = draw_scene(digits(), 64, 3, (1, 5), np.random.default_rng(7))
    digest = hashlib.sha256(found.picture.tobytes() + found.objects.tobytes() + repr(found.labels).encode())
    assert digest.hexdigest()[:16] == "fbb8af4563186c15"


def test_what_is_hidden_is_background(monkeypatch: pytest.MonkeyPatch) -> None:
    fewer = 0
    for seed in range(40):
        monkeypatch.setattr(scenery, "VISIBLE", 1)
        every = scene(seed, count=(8, 8))
        monkeypatch.setattr(scenery, "VISIBLE", 60)
        seen = scene(seed, count=(8, 8))
        assert np.array_equal(every.picture, seen.picture)
        fewer += len(every.labels) - len(seen.labels)
        # What is left keeps its pixels; what is not has become 0.
        kept = np.unique(every.objects[seen.objects > 0])
        assert len(kept) == len(seen.labels)
        assert [every.labels[number - 1] for number in kept] == list(seen.labels)
        assert np.array_equal(seen.objects > 0, np.isin(every.objects, kept))
    assert fewer > 40


def test_an_object_has_one_colour_that_differs_from_the_ground() -> None:
    told = 0
    for seed in range(60):
        found = scene(seed, 64, 1, (1, 1))
        grey, inside = found.picture[:, :, 0].astype(int), found.objects == 1
        core = inside & np.roll(inside, 2, 0) & np.roll(inside, -2, 0) & np.roll(inside, 2, 1) & np.roll(inside, -2, 1)
        if core.sum() > 60:
            told += abs(np.median(grey[core]) - np.median(grey[~inside])) > 15
    assert told > 25


def test_brightness_does_not_tell_objects_from_the_rest() -> None:
    found = [draw_scene(digits(), 64, 3, (1, 5), np.random.default_rng(seed)) for seed in range(60)]
    bright = np.concatenate([one.picture.mean(2).ravel() for one in found])
    truth = np.concatenate([one.objects.ravel() > 0 for one in found])
    assert 0.05 < truth.mean() < 0.3
    assert abs(roc_auc_score(truth, bright) - 0.5) < 0.1
    assert roc_auc_score(truth, np.abs(bright - 128)) < 0.75
