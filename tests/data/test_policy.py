"""TrivialAugment and RandAugment, each operation against Pillow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageOps

from invnas.data.policy import _OPERATIONS, LEVELS, POLICIES, Policy, policy_of
from invnas.errors import BadInput

NAMES = list(_OPERATIONS)
TRIVIAL, RAND = POLICIES["trivial"], POLICIES["rand"]
assert TRIVIAL is not None
assert RAND is not None


def picture(seed: int, height: int, width: int, channels: int = 3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    low = int(rng.integers(0, 60))
    return rng.integers(low, low + int(rng.integers(2, 190)), (height, width, channels), dtype=np.uint8)


def done(how: Policy, name: str, pixels: np.ndarray, level: int, sign: int) -> np.ndarray:
    images = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
    found = how.apply(images, torch.tensor([[NAMES.index(name), level, sign]]))
    assert found.shape == images.shape
    assert 0 <= float(found.min()) <= float(found.max()) <= 1 + 1e-6
    return (found[0].permute(1, 2, 0) * 255).numpy()


def _enhanced(kind: Any) -> Callable[[Image.Image, float, int], Image.Image]:
    return lambda image, strength, sign: kind(image).enhance(1 + (1 - 2 * sign) * 0.99 * strength)


TRUTH: dict[str, Callable[[Image.Image, float, int], Image.Image]] = {
    "identity": lambda image, *_: image,
    "brightness": _enhanced(ImageEnhance.Brightness),
    "colour": _enhanced(ImageEnhance.Color),
    "contrast": _enhanced(ImageEnhance.Contrast),
    "sharpness": _enhanced(ImageEnhance.Sharpness),
    "posterize": lambda image, strength, _: ImageOps.posterize(image, 8 - round(6 * strength)),
    "solarize": lambda image, strength, _: ImageOps.solarize(image, int(255 * (1 - strength) + 1e-3)),
    "autocontrast": lambda image, *_: ImageOps.autocontrast(image),
    "equalize": lambda image, *_: ImageOps.equalize(image),
}


@pytest.mark.parametrize("name", TRUTH)
@given(st.integers(0, 10**6), st.integers(3, 20), st.integers(3, 20), st.integers(0, LEVELS - 1), st.integers(0, 1))
def test_what_is_done_to_tones_is_what_pillow_does(
    name: str, seed: int, height: int, width: int, level: int, sign: int
) -> None:
    assert TRIVIAL is not None
    pixels = picture(seed, height, width)
    expected = np.asarray(TRUTH[name](Image.fromarray(pixels), level / (LEVELS - 1), sign), dtype=np.float32)
    # Pillow rounds grey, its mean and the result to whole tones; equalising looks tones up.
    within = 0.01 if name in ("identity", "posterize", "solarize", "equalize") else 2.5
    np.testing.assert_allclose(done(TRIVIAL, name, pixels, level, sign), expected, atol=within)


@pytest.mark.parametrize("name", ["shear x", "shear y", "shift x", "shift y", "turn"])
@given(st.integers(0, 10**6), st.integers(2, 16), st.integers(2, 16), st.integers(0, LEVELS - 1), st.integers(0, 1))
def test_what_is_moved_is_what_pillow_moves(
    name: str, seed: int, height: int, width: int, level: int, sign: int
) -> None:
    assert RAND is not None
    # Black around: Pillow leaves out what lies half outside, here it is blended with black.
    pixels = np.zeros((height + 40, width + 40, 1), np.uint8)
    pixels[20:-20, 20:-20] = picture(seed, height, width, 1)
    strength, way = level / (LEVELS - 1), 1 - 2 * sign
    angle = np.deg2rad(30 * strength * way)
    linear, shift = {
        "shear x": ((1, 0.3 * strength * way, 0, 1), (0, 0)),
        "shear y": ((1, 0, 0.3 * strength * way, 1), (0, 0)),
        "shift x": ((1, 0, 0, 1), (np.round(0.45 * strength * (width + 40)) * way, 0)),
        "shift y": ((1, 0, 0, 1), (0, np.round(0.45 * strength * (height + 40)) * way)),
        "turn": ((np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)), (0, 0)),
    }[name]
    a, b, d, e = linear
    x, y = (width + 40) / 2, (height + 40) / 2  # Pillow counts from the corner
    coefficients = (a, b, x - a * x - b * y + shift[0], d, e, y - d * x - e * y + shift[1])
    image = Image.fromarray(pixels[:, :, 0])
    expected = image.transform(image.size, Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR)
    found = done(replace(RAND, operations=1), name, pixels, level, sign)[:, :, 0]
    np.testing.assert_allclose(found, np.asarray(expected, np.float32), atol=1.5)


@given(
    st.integers(0, 10**6),
    st.integers(1, 6),
    st.integers(1, 6),
    st.sampled_from([1, 2, 3]),
    st.sampled_from(["trivial", "rand"]),
)
def test_any_image_stays_an_image(seed: int, height: int, width: int, channels: int, name: str) -> None:
    how = policy_of(name)
    assert how is not None
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(20, channels, height, width, generator=generator)
    before, draws = images.clone(), how.draw(20, generator)
    found = how.apply(images, draws)
    assert found.shape == images.shape
    assert torch.isfinite(found).all()
    assert 0 <= float(found.min()) <= float(found.max()) <= 1 + 1e-6
    assert torch.equal(images, before)
    # What is done to an image is not changed by the others of its batch.
    alone = torch.cat([how.apply(images[i : i + 1], draws[i : i + 1]) for i in range(20)])
    torch.testing.assert_close(found, alone)


def test_every_operation_is_drawn_as_often_and_each_policy_draws_as_it_says() -> None:
    assert TRIVIAL is not None
    assert RAND is not None
    generator = torch.Generator().manual_seed(0)
    drawn = TRIVIAL.draw(14_000, generator)
    assert drawn.shape == (14_000, 3)
    assert drawn[:, 0].bincount().tolist() == pytest.approx([1000] * 14, rel=0.12)
    assert drawn[:, 1].unique().tolist() == list(range(LEVELS))
    two = RAND.draw(100, generator)
    assert two.shape == (100, 6)
    assert set(two[:, 1].tolist()) == set(two[:, 4].tolist()) == {9}
    assert not torch.equal(two[:, 0], two[:, 3])


def test_a_level_of_nothing_changes_nothing_where_it_is_a_strength() -> None:
    assert TRIVIAL is not None
    pixels = picture(0, 9, 7)
    for name in NAMES:
        if name not in ("autocontrast", "equalize"):
            found = done(TRIVIAL, name, pixels, 0, 1)
            if name == "solarize":  # the brightest tone of all is inverted
                found = np.where(pixels == 255, pixels, found)
            np.testing.assert_allclose(found, pixels, atol=0.01, err_msg=name)


def test_an_unknown_policy_is_refused() -> None:
    with pytest.raises(
        BadInput, match="`augment` must be one of none, trivial, rand, but got 'trivia'; nearest: 'triv"
    ):
        policy_of("trivia")
    with pytest.raises(BadInput, match=r"`augment` must be .* but got \['trivial'\]"):
        policy_of(["trivial"])  # type: ignore[arg-type]
    assert policy_of("none") is None
