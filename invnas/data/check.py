"""What a user's data module is, looked at once before anything is trained.

A module is believed only after its batches were read: their form, their types, the range of the labels, the pixels, and
that a second instance and a second `setup` give the same validation and test images. The sources of invnas are tested,
and are not read twice: only whether their targets are what the task wants is looked at.
"""

from __future__ import annotations

import hashlib
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from lightning.pytorch import LightningDataModule

from invnas.data.module import ImageDataModule
from invnas.data.source import describe, load_data, make_data, single_loader
from invnas.errors import BadInput
from invnas.experiment import DataSource
from invnas.facts import DataFacts
from invnas.gate import user_code

#: Images of each split that are read; a larger split, or one without an end, is judged by its first so many.
READ = 20_000
#: Batches read at most, so that a loader that gives empty ones for ever has an end.
BATCHES = 20_000

#: Targets of a source of invnas that a task looks at: all are of one kind.
TARGETS = 2

#: Images that are left out are named on the screen up to so many; all names stand in run.json.
NAMED = 5

#: Numbers of pixels read at most, a minute's work: 13,000 images of 224 x 224 in colour.
PIXELS = 2 * 10**9

_HOOKS = {"train": "train_dataloader", "validation": "val_dataloader", "test": "test_dataloader"}

#: Raises BadInput unless the targets of a batch are right: (targets, images in the batch, whether for training).
CheckTargets = Callable[[Any, int, bool], None]


def examine(
    source: DataSource,
    targets: Callable[[DataFacts], CheckTargets],
    note: Callable[[str], None] = lambda sentence: None,
) -> tuple[LightningDataModule, DataFacts]:
    """Open a data module, look at it once, and return it with all that is known of it.

    Args:
        source: Class path and arguments.
        targets: Makes the check of a task for targets from what the module says of itself.
        note: Told what is allowed but seldom meant.

    Raises:
        BadInput: One sentence with the class path, what was seen and what is wanted.
    """
    data = load_data(source)
    facts = describe(data)
    if isinstance(data, ImageDataModule):
        _check_sample(source.class_path, data, targets(facts))
        if data.left_out:
            note(f"note: {_left_out(data.left_out)}")
        data.keep(note)
        return data, replace(facts, fingerprint=data.fingerprint(), origins=dict(data.origins), left_out=data.left_out)
    look = _Look(source.class_path, facts, targets(facts))
    seen = {name: look.read(data, name) for name in ("train", "validation")}
    seen |= look.test_images(data)
    _compare(source, seen, look, data)
    for sentence in _oddities(source.class_path, seen):
        note(sentence)
    return data, replace(
        facts,
        fingerprint=_short(seen["validation"]),
        counts={**{name: one.images for name, one in seen.items() if one.whole}, **facts.counts},
        origins={name: f"{one.words} of `{source.class_path}`" for name, one in seen.items()},
    )


def _check_sample(class_path: str, data: ImageDataModule, check_targets: CheckTargets) -> None:
    """Refuse a source of invnas whose targets are not those of the task: labels for masks, or masks for labels."""
    count = min(TARGETS, data.counts["validation"])
    try:
        check_targets(data.sample_targets(count), count, False)
    except BadInput as error:
        raise BadInput(f"the validation images of `{class_path}` cannot be used: {error}") from None


def _left_out(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    found = f"{len(names):,} images cannot be read and are" if len(names) > 1 else "1 image cannot be read and is"
    return f"{found} left out: {', '.join(map(repr, names[:NAMED]))}{more}"


def split_fingerprint(
    class_path: str, data: LightningDataModule, facts: DataFacts, check_targets: CheckTargets, split: str = "validation"
) -> str:
    """Return the fingerprint that `examine` gives a user's validation images, of any split, as this process has it."""
    return _short(_Look(class_path, facts, check_targets).read(data, split))


def _short(seen: _Seen) -> str:
    return hashlib.sha256(seen.digest.encode()).hexdigest()[:16]


@dataclass
class _Seen:
    """What was read of a split: a digest of each image with its label, and how many."""

    whole: bool = True
    images: int = 0
    batches: int = 0
    largest: int = 0
    pixels: int = 0
    low: float = 0.0
    high: float = 0.0
    digests: Counter[bytes] = field(default_factory=Counter)

    @property
    def digest(self) -> str:
        """The same for the same images with the same labels in any order."""
        return hashlib.sha256(b"".join(sorted(self.digests.elements()))).hexdigest()

    @property
    def words(self) -> str:
        return f"{self.images:,}" if self.whole else f"more than {self.images:,}"


@dataclass(frozen=True)
class _Look:
    class_path: str
    facts: DataFacts
    check_targets: CheckTargets

    def read(self, data: LightningDataModule, split: str) -> _Seen:
        """Read a split to its end or its bound, and refuse what cannot be trained on."""
        seen = _Seen()
        loader = single_loader(data, _HOOKS[split])
        for batch in self._batches(loader, split):
            if seen.images >= READ or seen.batches >= BATCHES or seen.pixels >= PIXELS:
                seen.whole = False
                break
            images, labels = self._parts(batch, split)
            self._check_images(images, split)
            try:
                self.check_targets(labels, len(images), split == "train")
            except BadInput as error:
                raise self._refusal(split, str(error)) from None
            _add(seen, images, labels)
        if not seen.images:
            raise self._refusal(split, f"its loader gives no batch{_why_empty(loader)}")
        if split == "train" and seen.largest == 1:
            raise self._refusal(
                split, "each batch holds one image, and batch norm cannot normalise one value: take at least 2"
            )
        return seen

    def test_images(self, data: LightningDataModule) -> dict[str, _Seen]:
        """Return what was read of the test images; nothing where the module has none, or none yet."""
        if type(data).test_dataloader is LightningDataModule.test_dataloader:
            return {}
        try:
            with user_code("setup"):
                data.setup("test")
        except BadInput:  # told when the front is to be tested
            return {}
        return {"test": self.read(data, "test")}

    def _batches(self, loader: Any, split: str) -> Iterator[Any]:
        with user_code(f"the {split} loader of `{self.class_path}`"):
            batches = iter(loader)
        while True:
            with user_code(f"the {split} loader of `{self.class_path}`"):
                try:
                    batch = next(batches)
                except StopIteration:
                    return
            yield batch

    def _parts(self, batch: Any, split: str) -> tuple[torch.Tensor, Any]:
        if not isinstance(batch, list | tuple) or len(batch) != 2:
            kind = f"{type(batch).__name__} of {len(batch)}" if hasattr(batch, "__len__") else type(batch).__name__
            raise self._refusal(split, f"batches must be pairs (images, labels), but one is a {kind}")
        images, labels = batch
        if not isinstance(images, torch.Tensor):
            raise self._refusal(split, f"images must be a tensor, but are of type {type(images).__name__}")
        return images, labels

    def _check_images(self, images: torch.Tensor, split: str) -> None:
        wanted = self.facts.input_shape
        if images.dim() != 4 or tuple(images.shape[1:]) != wanted:
            hint = "; set `input_shape` right" if images.dim() == 4 else ""
            raise self._refusal(
                split,
                f"images must have the shape (batch, {', '.join(map(str, wanted))}), but one batch has "
                f"{tuple(images.shape)}{hint}",
            )
        if wanted[2] in (1, 3) and wanted[0] not in (1, 3) and wanted[0] > 4:
            raise self._refusal(
                split, f"images must be (batch, channels, height, width), but {wanted} has its channels last: permute"
            )
        if not images.is_floating_point():
            ordered = images.numel() and not images.is_complex()
            what = f"from {images.min().item()} to {images.max().item()}" if ordered else "numbers"
            raise self._refusal(
                split,
                f"images must be floating-point numbers, but are {str(images.dtype).removeprefix('torch.')} {what}: "
                "scale them (images.float() / 255), then normalise them",
            )
        if not bool(torch.isfinite(images).all()):
            raise self._refusal(split, "images must hold finite numbers, but some pixels are NaN or infinite")

    def _refusal(self, split: str, sentence: str) -> BadInput:
        name = {"train": "training"}.get(split, split)
        return BadInput(f"the {name} images of `{self.class_path}` cannot be used: {sentence}")


def _add(seen: _Seen, images: torch.Tensor, labels: Any) -> None:
    seen.batches += 1
    seen.images += len(images)
    seen.largest = max(seen.largest, len(images))
    seen.pixels += images.numel()
    if not len(images):
        return
    seen.low, seen.high = min(seen.low, float(images.min())), max(seen.high, float(images.max()))
    pixels = images.detach().cpu().float().numpy()
    told = labels.detach().cpu().double().numpy() if isinstance(labels, torch.Tensor) else labels
    for pixel, label in zip(pixels, told, strict=False):
        mark = label.tobytes() if hasattr(label, "tobytes") else repr(label).encode()
        seen.digests[hashlib.sha256(pixel.tobytes() + mark).digest()] += 1


def _why_empty(loader: Any) -> str:
    """Return the numbers that explain an empty loader, where it tells them."""
    images, batch = getattr(loader, "dataset", None), getattr(loader, "batch_size", None)
    if images is None or not hasattr(images, "__len__"):
        return ""
    dropped = (
        f", and `drop_last` leaves out a batch of fewer than {batch}" if getattr(loader, "drop_last", False) else ""
    )
    return f": it has {len(images):,} images{dropped}"


def _compare(source: DataSource, seen: dict[str, _Seen], look: _Look, data: LightningDataModule) -> None:
    """Refuse a module whose validation or test images are others the next time: trials could not be compared."""
    for what, other in (("a second `setup`", data), ("a second instance", make_data(source))):
        with user_code(f"{what} of `{source.class_path}`"):
            type(other).setup(other, "fit")
        for split in [name for name in ("validation", "test") if name in seen]:
            if split == "test":
                with user_code(f"`{source.class_path}.setup('test')`"):
                    type(other).setup(other, "test")
            again = look.read(other, split)
            if again.digest != seen[split].digest:
                raise BadInput(
                    f"`{source.class_path}` gives other {split} images after {what}: trials would be compared on "
                    "different images, and test images would be trained on; split with a seed, such as "
                    "random_split(images, lengths, generator=torch.Generator().manual_seed(0)), and change "
                    "validation images by nothing that is drawn"
                )


def _oddities(class_path: str, seen: dict[str, _Seen]) -> Iterator[str]:
    """Yield what is allowed but seldom meant."""
    for split in ("validation", "test"):
        if split in seen and (shared := (seen[split].digests & seen["train"].digests).total()):
            yield f"note: {shared:,} of {seen[split].images:,} {split} images of `{class_path}` are training images too"
    if not seen["train"].whole:
        yield (
            f"note: `{class_path}` gives more than {seen['train'].images:,} training images; if it has no end, no "
            "epoch has: `recipe.max_minutes` bounds a training"
        )
    low, high = seen["train"].low, seen["train"].high
    if low >= 0 and high > 100:
        yield f"note: pixels of `{class_path}` go up to {high:g}: networks learn better from normalised images"


def say(sentence: str) -> None:
    """Print a note beside the result."""
    print(sentence, file=sys.stderr)
