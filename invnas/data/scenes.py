"""Scenes of real objects on clutter, drawn by a seed: targets are exact, and nothing is downloaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image

from invnas.data import things
from invnas.data.masked import MaskDataModule
from invnas.data.module import Splits
from invnas.data.pairs import PairFrame, PairImages
from invnas.data.pictures import check_channels
from invnas.data.scenery import VISIBLE, Scene, Things, draw_scene
from invnas.data.split import hold_out, seed_of
from invnas.data.window import Window
from invnas.errors import BadInput, shown
from invnas.masks import IGNORED
from invnas.rules import check_whole, one_of

_SIDE = (32, 512)
_OBJECTS = 50  # more leave nothing of each other
_MEMORY = 4 * 10**9  # bytes of all scenes together
_PARTS = ("train", "validation", "test")


class Scenes(MaskDataModule):
    """Scenes of objects that cover each other, on a ground with clutter that resembles them.

    The objects are the digits of scikit-learn or the clothes of Fashion-MNIST, in any size and colour, brighter or
    darker than what they lie on. Pieces of others, which are background, lie under and over them. No digit is in scenes
    of two splits. Scenes depend on `seed` alone, and are the same on every machine.

    Batches are (images, masks) for segmentation: images (B, C, H, W) float32, normalised, channels_last; masks
    (B, H, W) int64, a class for each pixel, 0 for the background, 255 (beyond the picture) is ignored. For detection
    they are (images, targets): for each image a dict with "boxes" (n, 4) float32, left, top, right and bottom of what
    is to be seen in pixels, right and bottom just beyond the last; "labels" (n,) int64, 0 for the first class, since
    background is none; "masks" (n, H, W) bool. torchvision counts labels from 1 instead.

    An object of which less than 30 % is to be seen, not covered or cut off, is not in the annotation: what is left of
    it is background.

    Args:
        source: "digits", or "fashion" (`folder`).
        task: What targets are: "segmentation" or "detection".
        image_size: Side of the square scenes in pixels, from 32 to 512.
        images: Scenes in all; they are divided by `validation_share` and `test_share` as the objects are.
        classes: Objects of the first so many classes, from 2 to 10.
        objects: Fewest and most objects of a scene.
        channels: 3 or 1.
        batch_size: Images of a batch, at least 2.
        seed: Seed of the scenes, of the order and of the augmentation.
        validation_share: Share of the objects, and of the scenes, held out for the search.
        test_share: Share of the objects, and of the scenes, held out for the test.
        train_limit: Use only so many training scenes.
        flip: Mirror training scenes left to right, half of the time; None mirrors clothes, but no digits.
        scales: Smallest and largest scale of a training scene: a random part of it at more than 1, all of it within
            what is ignored at less.
        folder: Where the four files of Fashion-MNIST lie; None takes the folder of Debian's dataset-fashion-mnist.
    """

    def __init__(
        self,
        source: Literal["digits", "fashion"] = "digits",
        task: Literal["segmentation", "detection"] = "segmentation",
        image_size: int = 64,
        images: int = 2000,
        classes: int = 10,
        objects: tuple[int, int] = (1, 5),
        channels: Literal[1, 3] = 3,
        batch_size: int = 64,
        seed: int = 0,
        validation_share: float = 0.2,
        test_share: float = 0.2,
        train_limit: int | None = None,
        flip: bool | None = None,
        scales: tuple[float, float] = (0.75, 1.5),
        folder: str | None = None,
    ) -> None:
        super().__init__(batch_size, seed, validation_share, test_share, train_limit)
        for name, value, valid in (
            ("source", source, ("digits", "fashion")),
            ("task", task, ("segmentation", "detection")),
        ):
            for sentence in one_of(name, value, valid):
                raise BadInput(sentence)
        check_whole("image_size", image_size, *_SIDE)
        check_whole("images", images, 4)
        check_whole("classes", classes, 2, 10)
        check_channels(channels, may_be_none=False)
        if (size := images * image_size**2 * (channels + 1)) > _MEMORY:
            raise BadInput(
                f"{images:,} scenes of {image_size} x {image_size} take {size / 1e9:.1f} GB of memory, but at most "
                f"{_MEMORY / 1e9:g} are taken: take fewer `images` or a smaller `image_size`"
            )
        self.source, self.kind, self.images, self.wanted = source, task, images, classes
        self.objects = _objects(objects)
        self.frame = PairFrame(
            (image_size, image_size), channels, source == "fashion" if flip is None else flip, scales
        )
        self.folder = Path(things.FASHION if folder is None else folder)

    def open_splits(self) -> Splits:
        """Draw the training and validation scenes; those of the test are drawn when it begins."""
        every = things.digits() if self.source == "digits" else things.fashion(self.folder)
        every = every.take(np.flatnonzero(every.labels < self.wanted))
        names = (things.DIGIT_NAMES if self.source == "digits" else things.FASHION_NAMES)[: self.wanted]
        kind = "digits" if self.source == "digits" else "clothes"
        objects, scenes = self._divided(every), self._counts()
        for name in _PARTS:
            if not scenes[name]:
                raise BadInput(
                    f"{self.images} scenes leave none for the {name} split (validation_share "
                    f"{self.validation_share:g}, test_share {self.test_share:g}): take more `images`"
                )
        sets = {name: partial(self._drawn_of, objects[name], scenes[name], part) for part, name in enumerate(_PARTS)}
        said = {name: f"scenes of {len(objects[name]):,} {kind}" for name in _PARTS}
        return Splits(
            f"{said['train']} (seed {self.seed})",
            self.wanted + (self.kind == "segmentation"),
            (("background",) if self.kind == "segmentation" else ()) + names,
            sets["train"](),
            sets["validation"](),
            sets["test"],
            f"the validation {said['validation']} that no other split has",
            f"{scenes['test']:,} test {said['test']} that no other split has",
        )

    def _divided(self, every: Things) -> dict[str, Things]:
        """Divide the objects: no digit is in scenes of two splits."""
        rest, test = hold_out(every.labels, self.test_share, seed_of(self.seed, 1))
        train, validation = hold_out(every.labels[rest], self.validation_share, seed_of(self.seed, 2))
        chosen = (rest[train], rest[validation], test)
        return {name: every.take(indices) for name, indices in zip(_PARTS, chosen, strict=True)}

    def _counts(self) -> dict[str, int]:
        test = round(self.images * self.test_share)
        validation = round((self.images - test) * self.validation_share)
        return {"train": self.images - test - validation, "validation": validation, "test": test}

    def _drawn_of(self, objects: Things, count: int, part: int) -> PairImages:
        (side, _), channels = self.frame.size, self.frame.channels
        drawn = (
            draw_scene(objects, side, channels, self.objects, np.random.default_rng(seed_of(self.seed, 10 + part, one)))
            for one in range(count)
        )
        target = _masks if self.kind == "segmentation" else _objects_of
        pairs = ScenePairs(tuple(drawn), target)
        return PairImages(pairs, np.arange(count), self.frame)


@dataclass(frozen=True)
class ScenePairs:
    """Scenes in memory; the map of each has the number of the object at each pixel.

    Attributes:
        scenes: All of a split.
        form: Makes the target of a map (H, W) of numbers, the scene, and how many pixels one pixel of it has become.
    """

    scenes: tuple[Scene, ...]
    form: Callable[[np.ndarray, Scene, float], Any]

    def __len__(self) -> int:
        return len(self.scenes)

    @property
    def span(self) -> None:
        """None: scenes are of bytes."""
        return None

    def opened(self, index: int) -> tuple[Image.Image, Image.Image]:
        """Return the picture and the map of a scene."""
        scene = self.scenes[index]
        grey = scene.picture.shape[2] == 1
        return Image.fromarray(scene.picture[:, :, 0] if grey else scene.picture), Image.fromarray(scene.objects)

    def target(self, index: int, truth: Image.Image, window: Window) -> Any:
        """Return a mask (H, W) int64, or the objects as a dict."""
        return self.form(window.map(truth), self.scenes[index], window.shown)

    def content(self, index: int) -> bytes:
        """Return the picture, the map and the labels of a scene."""
        scene = self.scenes[index]
        return scene.picture.tobytes() + scene.objects.tobytes() + repr(scene.labels).encode()


def _masks(map: np.ndarray, scene: Scene, shown: float) -> torch.Tensor:
    """Return the class of each pixel, (H, W) int64."""
    classes = np.full(IGNORED + 1, IGNORED, np.int64)
    classes[0] = 0
    classes[1 : len(scene.labels) + 1] = np.asarray(scene.labels, np.int64) + 1
    return torch.from_numpy(classes[map])


def _objects_of(map: np.ndarray, scene: Scene, shown: float) -> dict[str, torch.Tensor]:
    """Return boxes, labels and masks of the objects of which enough is to be seen."""
    numbers = np.arange(1, len(scene.labels) + 1)
    before = np.bincount(scene.objects.ravel(), minlength=len(numbers) + 1)[1:]
    masks = map == numbers[:, None, None]
    kept = 100 * masks.sum((1, 2)) >= np.maximum(VISIBLE * before * shown, 1)
    masks = masks[kept]
    boxes = np.zeros((len(masks), 4), np.float32)
    for box, mask in zip(boxes, masks, strict=True):
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        box[:] = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    labels = np.asarray(scene.labels, np.int64)[kept]
    return {"boxes": torch.from_numpy(boxes), "labels": torch.from_numpy(labels), "masks": torch.from_numpy(masks)}


def _objects(given: Any) -> tuple[int, int]:
    pair = tuple(given) if isinstance(given, list | tuple) else ()
    if len(pair) != 2 or any(type(one) is not int for one in pair) or not 0 <= pair[0] <= pair[1] <= _OBJECTS:
        raise BadInput(
            f"`objects` must be the fewest and the most objects of a scene, from 0 to {_OBJECTS}, such as [1, 5], but "
            f"got {shown(given)}"
        )
    if pair[1] == 0:
        raise BadInput("`objects` must let scenes have some: the most must be at least 1, but got 0")
    return pair[0], pair[1]
