"""Draws scenes: objects over clutter that covers and resembles them, with the number of the object at every pixel.

All arithmetic is that of whole numbers, so a scene is the same on every machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from PIL import Image

#: An object is in the annotation if at least this share of it, in percent, is to be seen: not covered, not cut off.
VISIBLE = 30

_SOLID = 128  # from this opacity on, a pixel is the object's
_SHARPEN, _FOOT = 3, 70  # how the soft edge of an enlarged object is made narrow
_HEIGHT = (30, 60)  # of an object, percent of the side of the scene
_WIDTH = (75, 125)  # of an object, percent of its height
_CONTRAST = (40, 130)  # of an object and what it lies on, in grey levels of each channel
_BELOW, _ABOVE = (4, 9), (0, 2)  # pieces of clutter under and among the objects, from and to
_PIECE = (30, 45)  # of an object that a piece of clutter is, percent
_CLOUD = 40  # largest amplitude of the clouds of the ground, in grey levels
_NOISE = (4, 18)  # largest amplitude of the noise of a pixel, from and to


@dataclass(frozen=True)
class Things:
    """What is pasted: opacity and shade of some objects, each (N, H, W) uint8, and the class of each, (N,) from 0."""

    opacity: np.ndarray
    shade: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def by_class(self) -> tuple[np.ndarray, ...]:
        """The numbers of the objects of each class that is there."""
        return tuple(np.flatnonzero(self.labels == label) for label in np.unique(self.labels))

    def take(self, indices: np.ndarray) -> Things:
        """Return those at `indices`."""
        return Things(self.opacity[indices], self.shade[indices], self.labels[indices])


@dataclass(frozen=True)
class Scene:
    """A picture (H, W, C) uint8, the number of the object at each pixel (H, W) uint8, and their classes by number.

    Number 0 is everything else; `labels` has the class of object 1 first.
    """

    picture: np.ndarray
    objects: np.ndarray
    labels: tuple[int, ...]


def draw_scene(things: Things, side: int, channels: int, count: tuple[int, int], rng: np.random.Generator) -> Scene:
    """Draw a scene of `count` (from, to) objects; what is hidden but for less than `VISIBLE` percent is clutter."""
    canvas = _ground(side, channels, rng)
    numbers = np.zeros((side, side), np.int64)
    for _ in range(_between(_BELOW, rng)):
        _paste(canvas, numbers, _piece(things, side, rng), 0, rng)
    wanted = _between(count, rng)
    order = rng.permutation([*range(1, wanted + 1), *[0] * _between(_ABOVE, rng)])
    labels, whole = np.zeros(wanted + 1, np.int64), np.zeros(wanted + 1, np.int64)
    for number in order:
        if number == 0:
            _paste(canvas, numbers, _piece(things, side, rng), 0, rng)
            continue
        alike = things.by_class[rng.integers(len(things.by_class))]
        chosen = int(alike[rng.integers(len(alike))])
        labels[number] = things.labels[chosen]
        whole[number] = _paste(canvas, numbers, _enlarged(things, chosen, side, rng), int(number), rng)
    seen = np.bincount(numbers.ravel(), minlength=wanted + 1)
    kept = [number for number in range(1, wanted + 1) if 100 * seen[number] >= VISIBLE * max(whole[number], 1)]
    renumbered = np.zeros(wanted + 1, np.uint8)
    renumbered[kept] = np.arange(1, len(kept) + 1)
    picture = canvas + _noise(canvas.shape, rng)
    return Scene(
        np.clip(picture, 0, 255).astype(np.uint8), renumbered[numbers], tuple(int(labels[number]) for number in kept)
    )


def _ground(side: int, channels: int, rng: np.random.Generator) -> np.ndarray:
    """Return a gradient from one colour to another with clouds over it: (H, W, C) of whole numbers in 0..255."""
    first, last = rng.integers(30, 226, (2, channels))
    down, across = rng.integers(-8, 9, 2)
    height = down * np.arange(side)[:, None] + across * np.arange(side)
    height = (height - height.min()) * 255 // max(int(height.max() - height.min()), 1)
    cells = int(rng.integers(3, 9))
    clouds = np.stack([_scaled(rng.integers(0, 256, (cells, cells)), (side, side)) for _ in range(channels)], axis=2)
    amplitude = int(rng.integers(0, _CLOUD + 1))
    ground = first + (last - first) * height[:, :, None] // 255 + (clouds - 128) * amplitude // 128
    return np.clip(ground, 0, 255)


def _noise(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    most = _between(_NOISE, rng)
    return rng.integers(-most, most + 1, shape) + rng.integers(-most, most + 1, shape)


def _enlarged(things: Things, index: int, side: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return opacity and shade of an object in a size of its own."""
    height = max(side * _between(_HEIGHT, rng) // 100, 1)
    size = height, max(height * _between(_WIDTH, rng) // 100, 1)
    opacity = (_scaled(things.opacity[index], size) - _FOOT) * _SHARPEN
    return np.clip(opacity, 0, 255), _scaled(things.shade[index], size)


def _piece(things: Things, side: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return a part of some object, from an edge of it inwards."""
    opacity, shade = _enlarged(things, int(rng.integers(len(things))), side, rng)
    turned = int(rng.integers(4))
    opacity, shade = np.rot90(opacity, turned), np.rot90(shade, turned)
    rows = max(len(opacity) * _between(_PIECE, rng) // 100, 1)
    return np.rot90(opacity[:rows], -turned), np.rot90(shade[:rows], -turned)


def _paste(
    canvas: np.ndarray,
    numbers: np.ndarray,
    thing: tuple[np.ndarray, np.ndarray],
    number: int,
    rng: np.random.Generator,
) -> int:
    """Paste something anywhere, brighter or darker than what it covers; return of how many pixels it is as a whole."""
    opacity, shade = thing
    rows, inner_rows = _place(len(canvas), opacity.shape[0], rng)
    columns, inner_columns = _place(canvas.shape[1], opacity.shape[1], rng)
    part, tone = opacity[inner_rows, inner_columns][:, :, None], shade[inner_rows, inner_columns][:, :, None]
    solid = part[:, :, 0] >= _SOLID
    under = canvas[rows, columns]
    middle = under[solid].sum(0) // max(int(solid.sum()), 1)
    step = rng.integers(_CONTRAST[0], _CONTRAST[1] + 1, canvas.shape[2]) * (2 * int(rng.integers(0, 2)) - 1)
    colour = middle + step
    colour = np.clip(np.where((colour < 0) | (colour > 255), middle - step, colour), 0, 255)
    canvas[rows, columns] = (under * (255 - part) + colour * tone // 255 * part + 127) // 255
    numbers[rows, columns][solid] = number
    return int((opacity >= _SOLID).sum())


def _place(whole: int, part: int, rng: np.random.Generator) -> tuple[slice, slice]:
    """Return a random place for a part of a line, up to a fifth of it beyond the ends: where, and what of it."""
    beyond = part // 5
    start = int(rng.integers(-beyond, max(whole - part + beyond, -beyond) + 1))
    first, last = max(start, 0), min(start + part, whole)
    return slice(first, last), slice(first - start, last - start)


def _scaled(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return whole numbers in 0..255 as large as `size` (height, width)."""
    image = Image.fromarray(values.astype(np.uint8)).resize(size[::-1], Image.Resampling.BICUBIC)
    return np.asarray(image).astype(np.int64)


def _between(bounds: Sequence[int], rng: np.random.Generator) -> int:
    return int(rng.integers(bounds[0], bounds[1] + 1))
