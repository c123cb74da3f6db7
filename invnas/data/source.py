"""From a class path to a data module that is ready to train on, and the facts a network needs about it."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sized
from dataclasses import fields, replace
from numbers import Integral
from typing import Any

from lightning.pytorch import LightningDataModule

from invnas.class_path import load_class
from invnas.data.module import ImageDataModule
from invnas.errors import BadInput, nearest, shown
from invnas.experiment import DataSource
from invnas.facts import DataFacts
from invnas.gate import user_code
from invnas.preprocessing import CENTRE, Preprocessing
from invnas.rules import CLASSES, LARGEST, image

_SCALE = ("mean", "std")
_MODULES = {
    "BoxFolder": "box_folder", "Cifar": "cifar", "CocoFiles": "coco_files", "Digits": "digits", "HardDigits": "digits",
    "HuggingFace": "hugging_face", "HuggingFaceMasks": "hugging_face_masks", "ImageFolder": "folder",
    "MaskFolder": "mask_folder", "Scenes": "scenes",
}  # fmt: skip
_BUILT_IN = tuple(f"invnas.data.{name}" for name in _MODULES)


def load_data(source: DataSource) -> LightningDataModule:
    """Import, check, make and set up a data module; its training and validation images are then open.

    Args:
        source: Class path, or the name of a class that comes with invnas, and the arguments.

    Raises:
        BadInput: The class or an argument does not exist, or the images cannot be used.
        MissingExtra: The source needs a package that is not installed.
    """
    data = make_data(source)
    _once_a_stage(data)
    with user_code(f"`{source.class_path}.setup('fit')`"):
        data.setup("fit")
    return data


def make_data(source: DataSource) -> LightningDataModule:
    """Import, check, make and prepare a data module, not yet set up; raises as `load_data` does."""
    kind = _find_class(source.class_path)
    _check_arguments(kind, source)
    with user_code(f"`{source.class_path}(...)`"):
        data = kind(**source.init_args)
    with user_code(f"`{source.class_path}.prepare_data()`"):
        data.prepare_data()
    return data


def _once_a_stage(data: LightningDataModule) -> None:
    """Let every later `setup` of a stage do nothing: the trainer calls it at each trial, and a module may read all."""
    setup, done = data.setup, set[str]()

    def once(stage: str) -> None:
        if stage not in done:
            setup(stage)
            done.add(stage)

    data.setup = once  # type: ignore[method-assign]
    data.prepare_data = lambda: None  # type: ignore[method-assign]


def single_loader(data: LightningDataModule, hook: str) -> Any:
    """Return the loader of a data module.

    A trainer takes a list with one loader to validate on, and nothing else that is no loader.

    Raises:
        BadInput: If the hook raises, or returns several.
    """
    path = _path_of(data)
    with user_code(f"`{path}.{hook}()`"):
        given = getattr(data, hook)()
    if given is None:
        raise BadInput(f"`{path}.{hook}` must return one loader, but returns None")
    if not (isinstance(given, list | tuple | dict) or hasattr(given, "iterables")):
        return given
    inside = given if isinstance(given, list | tuple) else list(given.values()) if isinstance(given, dict) else ()
    if hook != "train_dataloader" and len(inside) == 1 and hasattr(inside[0], "dataset"):
        return inside[0]
    raise BadInput(f"`{path}.{hook}` must return one loader, but returns a {type(given).__name__}")


def describe(data: LightningDataModule) -> DataFacts:
    """Return the facts about a data module that is set up.

    The sources of invnas say them; any other module must have an attribute `classes` or `num_classes` (a number or
    a list of names), and its image size is read from the first training batch. `class_names` and `normalisation` are
    read where it has them, and so is `preprocessing`: a `Preprocessing`, or its fields by name,
    and `class_counts`, the training images of each class.

    Raises:
        BadInput: The module does not say how many classes it has, or its batches are not images and labels.
    """
    with user_code(f"`{_path_of(data)}`"):
        return _described(data)


def _described(data: LightningDataModule) -> DataFacts:
    classes, names = _classes(data)
    shape = getattr(data, "input_shape", None)
    if shape is None:
        shape = _first_shape(data)
    facts = DataFacts(_as_shape(shape, data), classes, names, _counts(data), _normalisation(data))
    return replace(facts, preprocessing=_preprocessing(data, facts), class_counts=_class_counts(data, classes))


def preprocessing_of(source: DataSource, facts: DataFacts) -> Preprocessing:
    """Return what is done to an image of a run, as far as it is known.

    The facts say it; a run of an older version has its size and normalisation there, and the sources of invnas crop in
    one way each. What a user's own module does not say stays unknown.
    """
    if facts.preprocessing is not None:
        return facts.preprocessing
    (channels, *size), scale = facts.input_shape, facts.normalisation or {}
    kind = source.class_path.removeprefix("invnas.data.").rpartition(".")[2]
    crop = None
    if source.class_path in (kind, f"invnas.data.{kind}", f"invnas.data.{_MODULES.get(kind)}.{kind}"):
        streamed = kind == "ImageFolder" or source.init_args.get("image_size") is not None
        crop = CENTRE if streamed else 1.0 if kind in _MODULES else None
    span = (0.0, 1.0) if crop and kind in ("Digits", "HardDigits") else None
    return Preprocessing((size[0], size[1]), channels, crop, scale.get("mean"), scale.get("std"), span)


def _find_class(class_path: str) -> type[LightningDataModule]:
    whole = class_path if "." in class_path else f"invnas.data.{class_path}"
    kind: type[LightningDataModule] = load_class(whole, "data source", _BUILT_IN, LightningDataModule)
    for hook in ("train_dataloader", "val_dataloader"):
        if getattr(kind, hook) is getattr(LightningDataModule, hook):
            raise BadInput(f"`{class_path}` must have the method `{hook}`: a search trains and validates")
    return kind


def _check_arguments(kind: type[LightningDataModule], source: DataSource) -> None:
    parameters = [parameter for key, parameter in inspect.signature(kind).parameters.items() if key != "self"]
    named = [one.name for one in parameters if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)]
    if not any(one.kind is one.VAR_KEYWORD for one in parameters):
        for key in source.init_args:
            if key not in named:
                valid = nearest(key, named) if named else "it takes none"
                raise BadInput(f"`{source.class_path}` takes no argument `{key}`; {valid}")
    for one in parameters:
        if one.name in named and one.default is one.empty and one.name not in source.init_args:
            raise BadInput(f"`{source.class_path}` needs the argument `{one.name}`")


def _classes(data: LightningDataModule) -> tuple[int, tuple[str, ...] | None]:
    said = {name: getattr(data, name, None) for name in ("classes", "num_classes")}
    least = 1 if isinstance(data, ImageDataModule) else 2  # those of invnas check their targets; objects may be of one
    for value in said.values():
        if isinstance(value, Integral) and not isinstance(value, bool) and least <= int(value) <= CLASSES:
            return int(value), _names(data, int(value))
        if isinstance(value, list | tuple) and len(value) >= 2:
            return len(value), tuple(str(name) for name in value)
    given = next((f" (it says `{name}` {shown(value)})" for name, value in said.items() if value is not None), "")
    raise BadInput(
        f"`{_path_of(data)}` does not say how many classes it has{given}: add the attribute `classes`, a number from 2 "
        f"to {CLASSES:,}"
    )


def _names(data: LightningDataModule, classes: int) -> tuple[str, ...] | None:
    """Return the names of the classes in label order, from a list or a mapping by label."""
    names = getattr(data, "class_names", None)
    if names is None:
        return None
    if isinstance(names, Mapping) and set(names) == set(range(classes)):
        names = [names[label] for label in range(classes)]
    if isinstance(names, str | Mapping) or not isinstance(names, Iterable) or len(found := list(names)) != classes:
        raise BadInput(
            f"`class_names` of `{_path_of(data)}` must be {classes} names in label order, but is {shown(names, 60)}"
        )
    return tuple(str(name) for name in found)


def _class_counts(data: LightningDataModule, classes: int) -> tuple[int, ...] | None:
    """Return the training images of each class, where a module says them in label order."""
    said = getattr(data, "class_counts", None)
    if said is None:
        return None
    try:
        counts = tuple(int(count) for count in said)
    except (TypeError, ValueError, OverflowError):
        counts = ()
    if len(counts) != classes or min(counts) < 0:
        raise BadInput(
            f"`class_counts` of `{_path_of(data)}` must be {classes} numbers of training images in label order, but is "
            f"{shown(said, 60)}"
        )
    return counts


def _first_shape(data: LightningDataModule) -> tuple[int, ...]:
    loader = single_loader(data, "train_dataloader")
    with user_code(f"the training loader of `{_path_of(data)}`"):
        batch = next(iter(loader), None)
    images = batch[0] if isinstance(batch, list | tuple) and len(batch) == 2 else None
    shape = getattr(images, "shape", None)
    if shape is None or len(shape) != 4:
        raise BadInput(
            f"the training batches of `{_path_of(data)}` must be pairs (images, labels) with images of shape"
            f" (batch, channels, height, width), but the first is {_words_for(batch)}"
        )
    return tuple(shape[1:])


def _as_shape(shape: Any, data: LightningDataModule) -> tuple[int, int, int]:
    try:
        channels, height, width = (int(side) for side in shape)
    except (TypeError, ValueError, OverflowError):
        channels = height = width = 0
    if any(image((channels, height, width))):
        raise BadInput(
            f"`input_shape` of `{_path_of(data)}` must be (channels, height, width), each a whole number from 1 to "
            f"{LARGEST:,}, but got {shown(shape, 60)}"
        )
    return channels, height, width


def _normalisation(data: LightningDataModule) -> dict[str, tuple[float, ...]] | None:
    """Return mean and deviation by name: a module says them as two attributes, as a mapping, or as a pair."""
    said = getattr(data, "normalisation", None)
    if said is None:
        return None
    try:
        pair = (
            said
            if isinstance(said, Mapping)
            else vars(said)
            if hasattr(said, "mean")
            else dict(zip(_SCALE, said, strict=True))
        )
        return {key: tuple(float(value) for value in pair[key]) for key in _SCALE}
    except (TypeError, ValueError, KeyError, AttributeError):
        raise BadInput(
            f"`normalisation` of `{_path_of(data)}` must hold `mean` and `std`, a number for each channel, "
            f"but is {shown(said, 80)}"
        ) from None


def _preprocessing(data: LightningDataModule, facts: DataFacts) -> Preprocessing | None:
    """Return what a module says of its images; mean and deviation may stand in its `normalisation` alone."""
    said = getattr(data, "preprocessing", None)
    if said is None:
        return None
    channels, *size = facts.input_shape
    place = f"`preprocessing` of `{_path_of(data)}`"
    known = [field.name for field in fields(Preprocessing)]
    if isinstance(said, Mapping):
        for key in said:
            if key not in known:
                raise BadInput(f"unknown key '{key}' in {place}; {nearest(str(key), known)}")
        said = {"size": tuple(size), "channels": channels, **(facts.normalisation or {}), **said}
        try:
            said = Preprocessing(**said)
        except BadInput as error:
            raise BadInput(f"{place} cannot be: {error}") from None
    if not isinstance(said, Preprocessing):
        raise BadInput(f"{place} must be an invnas.Preprocessing or its fields by name, but is {shown(said, 60)}")
    if (said.channels, *said.size) != facts.input_shape:
        raise BadInput(
            f"{place} makes images of {said.channels} x {said.size[0]} x {said.size[1]}, but a network sees "
            f"{' x '.join(map(str, facts.input_shape))}"
        )
    return said


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
    for name, hook in (("train", "train_dataloader"), ("validation", "val_dataloader")):
        # A loader that streams without a length has no count to tell.
        images = getattr(single_loader(data, hook), "dataset", None)
        if isinstance(images, Sized):
            found[name] = len(images)
    return found


def _path_of(data: LightningDataModule) -> str:
    return f"{type(data).__module__}.{type(data).__qualname__}"
