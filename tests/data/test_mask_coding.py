from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from invnas.data.mask_coding import MaskCoding
from invnas.errors import BadInput
from invnas.masks import IGNORED

ROADS = {"#000000": None, "#0000FF": "road", "#00ff00": "tree", "#008000": "tree"}


def grey(*values: int, kind: Any = np.uint8) -> Image.Image:
    return Image.fromarray(np.asarray([values], kind))


def palette_image(*values: int) -> Image.Image:
    image = grey(*values)
    image.putpalette([value for number in range(256) for value in (255 - number, number, 7)])
    assert image.mode == "P"
    return image


@given(st.lists(st.sampled_from([*range(5), 255]), min_size=1), st.sampled_from(["L", "P", "I;16", "I"]))
def test_indices_are_taken_as_they_are_in_every_mode(values: list[int], mode: str) -> None:
    image = {"L": grey, "P": palette_image, "I;16": lambda *v: grey(*v, kind=np.uint16)}.get(
        mode, lambda *v: grey(*v, kind=np.int32)
    )(*values)
    assert image.mode == mode
    found = MaskCoding.of(classes=5).indices(image, "'a'")
    assert found.dtype == np.uint8
    assert found[0].tolist() == values


def test_a_mask_of_bits_has_two_classes() -> None:
    found = MaskCoding.of(classes=2).indices(grey(0, 255, 255).convert("1"), "'a'")
    assert found.tolist() == [[0, 1, 1]]


def test_another_value_may_be_ignored() -> None:
    assert MaskCoding.of(classes=2, ignore_value=9).indices(grey(0, 1, 9), "'a'").tolist() == [[0, 1, IGNORED]]
    assert MaskCoding.of(classes=2, ignore_value=1000).indices(grey(0, 1000, kind=np.uint16), "'a'").tolist() == [
        [0, IGNORED]
    ]
    # As in ADE20K: the first class has the value 1.
    counted = MaskCoding.of(classes=150, ignore_value=0)
    assert counted.indices(grey(0, 1, 150), "'a'").tolist() == [[IGNORED, 0, 149]]
    with pytest.raises(BadInput, match=r"its values must be 1\.\.150, or 0 where a pixel is ignored"):
        counted.indices(grey(151), "'a'")


def test_an_unknown_value_is_one_sentence() -> None:
    with pytest.raises(BadInput) as error:
        MaskCoding.of(classes=5).indices(grey(0, 4, 7, 7, 9), "'masks/a.png'")
    assert str(error.value) == (
        "the mask 'masks/a.png' has the value 7 at 2 pixels and 1 other unknown values, but with 5 classes its values "
        "must be 0..4, or 255 where a pixel is ignored (`ignore_value`)"
    )
    with pytest.raises(BadInput, match="has the value 70000 at 1 pixels, but"):
        MaskCoding.of(classes=5).indices(grey(70_000, kind=np.int32), "'a'")
    with pytest.raises(BadInput, match="has the value -1 at 1 pixels, but"):
        MaskCoding.of(classes=5).indices(grey(-1, kind=np.int32), "'a'")


def test_colours_stand_for_classes() -> None:
    coding = MaskCoding.of(palette=ROADS)
    assert (coding.classes, coding.names) == (2, ("road", "tree"))
    colours = np.array([[[0, 0, 255], [0, 255, 0], [0, 128, 0], [0, 0, 0]]], np.uint8)
    for mode in ("RGB", "RGBA"):
        assert coding.indices(Image.fromarray(colours).convert(mode), "'a'").tolist() == [[0, 1, 1, IGNORED]]
    two = MaskCoding.of(palette={"#000000": "background", "#ffffff": "object"})
    assert two.indices(grey(0, 255), "'a'").tolist() == [[0, 1]]
    own = MaskCoding.of(palette={"#ff0007": "one", "#fe0107": "two"})
    assert own.indices(palette_image(0, 1, 1), "'a'").tolist() == [[0, 1, 1]]


def test_a_colour_that_the_palette_lacks_is_one_sentence() -> None:
    colours = np.array([[[0, 0, 254], [0, 0, 254], [9, 9, 9], [0, 0, 255]]], np.uint8)
    with pytest.raises(BadInput) as error:
        MaskCoding.of(palette=ROADS).indices(Image.fromarray(colours), "'a.png'")
    assert str(error.value) == (
        "the mask 'a.png' has the colour #0000fe at 2 pixels, which `palette` does not have; nearest: '#0000ff'; "
        "valid: #000000, #0000ff, #008000, #00ff00"
    )


def test_colours_without_a_palette_are_refused() -> None:
    colours = np.array([[[0, 0, 254], [0, 0, 254], [9, 9, 9]]], np.uint8)
    with pytest.raises(BadInput, match=r"'a' is in colour \(mode RGB\), .*`palette`, such as {'#0000fe': \.\.\., "):
        MaskCoding.of(classes=3).indices(Image.fromarray(colours), "'a'")


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({}, "nothing says which classes the masks have: name them in `class_names`, in a file classes.txt"),
        ({"classes": 1}, "`classes` must be a whole number of at least 2, but got 1"),
        ({"classes": 256}, "`classes` must be at most 255"),
        ({"classes": 3, "class_names": ["a", "b"]}, "`classes` is 3, but 2 classes are named"),
        ({"class_names": ["a"]}, "masks must have from 2 to 255 classes, but 1 are named"),
        ({"class_names": [str(one) for one in range(256)]}, "from 2 to 255 classes, but 256 are named"),
        ({"class_names": ["a", "b", "a"]}, "`class_names` must be different, but 'a' is there 2 times"),
        ({"class_names": "ab"}, "`class_names` must be names of classes in the order of their values, but is 'ab'"),
        ({"class_names": ["a", 2]}, "`class_names` must be names of classes"),
        ({"class_names": ["a", "b"], "palette": ROADS}, "both name the classes: give one of them"),
        ({"class_names": ["a", "b"], "ignore_value": 1}, "`ignore_value` 1 is the value of class 'b': it must be 0 "),
        ({"classes": 3, "ignore_value": 1}, "`ignore_value` 1 is the value of a class: it must be 0 .* or at least 3"),
        ({"classes": 3, "ignore_value": -1}, "`ignore_value` must be a whole number of at least 0, but got -1"),
        ({"palette": []}, "`palette` must give a class for each colour"),
        ({"palette": {"#000000": None}}, "`palette` names no class: all its colours are ignored"),
        ({"palette": {"red": "a"}}, "a colour of `palette` must be written as '#rrggbb', but is 'red'"),
        ({"palette": {0: "a"}}, "a colour of `palette` must be written as '#rrggbb', but is 0"),
        ({"palette": {"#000000": 3}}, "`palette` must name a class for #000000, or null to ignore it, but has 3"),
        ({"palette": {"#0000ff": "a", "#0000FF": "b"}}, "`palette` has the colour #0000ff twice"),
        ({"palette": {"#0000ff": "a", "#000000": None}}, "masks must have from 2 to 255 classes, but 1 are named"),
    ],
)
def test_what_cannot_be_is_one_sentence(said: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=words) as error:
        MaskCoding.of(**said)
    assert "\n" not in str(error.value)
