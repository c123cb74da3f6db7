"""What a COCO annotation file says: images, objects and classes, each checked, and what is wrong told by its id."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from invnas.data.boxed import Annotated, Classes, named
from invnas.data.objects import Objects
from invnas.data.outlines import Outline, outline_of
from invnas.errors import BadInput, nearest, shown
from invnas.files import read_json
from invnas.rules import LARGEST

_LISTS = ("images", "annotations", "categories")
_OVERHANG = 1.0  # pixels that a box may reach beyond its image by rounding: COCO's own do
_PROBED = 100  # images that are looked for in each folder


@dataclass(frozen=True)
class CocoFile:
    """An annotation file and how it is read.

    Attributes:
        path: The file.
        folders: Where its images may be; the folder that has the most of them is taken.
        wanted: Names of the categories that are classes, in label order; None takes all, by id.
        masks: Whether outlines are read.
        clip: Whether boxes are clipped to their image, and left out where nothing is left, instead of refused.
    """

    path: Path
    folders: Sequence[Path]
    wanted: Sequence[str] | None
    masks: bool
    clip: bool

    def read(self, like: Classes | None) -> Annotated:
        """Return what the file says.

        Args:
            like: The classes of the training images, which those of this file must be; None for theirs.

        Raises:
            BadInput: One sentence with the file and the id of what is wrong.
        """
        lists = self._lists()
        classes = self._classes(lists["categories"], like)
        images = self._images(lists["images"])
        reading = _Reading(self, images, classes)
        for number, entry in enumerate(lists["annotations"]):
            reading.add(number, entry)
        objects = [Objects.of(reading.found[image], one.size, self.masks) for image, one in images.items()]
        return Annotated(f"'{self.path}'", self._files(images.values()), objects, classes, reading.lost())

    def _lists(self) -> Mapping[str, list[Any]]:
        try:
            size = self.path.stat().st_size
        except OSError as error:
            raise BadInput(f"the annotation file '{self.path}' cannot be read: {error.strerror}") from None
        data = read_json(self.path, size)
        lacks = [name for name in _LISTS if not isinstance(data, dict) or not isinstance(data.get(name), list)]
        if lacks:
            but = f"it lacks {' and '.join(map(repr, lacks))}" if isinstance(data, dict) else f"it is {_kind(data)}"
            raise BadInput(
                f"'{self.path}' is no annotation file of COCO, which is an object with the lists 'images', "
                f"'annotations' and 'categories': {but}"
            )
        for name in _LISTS:
            if not data[name]:
                raise BadInput(f"'{self.path}' has no {name}: the list is empty")
        return data

    def _classes(self, entries: list[Any], like: Classes | None) -> Classes:
        called: dict[int, str] = {}
        for number, entry in enumerate(entries):
            place = f"category {number + 1} of '{self.path}'"
            identity = _identity(entry, "id", place)
            if not isinstance(name := entry.get("name"), str) or not name.strip():
                raise BadInput(f"{place} must have a `name`, but it is {shown(name)}")
            if identity in called:
                raise BadInput(f"'{self.path}' has two categories of the id {identity}: '{called[identity]}', '{name}'")
            if name in called.values():
                raise BadInput(f"'{self.path}' has two categories '{name}': each needs a name of its own")
            called[identity] = name
        if like is not None:
            for identity, name in called.items():
                if like.called.get(identity) != name:
                    theirs = f"'{like.called[identity]}'" if identity in like.called else "missing"
                    raise BadInput(
                        f"'{self.path}' calls its category {identity} '{name}', but that of the training images is "
                        f"{theirs}: all splits must have one list of categories"
                    )
            return like
        chosen = list(called) if self.wanted is None else [self._category(name, called) for name in self.wanted]
        order = sorted(chosen) if self.wanted is None else chosen
        labels: dict[int, int | None] = dict.fromkeys(called)
        labels.update({identity: label for label, identity in enumerate(order)})
        return Classes(tuple(called[identity] for identity in order), labels, called)

    def _category(self, name: str, called: Mapping[int, str]) -> int:
        found = next((identity for identity, one in called.items() if one == name), None)
        if found is None:
            raise BadInput(
                f"'{self.path}' has no category '{name}', which `class_names` asks for; "
                f"{nearest(name, called.values())}"
            )
        return found

    def _images(self, entries: list[Any]) -> dict[int, _Image]:
        images: dict[int, _Image] = {}
        seen: set[str] = set()
        for number, entry in enumerate(entries):
            identity = _identity(entry, "id", f"image {number + 1} of '{self.path}'")
            place = f"the image {identity} of '{self.path}'"
            name = entry.get("file_name")
            if not isinstance(name, str) or not name.strip():
                raise BadInput(f"{place} must have a `file_name`, but it is {shown(name)}")
            if identity in images:
                raise BadInput(
                    f"'{self.path}' has two images of the id {identity}: '{images[identity].name}', '{name}'"
                )
            if name in seen:
                raise BadInput(f"'{self.path}' has two images of the `file_name` '{name}'")
            sides = tuple(entry.get(side) for side in ("width", "height"))
            for side, value in zip(("width", "height"), sides, strict=True):
                if type(value) is not int or not 0 < value <= LARGEST:
                    raise BadInput(f"{place}, '{name}', must have its `{side}` in pixels, but it is {shown(value)}")
            seen.add(name)
            images[identity] = _Image(name, (sides[0], sides[1]))
        return images

    def _files(self, images: Iterable[_Image]) -> list[str]:
        names = [one.name for one in images]
        step = max(len(names) // _PROBED, 1)
        counts = {folder: sum((folder / name).is_file() for name in names[::step]) for folder in self.folders}
        best = max(counts, key=lambda folder: counts[folder])
        missing = [name for name in names if not (best / name).is_file()]
        if len(missing) == len(names):
            places = " nor in ".join(f"'{folder}'" for folder in self.folders)
            raise BadInput(
                f"'{self.path}' names {len(names):,} images, but none is in {places}: {named(missing)}; `images` says "
                "where they are"
            )
        if missing:
            raise BadInput(f"'{self.path}' names {len(missing):,} images that are not in '{best}': {named(missing)}")
        return [str(best / name) for name in names]


@dataclass(frozen=True)
class _Image:
    name: str
    size: tuple[int, int]


@dataclass
class _Reading:
    """The annotations of a file, one by one."""

    file: CocoFile
    images: Mapping[int, _Image]
    classes: Classes
    found: dict[int, list[tuple[Any, int, Outline | None]]] = field(init=False)
    identities: set[int] = field(default_factory=set)
    left_out: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.found = {image: [] for image in self.images}

    def add(self, number: int, entry: Any) -> None:
        """Add an annotation to its image, unless it is to be left out."""
        place = f"annotation {number + 1} of '{self.file.path}'"
        if isinstance(entry, dict) and "id" in entry:
            identity = _identity(entry, "id", place)
            place = f"the annotation {identity} of '{self.file.path}'"
            if identity in self.identities:
                raise BadInput(f"'{self.file.path}' has two annotations of the id {identity}")
            self.identities.add(identity)
        image = _identity(entry, "image_id", place)
        if image not in self.images:
            raise BadInput(f"{place} is of the image {image}, which is not among its `images`")
        category = _identity(entry, "category_id", place)
        if category not in self.classes.labels:
            valid = ", ".join(f"{one} '{name}'" for one, name in sorted(self.classes.called.items()))
            raise BadInput(f"{place} is of the category {category}, which is not among its `categories`: {valid}")
        label = self.classes.labels[category]
        if entry.get("iscrowd"):
            self.left_out["crowds (`iscrowd`)"] += 1
        elif label is None:
            self.left_out["objects of other categories"] += 1
        elif (box := self._box(entry.get("bbox"), image, place)) is None:
            self.left_out["boxes of which nothing is in their image"] += 1
        else:
            width, height = self.images[image].size
            outline = outline_of(entry.get("segmentation"), (height, width), place) if self.file.masks else None
            self.found[image].append((box, label, outline))

    def _box(self, given: Any, image: int, place: str) -> tuple[float, float, float, float] | None:
        """Return left, top, right and bottom within the image; None where boxes are clipped and nothing is left."""
        if not isinstance(given, list) or len(given) != 4 or not _finite(given):
            raise BadInput(
                f"{place} must have a `bbox` [left, top, width, height] of finite numbers, but it is {shown(given, 80)}"
            )
        left, top, across, down = given
        right, bottom = left + across, top + down
        if across < 0 or down < 0 or not (self.file.clip or (left < right and top < bottom)):
            raise BadInput(
                f"{place} has the box {given} of no area: `bbox` is [left, top, width, height]"
                f"{_CLIP if min(across, down) >= 0 else ''}"
            )
        width, height = self.images[image].size
        box = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
        inside = box[0] < box[2] and box[1] < box[3]
        beyond = max(-left, -top, right - width, bottom - height) > _OVERHANG
        if (beyond or not inside) and not self.file.clip:
            raise BadInput(
                f"{place} has the box {given}, which reaches beyond its image '{self.images[image].name}' of {width} x "
                f"{height} pixels: `bbox` is [left, top, width, height]{_CLIP}"
            )
        return box if inside else None

    def lost(self) -> list[str]:
        """Return what is left out, in words."""
        return [f"{count:,} {what}" for what, count in self.left_out.items()]


_CLIP = "; `on_broken_box: clip` clips boxes to their image, and leaves out those of which nothing is left"


def _identity(entry: Any, key: str, place: str) -> int:
    if not isinstance(entry, dict):
        raise BadInput(f"{place} must be an object, but is {shown(entry)}")
    value = entry.get(key)
    if type(value) is not int:
        raise BadInput(f"{place} must have a whole number as `{key}`, but it is {shown(value)}")
    return value


def _finite(values: list[Any]) -> bool:
    try:
        return set(map(type, values)) <= {int, float} and all(map(math.isfinite, values))
    except OverflowError:  # a whole number that no float can be
        return False


def _kind(data: Any) -> str:
    return {"list": "a list", "str": "text", "NoneType": "null"}.get(type(data).__name__, "a number")


def annotation_files(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder that can hold its annotations: by their usual names, or any one of JSON."""
    usual = [folder / name for name in ("_annotations.coco.json", "annotations.json") if (folder / name).is_file()]
    yield from usual or sorted(file for file in folder.glob("*.json") if not file.name.startswith("."))
