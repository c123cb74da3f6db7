from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from invnas.data.augment import Augment
from invnas.errors import BadInput

sides = st.integers(1, 9)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(sides, sides, st.booleans(), st.integers(0, 4), st.sampled_from([1, 3]), st.integers(0, 5))
def test_moving_keeps_shape_and_dtype(
    height: int, width: int, flip: bool, crop: int, channels: int, count: int
) -> None:
    images = torch.randint(0, 256, (count, channels, height, width), dtype=torch.uint8)
    augment = Augment(flip, crop)
    moved = augment.move(images, augment.draw(count, (height, width), generator()))
    assert moved.shape == images.shape
    assert moved.dtype == torch.uint8


def test_a_mirrored_image_is_the_mirror_image() -> None:
    images = torch.rand(40, 3, 4, 5)
    augment = Augment(flip=True)
    draws = augment.draw(40, (4, 5), generator())
    moved = augment.move(images, draws)
    mirrored = draws[:, 0] == 1
    assert 0 < mirrored.sum() < 40
    assert torch.equal(moved[mirrored], images[mirrored].flip(3))
    assert torch.equal(moved[~mirrored], images[~mirrored])


@given(st.integers(1, 3), st.booleans(), st.integers(0, 1000))
def test_a_crop_is_a_window_of_the_padded_image(crop: int, flip: bool, seed: int) -> None:
    images = torch.rand(6, 2, 5, 4)
    augment = Augment(flip, crop)
    draws = augment.draw(6, (5, 4), generator(seed))
    padded = torch.nn.functional.pad(images, (crop,) * 4)
    for image, frame, (mirrored, top, left, *_) in zip(
        augment.move(images, draws), padded, draws.tolist(), strict=True
    ):
        window = frame[:, top : top + 5, left : left + 4]
        assert torch.equal(image, window.flip(2) if mirrored else window)


def test_a_crop_reaches_every_offset() -> None:
    draws = Augment(crop=1).draw(500, (4, 4), generator())
    assert set(draws[:, 1].tolist()) == set(draws[:, 2].tolist()) == {0, 1, 2}


@given(sides, sides, st.integers(0, 9))
def test_a_cutout_zeroes_its_area_and_nothing_else(height: int, width: int, cutout: int) -> None:
    cutout = min(cutout, height, width)
    augment = Augment(cutout=cutout)
    images = torch.rand(7, 3, height, width) + 1
    cut = augment.cut(images, augment.draw(7, (height, width), generator()))
    assert ((cut == 0).sum((2, 3)) == cutout**2).all()
    assert torch.equal(cut[cut != 0], images[cut != 0])


def test_nothing_switched_on_changes_nothing() -> None:
    images = torch.rand(3, 1, 4, 4)
    draws = Augment().draw(3, (4, 4), generator())
    assert torch.equal(Augment().cut(Augment().move(images, draws), draws), images)


def test_a_cutout_larger_than_the_image_is_refused() -> None:
    with pytest.raises(BadInput, match="`cutout` must fit into the image of 4x8, but got 5"):
        Augment(cutout=5).draw(1, (4, 8), generator())


@pytest.mark.parametrize("name", ["crop", "cutout"])
def test_a_size_that_no_image_has_is_refused(name: str) -> None:
    for value, said in (
        (-1, "a whole number of at least 0, but got -1"),
        ("4", "but got '4'"),
        (10**23, "at most 65,536"),
    ):
        with pytest.raises(BadInput, match=f"`{name}` must be .*{said}"):
            Augment(**{name: value})  # type: ignore[arg-type]


@given(st.integers(0, 1000), st.sampled_from([torch.uint8, torch.float32]))
def test_a_policy_is_drawn_after_all_else_and_leaves_floats(seed: int, dtype: torch.dtype) -> None:
    plain, changing = Augment(True, 1, 2), Augment(True, 1, 2, "rand")
    draws = changing.draw(9, (5, 4), generator(seed))
    assert torch.equal(draws[:, :5], plain.draw(9, (5, 4), generator(seed)))  # what was drawn before stays
    images = torch.randint(0, 256, (9, 3, 5, 4), generator=generator(seed)).to(dtype)
    images = images if dtype == torch.uint8 else images / 255
    found = changing.change(images, draws)
    assert found.dtype == torch.float32
    assert 0 <= float(found.min()) <= float(found.max()) <= 1 + 1e-6
    assert plain.change(images, draws) is images
