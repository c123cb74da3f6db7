from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from invnas.data.image_set import Loading
from invnas.data.normalisation import Normalisation
from invnas.data.pairs import PairFrame, PairImages
from invnas.data.preparing import centre
from invnas.data.window import Window
from invnas.errors import BadInput
from invnas.masks import IGNORED

PLAIN = Normalisation((0.0,), (1.0,))
sides = st.integers(4, 60)


def ramp(width: int, height: int) -> tuple[Image.Image, Image.Image]:
    """Return a picture as bright as its column and row, and a map of the columns: their agreement can be measured."""
    rows, columns = np.mgrid[:height, :width]
    picture = np.stack([columns, rows, np.full_like(rows, 200)], axis=2).astype(np.uint8)
    return Image.fromarray(picture), Image.fromarray(columns.astype(np.uint8))


@dataclass(frozen=True)
class Ramps:
    """Pairs in memory; a target is a map with the number of its pair on it."""

    count: int

    def __len__(self) -> int:
        return self.count

    def opened(self, index: int) -> tuple[Image.Image, Image.Image]:
        return ramp(9 + index, 7)

    def target(self, index: int, truth: Image.Image, window: Window) -> torch.Tensor:
        return torch.from_numpy(window.map(truth).astype(np.int64) + 1000 * index)

    def content(self, index: int) -> bytes:
        return bytes([index])


def drawn(frame: PairFrame, both: tuple[Image.Image, Image.Image], seed: int) -> tuple[np.ndarray, np.ndarray, float]:
    window = frame.drawn(both[0].size, random.Random(seed))
    return np.asarray(window.picture(both[0])), window.map(both[1]), window.shown


def images(count: int = 10, **frame: Any) -> PairImages:
    return PairImages(Ramps(count), np.arange(count), PairFrame((6, 8), 1, **frame))


@given(sides, sides, st.integers(2, 40), st.integers(2, 40), st.integers(0, 10**6), st.booleans())
def test_a_map_follows_its_picture_wherever_it_goes(
    width: int, height: int, rows: int, columns: int, seed: int, flip: bool
) -> None:
    frame = PairFrame((rows, columns), 3, flip, (0.25, 4.0))
    picture, map, seen = drawn(frame, ramp(width, height), seed)
    assert picture.shape[:2] == map.shape == (rows, columns)
    pixels, numbers = picture.astype(int), map.astype(int)
    # The third channel is 200 in the picture alone: black is beyond it, and so is what is ignored.
    assert np.array_equal(numbers == IGNORED, pixels[:, :, 2] == 0)
    inside = numbers != IGNORED
    assert inside.any()
    # A pixel of the result covers so many of the picture; the nearest is within half of them, and rounding.
    reach = 1 / seen**0.5
    # Where a picture ends, the mean of what lies under a pixel is that of the part that is there.
    assert np.abs(pixels[:, :, 0] - numbers)[inside].max() <= 1.01 + reach


def test_a_map_is_not_shifted_against_its_picture() -> None:
    off = []
    for seed in range(200):
        picture, map, _ = drawn(PairFrame((40, 40), 3, False, (1.0, 4.0)), ramp(64, 64), seed)
        off.append(float((picture[:, :, 0].astype(int) - map).mean()))
    assert abs(np.mean(off)) < 0.05  # half a pixel of the picture would be 0.5


@given(st.integers(0, 1000))
def test_at_scale_one_a_pair_of_the_right_size_is_itself_or_its_mirror_image(seed: int) -> None:
    picture, map = ramp(8, 6)
    for flip in (False, True):
        frame = PairFrame((6, 8), 3, flip)
        pixels, numbers, shown = drawn(frame, (picture, map), seed)
        assert shown == 1
        if flip and numbers[0, 0] == 7:
            pixels, numbers = pixels[:, ::-1], numbers[:, ::-1]
        assert np.array_equal(pixels, picture)
        assert np.array_equal(numbers, map)


def test_half_of_the_pairs_are_mirrored_where_it_is_asked_for() -> None:
    def mirrored(flip: bool) -> int:
        return sum(PairFrame((6, 8), 3, flip).drawn((8, 6), random.Random(seed)).mirrored for seed in range(200))

    assert mirrored(False) == 0
    assert 70 < mirrored(True) < 130


def test_every_scale_in_between_is_drawn() -> None:
    frame = PairFrame((8, 8), 3, False, (0.5, 2.0))
    shown = [frame.drawn((16, 16), random.Random(seed)).shown * 4 for seed in range(300)]  # 1 at scale 1
    assert 0.25 <= min(shown) < 0.3
    assert 3.3 < max(shown) <= 4
    assert 0.7 < np.median(shown) < 1.4  # every ratio is as likely


def test_evaluation_sees_the_centre() -> None:
    picture, map = ramp(16, 8)
    frame = PairFrame((4, 4), 3, True, (0.5, 2.0))
    window = frame.still(picture.size)
    assert window.shown == 0.25
    assert window.map(map)[0].tolist() == [5, 7, 9, 11]  # of columns 4 to 11
    assert np.array_equal(window.picture(picture), centre(picture, frame.preprocessing))  # as `predict` does it


def test_batches_are_float_channels_last_and_have_their_targets() -> None:
    set_ = images(10, scales=(0.5, 2.0))
    for training in (False, True):
        found = list(set_.batches(Loading(4, 0, PLAIN), training))
        assert [len(pictures) for pictures, _ in found] == [4, 4, 2]
        for pictures, targets in found:
            assert pictures.shape[1:] == (1, 6, 8)
            assert pictures.dtype == torch.float32
            assert pictures.is_contiguous(memory_format=torch.channels_last)
            assert targets.shape == (len(pictures), 6, 8)
            assert targets.dtype == torch.int64
    numbers = [int(target.flatten()[0]) // 1000 for _, targets in found for target in targets]
    assert sorted(numbers) == list(range(10))
    assert numbers != list(range(10))


def test_a_last_training_batch_of_one_is_left_out() -> None:
    assert [len(pictures) for pictures, _ in images(9).batches(Loading(4, 0, PLAIN), True)] == [4, 4]
    assert [len(pictures) for pictures, _ in images(9).batches(Loading(4, 0, PLAIN), False)] == [4, 4, 1]


def test_an_epoch_depends_on_seed_and_epoch_alone() -> None:
    def epoch(seed: int, number: int) -> torch.Tensor:
        loader = images(scales=(0.5, 2.0)).batches(Loading(4, seed, PLAIN), True)
        loader.sampler.set_epoch(number)  # type: ignore[attr-defined]
        torch.rand(3)
        return torch.cat([torch.cat([pictures[:, 0] * 255, targets]) for pictures, targets in loader])

    assert torch.equal(epoch(1, 3), epoch(1, 3))
    assert not torch.equal(epoch(1, 3), epoch(1, 4))
    assert not torch.equal(epoch(1, 3), epoch(2, 3))


def test_joined_sets_have_the_pairs_of_both() -> None:
    one, other = images(3), images(5)
    divided = one.take(np.array([0, 2])).joined(one.take(np.array([1])))
    assert divided.pairs is one.pairs
    assert divided.indices.tolist() == [0, 2, 1]
    whole = one.joined(other)
    assert len(whole) == len(whole.pairs) == 8
    assert [whole.item(at, None)[1][0, 0].item() for at in range(8)] == [
        part.item(at, None)[1][0, 0].item() for part in (one, other) for at in range(len(part))
    ]
    assert [whole.pairs.content(index) for index in range(8)] == [bytes([i]) for i in (0, 1, 2, 0, 1, 2, 3, 4)]


def test_the_fingerprint_is_that_of_the_contents() -> None:
    assert images(3).fingerprint() == images(3, flip=True).fingerprint()
    assert images(3).fingerprint() != images(4).fingerprint()
    assert images(3).fingerprint() != images(3).take(np.array([0, 2, 1])).fingerprint()


@pytest.mark.parametrize("scales", [(0.5,), (2.0, 1.0), (0.0, 1.0), "ab", (True, 2), (1, 17), None, (float("nan"), 1)])
def test_scales_that_cannot_be_are_refused(scales: Any) -> None:
    with pytest.raises(BadInput, match=r"`scales` must be the smallest and the largest .* from 1/16 to 16"):
        PairFrame((8, 8), 3, scales=scales)


def test_a_flip_is_true_or_false() -> None:
    with pytest.raises(BadInput, match="`flip` must be true or false, but got 'yes'"):
        PairFrame((8, 8), 3, flip="yes")  # type: ignore[arg-type]
