from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invnas import Preprocessing
from invnas.errors import BadInput

SIDES = st.integers(1, 5000)
NUMBERS = st.floats(-1e6, 1e6)


@given(
    size=st.tuples(SIDES, SIDES),
    crop=st.none() | st.floats(0, 1, exclude_min=True),
    scale=st.none() | st.tuples(NUMBERS, st.floats(1e-6, 1e6)),
    span=st.none() | st.tuples(NUMBERS, NUMBERS).map(sorted).map(tuple),
)
def test_round_trip_through_json(size: Any, crop: Any, scale: Any, span: Any) -> None:
    mean, std = ((value,) for value in scale) if scale else (None, None)
    made = Preprocessing(size, 1, crop, mean, std, span)
    assert Preprocessing.from_dict(json.loads(json.dumps(made.to_dict()))) == made
    assert len(made.unknown) == (crop is None) + 2 * (scale is None)


@given(size=st.tuples(SIDES, SIDES), crop=st.floats(0.01, 1), width=SIDES, height=SIDES)
def test_the_box_is_centred_and_inside_and_has_the_proportions(size: Any, crop: float, width: int, height: int) -> None:
    left, top, right, bottom = Preprocessing(size, 3, crop).box(width, height)
    assert left + right == pytest.approx(width)
    assert top + bottom == pytest.approx(height)
    assert min(left, top) >= -1e-9 * max(width, height)
    assert (right - left) * size[0] == pytest.approx((bottom - top) * size[1], rel=1e-6, abs=1e-6)
    assert max((right - left) / width, (bottom - top) / height) == pytest.approx(crop)


def test_an_image_of_the_right_size_is_kept_to_the_pixel_where_nothing_is_cropped() -> None:
    for height, width in ((1, 1), (8, 8), (224, 224), (33, 47)):
        assert Preprocessing((height, width), 1, 1.0).box(width, height) == (0, 0, width, height)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"size": [8]}, r"`size` of a preprocessing must be \(height, width\)"),
        ({"size": [0, 8]}, "`size`"),
        ({"channels": 0}, "`channels`"),
        ({"crop": 0}, r"`crop` of a preprocessing must be a share in \(0, 1\]"),
        ({"crop": True}, "`crop`"),
        ({"mean": [0.5, 0.5]}, "`mean` of a preprocessing must be a number for each of 1 channels"),
        ({"std": [0]}, "`std` of a preprocessing must be a number above 0 for each"),
        ({"mean": ["x"]}, "`mean`"),
        ({"span": [1, 0]}, "`span`"),
        ({"orientation": "as it is"}, "`orientation` of a preprocessing must be 'upright, by EXIF'"),
        ({"resise": 1}, "unknown key 'resise' of a preprocessing; nearest: 'resize'"),
    ],
)
def test_what_cannot_be_is_one_sentence(change: dict[str, Any], said: str) -> None:
    data = Preprocessing((8, 8), 1, 0.875, (0.5,), (0.25,)).to_dict()
    with pytest.raises(BadInput, match=said) as raised:
        Preprocessing.from_dict({**data, **change})
    assert "\n" not in str(raised.value)


def test_a_missing_key_and_what_is_no_object_are_told() -> None:
    data = Preprocessing((8, 8), 1).to_dict()
    del data["span"]
    with pytest.raises(BadInput, match="the key 'span' of a preprocessing is missing"):
        Preprocessing.from_dict(data)
    with pytest.raises(BadInput, match="must be an object"):
        Preprocessing.from_dict([])
