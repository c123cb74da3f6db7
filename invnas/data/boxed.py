"""The base of sources that read objects from files: which files there are, and what is annotated, says a subclass."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from invnas.data.loader import checked_workers
from invnas.data.masked import MaskDataModule
from invnas.data.module import Splits
from invnas.data.objects import ObjectPairs, Objects
from invnas.data.pairs import PairFrame, PairImages
from invnas.data.pictures import FilePictures, Span, check_channels, span_of
from invnas.data.readable import broken_files
from invnas.errors import BadInput, shown
from invnas.rules import one_of

_NAMED = 3  # files named in a sentence


@dataclass(frozen=True)
class Classes:
    """The classes of a source.

    Attributes:
        names: In label order.
        labels: The label of each number in the files; None where objects of that number are left out.
        called: The name of each number in the files.
    """

    names: tuple[str, ...]
    labels: Mapping[int, int | None]
    called: Mapping[int, str]


@dataclass(frozen=True)
class Annotated:
    """What the files of a split say.

    Attributes:
        origin: Words that name where it stands.
        paths: The images.
        objects: Those of each image.
        classes: Which there are.
        lost: What is left out, in words.
    """

    origin: str
    paths: Sequence[str]
    objects: Sequence[Objects]
    classes: Classes
    lost: Sequence[str] = ()


class BoxDataModule(MaskDataModule):
    """As `MaskDataModule`, for objects in files; `_places` finds the files of each split, `_annotated` reads them."""

    cannot_balance = "a picture holds objects of several classes at once"

    def settle(self, root: str, masks: bool, frame: PairFrame, num_workers: int | None) -> None:
        """Check and keep where the files are, whether masks are wanted, and how images are framed and read."""
        check_channels(frame.channels, may_be_none=False)
        if not isinstance(masks, bool):
            raise BadInput(f"`masks` must be true or false, but got {shown(masks)}")
        self.root, self.masks, self.frame = Path(root), masks, frame
        self.num_workers = checked_workers(num_workers)

    def settle_broken(self, on_broken_image: str, on_broken_box: str) -> None:
        """Check and keep what is done with images that cannot be read, and with boxes that cannot be."""
        for name, value, valid in (
            ("on_broken_image", on_broken_image, ("error", "skip")),
            ("on_broken_box", on_broken_box, ("error", "clip")),
        ):
            for sentence in one_of(name, value, valid):
                raise BadInput(sentence)
        self.skip, self.clip = on_broken_image == "skip", on_broken_box == "clip"

    def _places(self) -> dict[str, Any]:
        """Return where each split that has files of its own is: "train", and perhaps "validation" and "test"."""
        raise NotImplementedError

    def _annotated(self, place: Any, classes: Classes | None) -> Annotated:
        """Return what the files of a split say; `classes` are those of the training images, None for these."""
        raise NotImplementedError

    def open_splits(self) -> Splits:
        """Read the annotations and list the images; those of a test split are not looked at before the test."""
        if not self.root.is_dir():
            raise BadInput(f"the image folder '{self.root}' does not exist")
        places = self._places()
        train, said = self._opened(places["train"])
        classes, span = said.classes, train.pairs.span
        others = {
            # Broken images are looked for in all splits at once, before anything is trained.
            name: self._opened(places[name], classes, span)
            for name in ("validation", "test")
            if name in places and (name == "validation" or self.skip)
        }
        test = others.get("test")
        without = f", without {len(test[0].broken):,} that cannot be read" if test and test[0].broken else ""
        return Splits(
            _words(said),
            len(classes.names),
            classes.names,
            train,
            others["validation"][0] if "validation" in others else None,
            (lambda: (test or self._opened(places["test"], classes, span))[0]) if "test" in places else None,
            _words(others["validation"][1]) if "validation" in others else "",
            f"the images of {self._origin(places['test'])}{without}" if "test" in places else "",
        )

    def _origin(self, place: Any) -> str:
        """Return the words that name where a split is."""
        return f"'{place}'"

    def _set_up(self, splits: Splits) -> None:
        super()._set_up(splits)
        held = {**self._sets}
        if splits.test is None and self._open_test is not None:
            held["test"] = self._open_test()
        for name, images in held.items():
            assert isinstance(images, PairImages)
            if not images.pairs.count(images.indices):  # type: ignore[attr-defined]
                drawn = getattr(splits, name) is None or name == "train"
                raise BadInput(
                    f"none of the {len(images):,} {name} images has an object: {self.origins[name]}"
                    + ("; another `seed` draws others" if drawn else "")
                )

    def _opened(
        self, place: Any, classes: Classes | None = None, span: Span | None = None
    ) -> tuple[PairImages, Annotated]:
        said = self._annotated(place, classes)
        if not any(map(len, said.objects)):
            raise BadInput(f"{_words(said)} has no object in any of its {len(said.paths):,} images")
        pictures = FilePictures(said.paths)
        broken = broken_files(pictures, self.frame.channels) if self.skip else frozenset[int]()
        good = [number for number in range(len(pictures)) if number not in broken]
        if not good:
            raise BadInput(f"{said.origin} has no image left: none of its {len(pictures):,} can be read")
        self.left_out += tuple(os.path.relpath(said.paths[number], self.root) for number in sorted(broken))
        readable = FilePictures([said.paths[number] for number in good])
        span = span or span_of(readable)
        channels = self.frame.channels
        ObjectPairs(readable, [said.objects[number] for number in good], channels, said.origin).check()
        pairs = ObjectPairs(replace(pictures, span=span), said.objects, channels, said.origin)
        return PairImages(pairs, np.arange(len(pictures)), self.frame, self.num_workers, broken), said


def named(files: Sequence[str]) -> str:
    """Return the first few of some files, and how many more there are."""
    more = f" and {len(files) - _NAMED:,} more" if len(files) > _NAMED else ""
    return f"{', '.join(map(repr, files[:_NAMED]))}{more}"


def _words(said: Annotated) -> str:
    lost = f"; left out are {' and '.join(said.lost)}" if said.lost else ""
    return f"{said.origin} ({sum(map(len, said.objects)):,} objects{lost})"
