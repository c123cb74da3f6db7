"""What a loaded network answers about images: `predict`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import torch
from torch import nn

from invnas.errors import BadInput
from invnas.export.preprocess import Used

if TYPE_CHECKING:
    from PIL.Image import Image

    #: A path, the bytes of a file, an image of Pillow, or an array (height, width, channels) of uint8.
    Picture = str | os.PathLike[str] | bytes | Image | np.ndarray

#: Images that go through the network together.
BATCH = 32


@dataclass(frozen=True)
class Prediction:
    """What a network says of one image.

    Attributes:
        index: Number of the most probable class.
        name: What that class is called; its number where classes have no names.
        probability: Softmax of its score; not calibrated.
        probabilities: The same of every class, in label order.
    """

    index: int
    name: str
    probability: float
    probabilities: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Predictor:
    """Prepares images as the network was trained on them, and names their classes.

    Attributes:
        network: A classifier in eval mode.
        used: Preprocessing and class names.
        task: What the network was trained for.
        classes: How many classes it has.
    """

    network: nn.Module
    used: Used
    task: str = "classification"
    classes: int = 0

    @overload
    def __call__(self, images: Picture) -> Prediction: ...  # type: ignore[overload-overlap]  # text is one path
    @overload
    def __call__(self, images: Iterable[Picture]) -> list[Prediction]: ...

    def __call__(self, images: Any) -> Prediction | list[Prediction]:
        """Return the prediction of an image, or a list of those of several.

        Args:
            images: A path, the bytes of a file, an image of Pillow, or an array (height, width, channels) or (height,
                width) of uint8 (one without channels may be of deeper numbers); or several of these.

        Raises:
            BadInput: If one is no image, or it is not known how images are prepared.
        """
        if one := _is_one(images):
            images = [images]
        found = []
        for answer in self.each(images):
            if isinstance(answer, BadInput):
                raise answer
            found.append(answer)
        return found[0] if one else found

    def each(self, images: Iterable[Picture]) -> Iterator[Prediction | BadInput]:
        """Yield the prediction of each image in turn, or why it is none; decoded by threads, `BATCH` at a time.

        Raises:
            BadInput: If it is not known how images are prepared, or the network is no classifier in eval mode.
        """
        self.check()
        waiting = list(images)
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            for start in range(0, len(waiting), BATCH):
                yield from self._batch(pool, waiting[start : start + BATCH])

    def check(self) -> None:
        """Raise BadInput unless images can be told apart."""
        if self.task != "classification":
            raise BadInput(f"the network was trained for the task '{self.task}', and only a classifier names classes")
        if self.used.missing:
            raise BadInput(
                f"images cannot be prepared for this network: {self.used.missing}; give its preprocessing in a file "
                "(docs/deploy.md), or let the data module say it and export again"
            )
        if self.network.training:
            raise BadInput("the network is in training mode: call its eval() before predict")

    @property
    def names(self) -> Sequence[str] | None:
        """The names of the classes, if known."""
        return self.used.class_names

    def _batch(self, pool: ThreadPoolExecutor, images: Sequence[Any]) -> Iterator[Prediction | BadInput]:
        from invnas.data.normalisation import Normalisation
        from invnas.data.preparing import GivenPictures, batch_of, prepared

        how = self.used.preprocessing
        pictures = GivenPictures(images, how.span)

        def pixels(index: int) -> np.ndarray | BadInput:
            try:
                return prepared(pictures, index, how)
            except BadInput as error:
                return error

        read = list(pool.map(pixels, range(len(images))))
        good = [one for one in read if not isinstance(one, BadInput)]
        probabilities: Iterator[list[float]] = iter(())
        if good:
            batch = batch_of(good, Normalisation(how.mean or (), how.std or ()))
            probabilities = iter(self._probabilities(batch))
        for one in read:
            yield one if isinstance(one, BadInput) else self._prediction(next(probabilities))

    def _probabilities(self, batch: torch.Tensor) -> list[list[float]]:
        weight = next(self.network.parameters(), batch)
        with torch.no_grad():
            scores = self.network(batch.to(weight.device, weight.dtype))
        found: list[list[float]] = scores.double().softmax(dim=1).tolist()
        return found

    def _prediction(self, probabilities: list[float]) -> Prediction:
        index = max(range(len(probabilities)), key=probabilities.__getitem__)
        name = str(index) if self.names is None else self.names[index]
        return Prediction(index, name, probabilities[index], tuple(probabilities))


def _is_one(images: Any) -> bool:
    if isinstance(images, np.ndarray):
        return images.ndim < 4
    return isinstance(images, str | bytes | os.PathLike) or not isinstance(images, Iterable)


if TYPE_CHECKING:

    class Model(nn.Module):
        """What `load_model` returns, to a type checker: the network itself, which also has `predict`."""

        predict: Predictor
