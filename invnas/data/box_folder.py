"""A folder of images with a text file of boxes for each, streamed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from invnas.data.box_lines import BoxLines
from invnas.data.boxed import Annotated, BoxDataModule, Classes, named
from invnas.data.listing import SPLITS, named_folder, names_in, split_folder
from invnas.data.mask_files import IMAGES, by_name
from invnas.data.pairs import PairFrame, size_of
from invnas.errors import BadInput, shown

_LABELS = "labels"
_CLASSES, _YAML = "classes.txt", ("data.yaml", "data.yml")


class BoxFolder(BoxDataModule):
    """Images with text files of boxes, as YOLO reads them, for the task `detection`.

    root/train/images/NAME.jpg has its objects in root/train/labels/NAME.txt, a line each: `class cx cy width height`,
    or a class and the x and y of each point of a polygon, as shares of the sides of the image; classes count from 0.
    root/images/train with root/labels/train is the same (there names may go on, such as train2017), and root/images
    with root/labels has no splits. The folders of the validation and test images are called as those of `MaskFolder`;
    what is lacking is held out of the training images. An image without a text file, or with an empty one, has no
    objects.

    Batches, cropping, and which objects are seen are as of `CocoFiles`.

    Args:
        root: The folder.
        class_names: Names of the classes in the order of their numbers; None reads `names` in data.yaml, or classes.txt
            with a name a line, in the root.
        masks: Whether polygons become masks, for networks that make some; then each object must have one.
        image_size: Side of the square images in pixels, or [height, width]; at least 16.
        channels: 3 or 1; all images are converted.
        batch_size: Images of a batch, at least 2.
        seed: Seed of the splits, of the order and of the augmentation.
        validation_share: Share of the images held out for the search.
        test_share: Share of the images held out for the test.
        test_folder: Name of the folder with the test images; None takes test or testing.
        train_limit: Use only so many training images, drawn by seed.
        flip: Mirror training images left to right, half of the time.
        scales: Smallest and largest scale of a training image against what validation sees.
        num_workers: Processes that decode; None takes all cores but one, at most 8.
        on_broken_image: "error" refuses the first image that cannot be read; "skip" looks for them when the folder is
            opened, leaves them out of every split and says which.
        on_broken_box: "error" refuses a box of no area, or of more than 0.2 % of a side beyond its image; "clip" clips
            boxes to their image, leaves out those of which nothing is left, and says how many.

    Example:
        >>> from invnas import DataSource
        >>> DataSource("BoxFolder", {"root": "data/parts", "class_names": ["bolt", "nut"]}).class_path
        'BoxFolder'
    """

    def __init__(
        self,
        root: str,
        class_names: Sequence[str] | None = None,
        masks: bool = False,
        image_size: int | tuple[int, int] = 256,
        channels: Literal[1, 3] = 3,
        batch_size: int = 16,
        seed: int = 0,
        validation_share: float = 0.2,
        test_share: float = 0.2,
        test_folder: str | None = None,
        train_limit: int | None = None,
        flip: bool = True,
        scales: tuple[float, float] = (0.5, 2.0),
        num_workers: int | None = None,
        on_broken_image: str = "error",
        on_broken_box: str = "error",
    ) -> None:
        super().__init__(batch_size, seed, validation_share, test_share, train_limit)
        self.settle(root, masks, PairFrame(size_of(image_size), channels, flip, scales), num_workers)
        self.settle_broken(on_broken_image, on_broken_box)
        self.test_folder, self.said = test_folder, class_names

    def _places(self) -> dict[str, _Place]:
        inner = self.root / IMAGES  # root/images/train, or root/train/images
        within = any(split_folder(inner, split, longer=True) for split in SPLITS)
        under = inner if within else self.root
        test = named_folder(under, self.test_folder) or split_folder(under, "test", longer=within)
        folders = {
            "train": split_folder(under, "train", longer=within),
            "test": test,
            "validation": split_folder(under, "validation", other_than=test, longer=within),
        }
        if folders["train"] is None:
            if lost := [folder for folder in folders.values() if folder is not None]:
                raise BadInput(
                    f"'{under}' has a folder '{lost[0].name}' but none with training images: call theirs 'train'"
                )
            return {"train": _Place(self.root, inner, self.root / _LABELS)}
        return {
            split: _Place(folder, folder, self.root / _LABELS / folder.name)
            if under == inner
            else _Place(folder, folder / IMAGES, folder / _LABELS)
            for split, folder in folders.items()
            if folder is not None
        }

    def _origin(self, place: _Place) -> str:
        return f"'{place.folder}'"

    def _annotated(self, place: _Place, classes: Classes | None) -> Annotated:
        if classes is None:
            names = self._class_names()
            classes = Classes(names, {}, {})
        files = [folder for folder in (place.images, place.labels) if not folder.is_dir()]
        if files:
            raise BadInput(
                f"images lie in '{place.images}' and their objects in '{place.labels}', but there is no folder "
                f"'{files[0]}'"
            )
        images = by_name(place.images)
        if not images:
            raise BadInput(f"'{place.images}' has no images")
        labels = {
            file.relative_to(place.labels).with_suffix("").as_posix(): file
            for file in sorted(place.labels.rglob("*"))
            # Programs for annotating write the names of the classes beside the labels.
            if file.suffix.lower() == ".txt" and file.name != _CLASSES and not file.name.startswith(".")
        }
        if lost := sorted(set(labels) - set(images)):
            raise BadInput(
                f"'{place.labels}' has {len(lost):,} files without an image in '{place.images}': "
                f"{named([labels[name].name for name in lost])}; both have one name, but for the ending"
            )
        reading = BoxLines(classes.names, self.masks, self.clip)
        order = sorted(images)
        objects = [reading.read(labels.get(name)) for name in order]
        lost_boxes = [f"{count:,} {what}" for what, count in reading.left_out.items()]
        return Annotated(self._origin(place), [str(images[name]) for name in order], objects, classes, lost_boxes)

    def _class_names(self) -> tuple[str, ...]:
        if self.said is not None:
            return _checked(self.said, "`class_names`")
        for file in (self.root / name for name in _YAML):
            if file.is_file():
                return _checked(_names_of(file), f"`names` in '{file}'")
        if (file := self.root / _CLASSES).is_file():
            return names_in(file)
        raise BadInput(
            f"nothing names the classes of '{self.root}': give `class_names`, or write data.yaml with `names`, or "
            "classes.txt with a name a line, into it"
        )


@dataclass(frozen=True)
class _Place:
    folder: Path
    images: Path
    labels: Path


def _names_of(file: Path) -> Any:
    try:
        data = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise BadInput(f"'{file}' cannot be read: {' '.join(str(error).split())}") from None
    names = data.get("names") if isinstance(data, dict) else None
    if isinstance(names, dict) and set(names) == set(range(len(names))):
        return [names[number] for number in range(len(names))]
    return names


def _checked(given: Any, what: str) -> tuple[str, ...]:
    names = tuple(given) if isinstance(given, list | tuple) else ()
    if not names or not all(isinstance(name, str | int) and not isinstance(name, bool) for name in names):
        raise BadInput(f"{what} must be a list of names, or a name for each number from 0, but got {shown(given, 60)}")
    if twice := next((name for i, name in enumerate(names) if name in names[:i]), None):
        raise BadInput(f"{what} has two classes '{twice}': each needs a name of its own")
    return tuple(map(str, names))
