"""What a loaded network answers about images: `predict`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, overload

import numpy as np
import torch
from torch import nn

from invnas.errors import BadInput
from invnas.export.preprocess import Used
from invnas.task import load_task

if TYPE_CHECKING:
    from PIL.Image import Image

    #: A path, the bytes of a file, an image of Pillow, or an array (height, width, channels) of uint8.
    Picture = str | os.PathLike[str] | bytes | Image | np.ndarray

#: Images that go through the network together.
BATCH = 32


class Answer(Protocol):
    """What a network says of one image; each task has its own kind."""

    def words(self, most: int | None) -> str:
        """Return it for people, in one line; of classes no more than so many, None leaves the number to the task."""
        ...

    def to_dict(self, most: int | None) -> dict[str, Any]:
        """Return it as plain JSON data."""
        ...

    # One that is a picture also has `save(path, picture)`, which writes a PNG; it is told the image as it was given.


@dataclass(frozen=True, eq=False)
class Predictor:
    """Prepares images as the network was trained on them, and names their classes.

    Attributes:
        network: In eval mode.
        used: Preprocessing and class names.
        task: What the network was trained for.
        classes: How many classes it has.

    It answers with a `Prediction` where the network is a classifier (`index`, `name`, `probability`, `probabilities`),
    with a `MaskPrediction` where it is a segmenter (`mask`, `names`, `shares`), with a `BoxPrediction` where it is a
    detector (`boxes`, `labels`, `scores`), and else with what the task's method `answers` returns.
    """

    network: nn.Module
    used: Used
    task: str = "classification"
    classes: int = 0

    @overload
    def __call__(self, images: Picture) -> Any: ...
    @overload
    def __call__(self, images: Iterable[Picture]) -> list[Any]: ...

    def __call__(self, images: Any) -> Any:
        """Return the answer about an image, or a list of those about several.

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

    def each(self, images: Iterable[Picture]) -> Iterator[Any]:
        """Yield the answer about each image in turn, or why there is none; decoded by threads, `BATCH` at a time.

        Raises:
            BadInput: If it is not known how images are prepared, the task does not say what it answers, or the network
                is not in eval mode.
        """
        self.check()
        waiting = list(images)
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            for start in range(0, len(waiting), BATCH):
                yield from self._batch(pool, waiting[start : start + BATCH])

    def check(self) -> None:
        """Raise BadInput unless something can be said of images."""
        if not hasattr(load_task(self.task), "answers"):
            raise BadInput(
                f"the network was trained for the task '{self.task}', which does not say what it answers about an "
                "image: a task that does has a method `answers(network, images, names, seen)`"
            )
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

    def _batch(self, pool: ThreadPoolExecutor, images: Sequence[Any]) -> Iterator[Any]:
        from invnas.data.normalisation import Normalisation
        from invnas.data.preparing import GivenPictures, Seen, batch_of, prepared_with_place

        how = self.used.preprocessing
        pictures = GivenPictures(images, how.span)

        def pixels(index: int) -> tuple[np.ndarray, Seen] | BadInput:
            try:
                return prepared_with_place(pictures, index, how)
            except BadInput as error:
                return error

        read = list(pool.map(pixels, range(len(images))))
        good = [one for one in read if not isinstance(one, BadInput)]
        answers: Iterator[Any] = iter(())
        if good:
            batch = batch_of([array for array, _ in good], Normalisation(how.mean or (), how.std or ()))
            names = self.names or tuple(map(str, range(self.classes)))
            task: Any = load_task(self.task)
            weight = next(self.network.parameters(), batch)
            with torch.no_grad():
                found = task.answers(
                    self.network, batch.to(weight.device, weight.dtype), names, [seen for _, seen in good]
                )
            answers = iter(found)
        for one in read:
            yield one if isinstance(one, BadInput) else next(answers)


def _is_one(images: Any) -> bool:
    if isinstance(images, np.ndarray):
        return images.ndim < 4
    return isinstance(images, str | bytes | os.PathLike) or not isinstance(images, Iterable)


if TYPE_CHECKING:

    class Model(nn.Module):
        """What `load_model` returns, to a type checker: the network itself, which also has `predict`."""

        predict: Predictor
