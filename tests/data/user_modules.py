"""Data modules as users write them: 3 classes, one bright channel each, 8 x 8; each is a way to be odd or wrong."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Iterator
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader, IterableDataset, TensorDataset, random_split


def tensors(count: int = 48) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % 3
    images = torch.rand(count, 3, 8, 8, generator=generator) * 0.3
    images[torch.arange(count), labels] += 0.5
    return images, labels


class Base(LightningDataModule):
    """Right, but that the same images train, validate and test."""

    classes: Any = 3

    def __init__(self) -> None:
        super().__init__()
        self.images: Any = TensorDataset(*self.change(*tensors()))

    def change(self, images: torch.Tensor, labels: torch.Tensor) -> Any:
        return images, labels

    def train_dataloader(self) -> Any:
        return DataLoader(self.images, 16, shuffle=True)

    def val_dataloader(self) -> Any:
        return DataLoader(self.images, 16)

    def test_dataloader(self) -> Any:
        return self.val_dataloader()


# ------------------------------------------------------------------------------------------------ taken as meant
class Int32(Base):
    def change(self, images: Any, labels: Any) -> Any:
        return images, labels.int()


class Byte(Base):
    def change(self, images: Any, labels: Any) -> Any:
        return images, labels.byte()


class Column(Base):
    def change(self, images: Any, labels: Any) -> Any:
        return images, labels[:, None]


class WholeFloats(Base):
    def change(self, images: Any, labels: Any) -> Any:
        return images, labels.double()


class OneHot(Base):
    def change(self, images: Any, labels: Any) -> Any:
        return images, torch.nn.functional.one_hot(labels, 3).float()


class Doubles(Base):
    def change(self, images: Any, labels: Any) -> Any:
        return images.double(), labels


class Halves(Base):
    def change(self, images: Any, labels: Any) -> Any:
        return images.half(), labels


class ListOfOne(Base):
    def val_dataloader(self) -> Any:
        return [DataLoader(self.images, 16)]


class Streamed(Base):
    class _Stream(IterableDataset[Any]):
        def __iter__(self) -> Iterator[Any]:
            return zip(*tensors(), strict=True)

    def train_dataloader(self) -> Any:
        return DataLoader(self._Stream(), 16)


class MixedLabels(Base):
    def train_dataloader(self) -> Any:
        images, labels = tensors()
        return DataLoader(TensorDataset(images, torch.nn.functional.one_hot(labels, 3) * 0.7 + 0.1), 16)


class LastBatchOfOne(Base):
    def __init__(self) -> None:
        super().__init__()
        self.images = TensorDataset(*tensors(49))


class NamesByLabel(Base):
    class_names: Any = {2: "c", 0: "a", 1: "b"}  # noqa: RUF012


class Seeded(Base):
    def setup(self, stage: str | None = None) -> None:
        generator = torch.Generator().manual_seed(0)
        self.train, self.validation, self.test = random_split(self.images, [32, 8, 8], generator=generator)

    def train_dataloader(self) -> Any:
        return DataLoader(self.train, 16, shuffle=True)

    def val_dataloader(self) -> Any:
        return DataLoader(self.validation, 16)

    def test_dataloader(self) -> Any:
        return DataLoader(self.test, 16)


# ------------------------------------------------------------------------------------------------------- refused
class NothingToTrain(Base):
    input_shape = (3, 8, 8)

    def train_dataloader(self) -> Any:
        return DataLoader(self.images, 64, shuffle=True, drop_last=True)


class NothingToValidate(Base):
    def val_dataloader(self) -> Any:
        return DataLoader(TensorDataset(*tensors(0)), 16)


class SplitAnew(Seeded):
    def setup(self, stage: str | None = None) -> None:
        self.train, self.validation, self.test = random_split(self.images, [32, 8, 8])


class SplitOnceAnInstance(Seeded):
    def __init__(self) -> None:
        super().__init__()
        self.parts = random_split(self.images, [32, 8, 8])

    def setup(self, stage: str | None = None) -> None:
        self.train, self.validation, self.test = self.parts


class OtherTestImages(Seeded):
    def setup(self, stage: str | None = None) -> None:
        super().setup(stage)
        if stage == "test":
            self.test = random_split(self.images, [8, 40])[0]


class DrawnValidation(Base):
    def val_dataloader(self) -> Any:
        images, labels = tensors()
        return DataLoader(TensorDataset(images + torch.rand(48, 1, 1, 1), labels), 16)


class Bytes(Base):
    def change(self, images: Any, labels: Any) -> Any:
        return (images * 255).byte(), labels


class FromOne(Base):
    def change(self, images: Any, labels: Any) -> Any:
        return images, labels + 1


class Negative(Base):
    def change(self, images: Any, labels: Any) -> Any:
        return images, labels - 1


class BadValidationLabel(Base):
    def val_dataloader(self) -> Any:
        images, labels = tensors()
        return DataLoader(TensorDataset(images, labels.clone().fill_(7)), 16)


class Fractions(Base):
    def change(self, images: Any, labels: Any) -> Any:
        return images, labels + 0.5


class FourColumns(Base):
    def change(self, images: Any, labels: Any) -> Any:
        return images, torch.nn.functional.one_hot(labels, 4)


class Scores(Base):
    def change(self, images: Any, labels: Any) -> Any:
        return images, torch.nn.functional.one_hot(labels, 3) * 2.0


class Words(Base):
    def train_dataloader(self) -> Any:
        images, labels = tensors()
        return DataLoader([(image, f"class {label}") for image, label in zip(images, labels, strict=True)], 16)


class NotANumber(Base):
    def change(self, images: Any, labels: Any) -> Any:
        images[30, 0, 0, 0] = float("nan")
        return images, labels


class ChannelsLast(Base):
    def change(self, images: Any, labels: Any) -> Any:
        return images.permute(0, 2, 3, 1), labels


class OtherSizes(Base):
    def train_dataloader(self) -> Any:
        images, labels = tensors()
        small = [(image[:, : 8 - i // 16], label) for i, (image, label) in enumerate(zip(images, labels, strict=True))]
        return DataLoader(small, 16)


class WrongShape(Base):
    input_shape = (3, 16, 16)


class NoShape(Base):
    input_shape = "3x8x8"


class HugeShape(Base):
    input_shape = (3, 8, 10**30)


class HugeClasses(Base):
    classes = 10**30


class EndsAll(Base):
    def setup(self, stage: str | None = None) -> None:
        os._exit(0)


class Triples(Base):
    input_shape = (3, 8, 8)

    def change(self, images: Any, labels: Any) -> Any:
        return images, labels, torch.arange(len(labels))


class Mappings(Base):
    input_shape = (3, 8, 8)

    def train_dataloader(self) -> Any:
        images, labels = tensors()
        return DataLoader([{"x": x, "y": y} for x, y in zip(images, labels, strict=True)], 16)


class TwoValidations(Base):
    def val_dataloader(self) -> Any:
        return [DataLoader(self.images, 16), DataLoader(self.images, 16)]


class TwoTrainings(Base):
    def train_dataloader(self) -> Any:
        return {"a": DataLoader(self.images, 16), "b": DataLoader(self.images, 16)}


class OneAtATime(Base):
    def train_dataloader(self) -> Any:
        return DataLoader(self.images, 1)


class BrokenSetup(Base):
    def setup(self, stage: str | None = None) -> None:
        raise FileNotFoundError("photos.zip")


class BrokenPrepare(Base):
    def prepare_data(self) -> None:
        raise AssertionError


class BrokenInit(Base):
    def __init__(self) -> None:
        super().__init__()
        raise KeyError("images")


class BrokenLoader(Base):
    input_shape = (3, 8, 8)

    def train_dataloader(self) -> Any:
        return DataLoader([1 / 0 for _ in range(3)], 2)


class BrokenBatch(Base):
    input_shape = (3, 8, 8)

    class _Stream(IterableDataset[Any]):
        def __iter__(self) -> Iterator[Any]:
            yield from zip(*tensors(16), strict=True)
            raise OSError("the disk is gone")

    def train_dataloader(self) -> Any:
        return DataLoader(self._Stream(), 8)


class Exits(Base):
    def setup(self, stage: str | None = None) -> None:
        sys.exit()


class NoStage(Base):
    def setup(self) -> None:  # type: ignore[override]
        return None


class TooFewNames(Base):
    class_names: Any = ("a",)


class NamesThatAreNone(Base):
    class_names: Any = 3


class ClassesUnknownYet(Base):
    @property
    def classes(self) -> int:  # type: ignore[override]
        raise RuntimeError("not known yet")


class GeneratorEnds(Base):
    def setup(self, stage: str | None = None) -> None:
        raise GeneratorExit


class Complex(Base):
    def change(self, images: Any, labels: Any) -> Any:
        return images.to(torch.complex64), labels


class NoLoader(Base):
    def val_dataloader(self) -> Any:
        return None


class ListToTrain(Base):
    def train_dataloader(self) -> Any:
        return [DataLoader(self.images, 16)]


class ListOfBatches(Base):
    def val_dataloader(self) -> Any:
        return [tensors(16), tensors(16)]


class NoClasses(Base):
    classes = "3"


class StrangeScale(Base):
    normalisation: Any = (0.5, 0.2)


# ----------------------------------------------------------------------------------------------- without an end
class Endless(Base):
    class _Stream(IterableDataset[Any]):
        def __iter__(self) -> Iterator[Any]:
            return itertools.cycle(zip(*tensors(), strict=True))

    def train_dataloader(self) -> Any:
        return DataLoader(self._Stream(), 16)
