from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from invnas.data.outlines import Polygons, Runs, filled, outline_of, polygon_of
from invnas.data.pairs import PairFrame
from invnas.data.window import Window
from invnas.errors import BadInput

PLACE = "the annotation 7 of 'a.json'"


def encoded(counts: list[int]) -> str:
    """Write runs as COCO does: five bits a letter; from the fourth on the difference to the last but one."""
    text = ""
    for number, count in enumerate(counts):
        value, more = count - (counts[number - 2] if number > 2 else 0), True
        while more:
            bits = value & 31
            value >>= 5
            more = value != (-1 if bits & 16 else 0)
            text += chr(48 + (bits | (32 if more else 0)))
    return text


def runs_of(mask: np.ndarray) -> list[int]:
    flat = np.concatenate([[0], mask.T.ravel().astype(int), [2]])
    edges = np.flatnonzero(np.diff(flat))
    return np.diff(np.concatenate([[0], edges])).tolist()


def ones(mask: np.ndarray) -> list[list[int]]:
    return mask.astype(int).tolist()


def test_a_pixel_is_inside_if_its_centre_is() -> None:
    assert ones(filled(np.array([[1, 1], [3, 1], [3, 2], [1, 2]], float), (3, 4))) == [[0] * 4, [0, 1, 1, 0], [0] * 4]
    triangle = filled(np.array([[0, 0], [4, 4], [0, 4]], float), (4, 4))
    assert ones(triangle) == [[0, 0, 0, 0], [1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0]]
    assert filled(np.array([[0.6, 0.6], [1.4, 0.6], [1.4, 1.4]], float), (2, 2)).sum() == 0  # between centres
    assert filled(np.array([[-9, -9], [9, -9], [9, 9], [-9, 9]], float), (3, 2)).all()
    hourglass = np.array([[0, 0], [4, 4], [0, 4], [4, 0]], float)  # its border crosses itself
    assert ones(filled(hourglass, (4, 4)))[0][1:3] == [1, 1]


@given(st.data(), st.integers(1, 20), st.integers(1, 20))
def test_a_polygon_is_what_a_slow_truth_says(data: st.DataObject, rows: int, columns: int) -> None:
    number = st.floats(-5, 25).map(lambda one: round(one, 2) + 0.003)
    corners = np.array(data.draw(st.lists(st.tuples(number, number), min_size=3, max_size=8)))
    found = filled(corners, (rows, columns))
    for row in range(rows):
        for column in range(columns):
            inside, x, y = False, column + 0.5, row + 0.5
            for (a, b), (c, d) in zip(corners, np.roll(corners, -1, 0), strict=True):
                if (b <= y) != (d <= y) and a + (y - b) / (d - b) * (c - a) <= x:
                    inside = not inside
            assert found[row, column] == inside


@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 10**6), st.booleans())
def test_masks_of_polygons_and_of_runs_follow_the_pixels(width: int, height: int, seed: int, still: bool) -> None:
    rng = np.random.default_rng(seed)
    left, top = int(rng.integers(width)), int(rng.integers(height))
    right, bottom = int(rng.integers(left, width)) + 1, int(rng.integers(top, height)) + 1
    whole = np.zeros((height, width), bool)
    whole[top:bottom, left:right] = True
    frame = PairFrame((16, 21), 1, True, (0.25, 4.0))
    window = frame.still((width, height)) if still else frame.drawn((width, height), random.Random(seed))
    map = window.map(Image.fromarray(whole.astype(np.uint8))) == 1
    assert np.array_equal(Runs(np.array(runs_of(whole)), (height, width)).mask(window), map)
    corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom]], float)
    # Where a border runs through the centres of pixels, either side is right.
    off = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * 1e-6
    outer, inner = (Polygons((corners + sign * off,)).mask(window) for sign in (1, -1))
    assert not (map & ~outer).any()
    assert not (inner & ~map).any()


def test_an_object_may_have_several_parts_and_reach_beyond_the_picture() -> None:
    window = Window.on((-2, 0, 6, 4), (4, 4), (4, 8))  # the picture is in the middle
    square = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], float)
    beyond = square + np.array([-1, 1])
    mask = Polygons((square, square + 2, beyond)).mask(window)
    assert ones(mask) == [[0, 0, 1, 0, 0, 0, 0, 0], [0] * 8, [0, 0, 0, 0, 1, 0, 0, 0], [0] * 8]
    assert ones(Polygons((square,)).scaled(4, 2).mask(window)) == [[0, 0, 1, 1, 1, 1, 0, 0]] * 2 + [[0] * 8] * 2


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 10**6))
def test_runs_are_read_as_numbers_and_as_text(rows: int, columns: int, seed: int) -> None:
    mask = np.random.default_rng(seed).random((rows, columns)) < np.random.default_rng(seed + 1).random()
    counts = runs_of(mask)
    for given_ in (counts, encoded(counts)):
        found = outline_of({"counts": given_, "size": [rows, columns]}, (rows, columns), PLACE)
        assert isinstance(found, Runs)
        assert np.array_equal(found.whole(), mask)


def test_masks_are_those_of_coco() -> None:
    mask = pytest.importorskip("faster_coco_eval.core.mask")
    rng = np.random.default_rng(0)
    for _ in range(50):
        angle = np.sort(rng.random(12)) * 2 * np.pi
        corners = np.stack([50 + np.cos(angle) * 40 * rng.random(12), 40 + np.sin(angle) * 35 * rng.random(12)], 1)
        runs = mask.merge(mask.frPyObjects([corners.ravel().tolist()], 80, 100))
        theirs = mask.decode(runs).astype(bool)
        ours = outline_of([corners.ravel().tolist()], (80, 100), PLACE).mask(
            Window.on((0, 0, 100, 80), (100, 80), (80, 100))
        )
        assert (ours & theirs).sum() / (ours | theirs).sum() > 0.85
        text = {"size": [80, 100], "counts": runs["counts"].decode()}
        same = outline_of(text, (80, 100), PLACE)
        assert isinstance(same, Runs)
        assert np.array_equal(same.whole(), theirs)


@pytest.mark.parametrize(
    ("given_", "words"),
    [
        ([], "has no `segmentation`, but `masks` is true"),
        (None, "has no `segmentation`, but `masks` is true"),
        (3, "has the `segmentation` 3, but `masks` is true"),
        ([[1, 1, 2, 2]], "has a polygon of 2 points, but 3 are the fewest: [1, 1, 2, 2]"),
        ([[]], "has a polygon of 0 points, but 3 are the fewest: []"),
        ([[1, 1, 2, 2, 3]], "has the polygon [1, 1, 2, 2, 3]: it must be numbers x, y, x, y"),
        ([[1, 1, 2, 2, 3, float("nan")]], "has the polygon [1, 1, 2, 2, 3, nan]: it must be numbers"),
        ([[1, 1, 2, 2, 3, 10**400]], "has the polygon "),
        ([[1, 1, 2, 2, 3, True]], "has the polygon [1, 1, 2, 2, 3, True]"),
        ([3], "has the polygon 3: it must be"),
        (
            {"counts": [3, 3], "size": [3, 2]},
            "runs of pixels of the `size` [3, 2], but its image is [height, width] [2, 3]",
        ),
        ({"counts": [3, 3]}, "runs of pixels of the `size` None"),
        ({"counts": [3, 4], "size": [2, 3]}, "whose `counts` add up to 7, but they must be the lengths of runs, which"),
        ({"counts": [-1, 7], "size": [2, 3]}, "whose `counts` are [-1, 7], but"),
        ({"counts": "~~~", "size": [2, 3]}, "whose `counts` are '~~~', but"),
        ({"counts": "P", "size": [2, 3]}, "whose `counts` are 'P', but"),
        ({"counts": "", "size": [2, 3]}, "whose `counts` add up to 0, but"),
        ({"size": [2, 3]}, "whose `counts` are None, but"),
    ],
)
def test_what_is_no_outline_is_told(given_: Any, words: str) -> None:
    with pytest.raises(BadInput) as error:
        outline_of(given_, (2, 3), PLACE)
    assert str(error.value).startswith(f"{PLACE} has ")
    assert words in str(error.value)


def test_a_polygon_has_the_corners_it_was_given() -> None:
    assert polygon_of([0, 1, 2, 3.5, 4, 5], PLACE).tolist() == [[0, 1], [2, 3.5], [4, 5]]
