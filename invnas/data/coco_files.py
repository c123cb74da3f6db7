"""Images with a COCO annotation file, streamed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from invnas.data.boxed import Annotated, BoxDataModule, Classes
from invnas.data.coco import CocoFile, annotation_files
from invnas.data.listing import SPLITS, split_folder
from invnas.data.pairs import PairFrame, size_of
from invnas.errors import BadInput, nearest, shown

_PREFIX = "instances_"
_WITHIN = ("images", "data")  # what the folder of the images is called beside an annotation file


class CocoFiles(BoxDataModule):
    """Images with annotations as COCO writes them, a JSON file for each split, for the task `detection`.

    Found without being told: root/train/ with the images and `_annotations.coco.json`, `annotations.json` or any one
    JSON file, and root/valid/, root/test/ likewise; COCO's own root/annotations/instances_train2017.json with
    root/train2017/, and so on; or one file in the root. Images lie beside the file, or in `images` or `data` there.
    What is lacking of validation and test is held out of the training images, by `validation_share` and `test_share`.

    Batches are (images, targets): images (B, C, H, W) float32, normalised, channels_last; for each a dict of "boxes"
    (n, 4) float32, left, top, right and bottom in pixels of what is seen; "labels" (n,) int64, 0 for the category of
    the smallest id; with `masks` also "masks" (n, H, W) bool. An image without annotations has no objects.

    Images are cropped and scaled as by `MaskFolder`, and boxes and masks with them, without rounding. An object of
    which less than 30 % of the box is seen, or less than half a pixel of a side, is not in the target.

    Args:
        root: The folder.
        annotations: The file of the training images, from the root, or the file of each split by "train", "validation"
            and "test"; None finds them.
        images: The folder of the images, from the root, or that of each split; None finds it.
        class_names: Names of the categories that are classes, in label order; objects of others are left out. None
            takes all, by id.
        masks: Whether outlines (`segmentation`: polygons or runs) become masks, for networks that make some.
        image_size: Side of the square images in pixels, or [height, width]; at least 16.
        channels: 3 or 1; all images are converted.
        batch_size: Images of a batch, at least 2.
        seed: Seed of the splits, of the order and of the augmentation.
        validation_share: Share of the images held out for the search.
        test_share: Share of the images held out for the test.
        train_limit: Use only so many training images, drawn by seed.
        flip: Mirror training images left to right, half of the time.
        scales: Smallest and largest scale of a training image against what validation sees: a random part of it at more
            than 1, more of the image, or all of it within black, at less.
        num_workers: Processes that decode; None takes all cores but one, at most 8.
        on_broken_image: "error" refuses the first image that cannot be read; "skip" looks for them when the files are
            opened, leaves them out of every split and says which.
        on_broken_box: "error" refuses a box of no area, or of more than a pixel beyond its image; "clip" clips boxes to
            their image, leaves out those of which nothing is left, and says how many.

    Example:
        >>> from invnas import DataSource
        >>> DataSource("CocoFiles", {"root": "data/street", "image_size": [256, 384]}).class_path
        'CocoFiles'
    """

    def __init__(
        self,
        root: str,
        annotations: str | Mapping[str, str] | None = None,
        images: str | Mapping[str, str] | None = None,
        class_names: Sequence[str] | None = None,
        masks: bool = False,
        image_size: int | tuple[int, int] = 256,
        channels: Literal[1, 3] = 3,
        batch_size: int = 16,
        seed: int = 0,
        validation_share: float = 0.2,
        test_share: float = 0.2,
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
        self.given = {"annotations": _by_split("annotations", annotations), "images": _by_split("images", images)}
        self.wanted = _names(class_names)

    def _annotated(self, place: _Place, classes: Classes | None) -> Annotated:
        return CocoFile(place.file, place.folders, self.wanted, self.masks, self.clip).read(classes)

    def _origin(self, place: _Place) -> str:
        return f"'{place.file}'"

    def _places(self) -> dict[str, _Place]:
        found = self._files()
        said = self.given["images"]
        if isinstance(said, str):
            said = dict.fromkeys(SPLITS, said)
        for split in found:
            if said and split in said:
                folder = self.root / said[split]
                if not folder.is_dir():
                    raise BadInput(f"`images` is '{said[split]}', but '{self.root}' has no such folder")
                found[split] = _Place(found[split].file, (folder,))
        return found

    def _files(self) -> dict[str, _Place]:
        """Return the annotation file of each split, and where its images may be."""
        given = self.given["annotations"]
        if given is not None:
            return self._told({"train": given} if isinstance(given, str) else given)
        train = split_folder(self.root, "train")
        if train is not None and list(annotation_files(train)):
            folders = {split: split_folder(self.root, split) for split in SPLITS}
            return {split: _beside(_only(folder)) for split, folder in folders.items() if folder is not None}
        if (self.root / "annotations").is_dir() and (found := self._of_coco()):
            return found
        if list(annotation_files(self.root)):
            return {"train": _beside(_only(self.root))}
        raise BadInput(
            f"'{self.root}' has no annotation file: neither train/_annotations.coco.json, nor "
            "annotations/instances_train.json, nor a JSON file of its own; `annotations` names it"
        )

    def _told(self, files: Mapping[str, str]) -> dict[str, _Place]:
        places = {}
        for split, name in files.items():
            file = self.root / name
            if not file.is_file():
                raise BadInput(f"`annotations` is '{name}', but '{self.root}' has no such file")
            places[split] = self._near(file) if file.parent.name == "annotations" else _beside(file)
        return places

    def _of_coco(self) -> dict[str, _Place]:
        files = sorted(file for file in (self.root / "annotations").glob("*.json") if not file.name.startswith("."))
        files = [file for file in files if file.name.startswith(_PREFIX)] or files
        found: dict[str, _Place] = {}
        for split, names in SPLITS.items():
            own = [file for file in files if file.stem.removeprefix(_PREFIX).startswith(names)]
            if len(own) > 1:
                raise BadInput(
                    f"'{self.root}/annotations' has two files of the {split} images, {own[0].name} and {own[1].name}: "
                    "`annotations` says which"
                )
            if own:
                found[split] = self._near(own[0])
        if not found and len(files) == 1:
            return {"train": self._near(files[0])}
        if files and "train" not in found:
            raise BadInput(
                f"'{self.root}/annotations' has '{files[0].name}', but no file of the training images, such as "
                "'instances_train.json': `annotations` says which it is"
            )
        return found

    def _near(self, file: Path) -> _Place:
        """Return where the images of root/annotations/NAME.json may be."""
        name = file.stem.removeprefix(_PREFIX)
        split = next((split for split, names in SPLITS.items() if name.startswith(names)), None)
        names = dict.fromkeys((name, *(SPLITS[split] if split else ())))
        root = file.parent.parent
        inner = [root / one for one in names] + [root / "images" / one for one in names]
        return _Place(file, (*inner, *(root / one for one in _WITHIN), root))


@dataclass(frozen=True)
class _Place:
    file: Path
    folders: Sequence[Path]


def _beside(file: Path) -> _Place:
    return _Place(file, (file.parent, *(file.parent / name for name in _WITHIN)))


def _only(folder: Path) -> Path:
    files = list(annotation_files(folder))
    if len(files) == 1:
        return files[0]
    found = f"two annotation files, {files[0].name} and {files[1].name}" if files else "no annotation file"
    what = "" if files else ", _annotations.coco.json, annotations.json or any one of JSON"
    raise BadInput(f"'{folder}' has {found}{what}: `annotations` names those of all splits")


def _by_split(name: str, given: Any) -> Any:
    """Return what was said of each split, or of all."""
    if given is None or (isinstance(given, str) and given):
        return given
    if not isinstance(given, Mapping) or not all(isinstance(one, str) and one for one in given.values()):
        raise BadInput(f"`{name}` must be a path, or a path for each split by its name, but got {shown(given)}")
    for split in given:
        if split not in SPLITS:
            raise BadInput(f"unknown split '{split}' in `{name}`; {nearest(str(split), SPLITS)}")
    if name == "annotations" and "train" not in given:
        raise BadInput(f"`{name}` must name the file of 'train', but names {', '.join(map(repr, given)) or 'none'}")
    return dict(given)


def _names(given: Any) -> tuple[str, ...] | None:
    if given is None:
        return None
    names = tuple(given) if isinstance(given, list | tuple) else ()
    if not names or not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise BadInput(f"`class_names` must be a list of different names, but got {shown(given, 60)}")
    return names
