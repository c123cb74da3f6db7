"""From a class path to a data module that is ready to train on, and the facts a network needs about it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sized
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from lightning.pytorch import LightningDataModule

from invnas.errors import BadInput, nearest
from invnas.experiment import DataSource

_BUILT_IN = ("Cifar", "Digits", "HardDigits", "HuggingFace", "ImageFolder")


@dataclass(frozen=True)
class DataFacts:
    """What a network and a report need to know about the data.

    Attributes:
        input_shape: Channels, height and width of an image.
        classes: Number of classes.
        class_names: Their names in label order, if known.
        counts: Images of each open split, by name, where the loader can tell.
    """

    input_shape: tuple[int, int, int]
    classes: int
    class_names: tuple[str, ...] | None = None
    counts: Mapping[str, int] = field(default_factory=dict)


def load_data(source: DataSource) -> LightningDataModule:
    """Import, check, make and set up a data module; its training and validation images are then open.

    Args:
        source: Class path, or the name of a class that comes with invnas, and the arguments.

    Raises:
        BadInput: The class or an argument does not exist, or the images cannot be used.
        MissingExtra: The source needs a package that is not installed.
    """
    kind = _find_class(source.class_path)
    _check_arguments(kind, source)
    data = kind(**source.init_args)
    data.prepare_data()
    data.setup("fit")
    return data


def describe(data: LightningDataModule) -> DataFacts:
    """Return the facts about a data module that is set up.

    The sources of invnas say them; any other module must have an attribute `classes` or `num_classes` (a number or
    a list of names), and its image size is read from the first training batch.

    Raises:
        BadInput: The module does not say how many classes it has, or its batches are not images and labels.
    """
    classes, names = _classes(data)
    shape = getattr(data, "input_shape", None)
    if shape is None:
        shape = _first_shape(data)
    return DataFacts(_as_shape(shape, data), classes, names, _counts(data))


def _find_class(class_path: str) -> type[LightningDataModule]:
    module_name, _, name = class_path.rpartition(".")
    if module_name in ("", "invnas.data"):
        if name not in _BUILT_IN:
            raise BadInput(f"`{class_path}` is no data source of invnas; {nearest(name, _BUILT_IN)}")
        module_name = "invnas.data"
    try:
        module = import_module(module_name)
    except ImportError as error:
        raise BadInput(f"`{class_path}` cannot be imported: {error}") from None
    kind = getattr(module, name, None)
    if kind is None:
        public = [key for key, value in vars(module).items() if inspect.isclass(value)]
        raise BadInput(f"the module `{module_name}` has no class `{name}`; {nearest(name, public)}")
    if not (inspect.isclass(kind) and issubclass(kind, LightningDataModule)):
        raise BadInput(f"`{class_path}` must be a LightningDataModule, but it is {_kind_of(kind)}")
    for hook in ("train_dataloader", "val_dataloader"):
        if getattr(kind, hook) is getattr(LightningDataModule, hook):
            raise BadInput(f"`{class_path}` must have the method `{hook}`: a search trains and validates")
    return kind


def _kind_of(value: Any) -> str:
    return f"the class {value.__name__}" if inspect.isclass(value) else f"of type {type(value).__name__}"


def _check_arguments(kind: type[LightningDataModule], source: DataSource) -> None:
    parameters = [parameter for key, parameter in inspect.signature(kind).parameters.items() if key != "self"]
    named = [one.name for one in parameters if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)]
    if not any(one.kind is one.VAR_KEYWORD for one in parameters):
        for key in source.init_args:
            if key not in named:
                raise BadInput(f"`{source.class_path}` takes no argument `{key}`; {nearest(key, named)}")
    for one in parameters:
        if one.name in named and one.default is one.empty and one.name not in source.init_args:
            raise BadInput(f"`{source.class_path}` needs the argument `{one.name}`")


def _classes(data: LightningDataModule) -> tuple[int, tuple[str, ...] | None]:
    names = getattr(data, "class_names", None)
    for attribute in ("classes", "num_classes"):
        value = getattr(data, attribute, None)
        if isinstance(value, int) and not isinstance(value, bool) and value >= 2:
            return value, tuple(str(name) for name in names) if names else None
        if isinstance(value, list | tuple) and len(value) >= 2:
            return len(value), tuple(str(name) for name in value)
    raise BadInput(
        f"`{_path_of(data)}` does not say how many classes it has: add the attribute `classes`, a number of at least 2"
    )


def _first_shape(data: LightningDataModule) -> tuple[int, ...]:
    batch = next(iter(data.train_dataloader()), None)
    images = batch[0] if isinstance(batch, list | tuple) and len(batch) == 2 else None
    shape = getattr(images, "shape", None)
    if shape is None or len(shape) != 4:
        raise BadInput(
            f"the training batches of `{_path_of(data)}` must be pairs (images, labels) with images of shape"
            f" (batch, channels, height, width), but the first is {_words_for(batch)}"
        )
    return tuple(shape[1:])


def _as_shape(shape: Any, data: LightningDataModule) -> tuple[int, int, int]:
    if len(shape) != 3:
        raise BadInput(f"`input_shape` of `{_path_of(data)}` must be (channels, height, width), but got {shape}")
    channels, height, width = (int(side) for side in shape)
    return channels, height, width


def _words_for(batch: Any) -> str:
    if batch is None:
        return "missing: the loader is empty"
    parts = batch if isinstance(batch, list | tuple) else [batch]
    shapes = [f"{type(part).__name__}{list(getattr(part, 'shape', []))}" for part in parts]
    return f"{type(batch).__name__} of {', '.join(shapes)}"


def _counts(data: LightningDataModule) -> dict[str, int]:
    counts = getattr(data, "counts", None)
    if isinstance(counts, dict):
        return dict(counts)
    found = {}
    for name, loader in (("train", data.train_dataloader), ("validation", data.val_dataloader)):
        # A loader that is a list of loaders, or streams without a length, has no count to tell.
        images = getattr(loader(), "dataset", None)
        if isinstance(images, Sized):
            found[name] = len(images)
    return found


def _path_of(data: LightningDataModule) -> str:
    return f"{type(data).__module__}.{type(data).__qualname__}"
