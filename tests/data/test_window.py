from __future__ import annotations

import random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from invnas.data.pairs import PairFrame
from invnas.data.window import Window
from invnas.masks import IGNORED

sides = st.integers(1, 40)


def filled_map(width: int, height: int, box: tuple[int, int, int, int]) -> Image.Image:
    """Return a map of ones in a box of whole pixels."""
    map = np.zeros((height, width), np.uint8)
    map[box[1] : box[3], box[0] : box[2]] = 1
    return Image.fromarray(map)


@st.composite
def boxed(draw: st.DrawFn) -> tuple[int, int, tuple[int, int, int, int]]:
    """Draw the width and height of a picture, and a box of whole pixels in it."""
    width, height = draw(sides), draw(sides)
    left, top = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    return width, height, (left, top, draw(st.integers(left + 1, width)), draw(st.integers(top + 1, height)))


@given(boxed(), st.integers(2, 40), st.integers(2, 40), st.integers(0, 10**6), st.booleans(), st.booleans())
def test_a_box_moves_as_the_pixels_in_it(
    what: tuple[int, int, tuple[int, int, int, int]], rows: int, columns: int, seed: int, flip: bool, still: bool
) -> None:
    width, height, box = what
    frame = PairFrame((rows, columns), 1, flip, (0.25, 4.0))
    size = (width, height)
    window = frame.still(size) if still else frame.drawn(size, random.Random(seed))
    map = window.map(filled_map(width, height, box))
    (seen,), (share,) = window.boxes(np.array([box], float))
    left, top, right, bottom = seen
    assert 0 <= left <= right <= columns
    assert 0 <= top <= bottom <= rows
    assert 0 <= share <= 1 + 1e-9
    # What is a pixel of the map has its centre in the box: its border is at most half a pixel away.
    found = map == 1
    assert not found.any() or share > 0
    if found.any():
        across, down = np.flatnonzero(found.any(0)), np.flatnonzero(found.any(1))
        assert np.allclose((across[0], across[-1] + 1), (left, right), atol=0.5 + 1e-6)
        assert np.allclose((down[0], down[-1] + 1), (top, bottom), atol=0.5 + 1e-6)
    else:
        assert right - left < 1 + 1e-6 or bottom - top < 1 + 1e-6
    # No box is seen where the picture is not.
    shown = np.zeros((rows, columns), bool)
    shown[window.filled[1] : window.filled[3], window.filled[0] : window.filled[2]] = True
    assert np.array_equal(shown, map != IGNORED)


def test_what_is_seen_is_known_to_the_last_digit() -> None:
    boxes = np.array([[0, 0, 10, 10], [5, 5, 6, 6], [2, 0, 6, 10], [-1, 0, 10, 10]], float)
    seen, shares = Window.on((4, 2, 8, 6), (10, 10), (8, 16)).boxes(boxes)
    assert seen.tolist() == [[0, 0, 16, 8], [4, 6, 8, 8], [0, 0, 8, 8], [0, 0, 16, 8]]
    assert np.allclose(shares, [0.16, 1, 0.2, 16 / 110])
    seen, shares = Window.on((4, 2, 8, 6), (10, 10), (8, 16), mirrored=True).boxes(boxes)
    assert seen.tolist() == [[0, 0, 16, 8], [8, 6, 12, 8], [8, 0, 16, 8], [0, 0, 16, 8]]


def test_beyond_the_picture_is_nothing_of_a_box() -> None:
    # Twice as wide and high as the picture, which fills columns 2 to 5 and rows 4 to 7 of 8 x 8.
    window = Window.on((-2, -4, 6, 4), (4, 4), (8, 8))
    assert window.cells == (2, 4, 6, 8)
    assert window.shown == 1
    (whole,), (share,) = window.boxes(np.array([[0, 0, 4, 4]], float))
    assert (whole.tolist(), share) == ([2, 4, 6, 8], 1)
    mirrored = Window.on((-3, -4, 5, 4), (4, 4), (8, 8), mirrored=True)
    assert mirrored.boxes(np.array([[0, 0, 1, 4]], float))[0].tolist() == [[4, 4, 5, 8]]
    assert (mirrored.map(Image.new("L", (4, 4))) != IGNORED).sum(0).tolist() == [0, 4, 4, 4, 4, 0, 0, 0]
