"""The facts about the images of a run, as plain data: what a network, a worker and a report need to know of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from invnas.preprocessing import Preprocessing


@dataclass(frozen=True)
class DataFacts:
    """What a network and a report need to know about the data.

    Attributes:
        input_shape: Channels, height and width of an image.
        classes: Number of classes.
        class_names: Their names in label order, if known.
        counts: Images of each open split, by name, where the loader can tell.
        normalisation: Mean and standard deviation of each channel, of values in 0..1, by "mean" and "std", if known.
        origins: Which images were trained, validated and tested, how many, and where from, by "train" and so on.
        fingerprint: Digits that differ where the images or their labels do; empty where nobody looked.
        preprocessing: What is done to an image before a network sees it, where the data say it; runs of an older
            version do not.
        class_counts: Training images of each class in label order, where the data say it; runs of an older version do
            not.
        left_out: Names of images that cannot be read and are in no split, as the data were told to leave them out.
    """

    input_shape: tuple[int, int, int]
    classes: int
    class_names: tuple[str, ...] | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    normalisation: Mapping[str, tuple[float, ...]] | None = None
    origins: Mapping[str, str] = field(default_factory=dict)
    fingerprint: str = ""
    preprocessing: Preprocessing | None = None
    class_counts: tuple[int, ...] | None = None
    left_out: tuple[str, ...] = ()

    def changed(self, now: DataFacts) -> str | None:
        """Return how the images found now differ from these, as the end of a sentence; None where they are the same."""
        counts = [(f"{split} images", name) for split, name in (("validation", "validation"), ("training", "train"))]
        found = self.unfit(now) or _other([(said, self.counts.get(n), now.counts.get(n)) for said, n in counts])
        if found:
            return found
        if self.fingerprint and now.fingerprint and self.fingerprint != now.fingerprint:
            return (
                f"as many images and classes, but other content (fingerprint {now.fingerprint}, not {self.fingerprint})"
            )
        return None

    def unfit(self, now: DataFacts) -> str | None:
        """Return why a network for these images is not one for those found now, as `changed` does."""
        return _other(
            [
                ("images of", self.input_shape, now.input_shape),
                ("classes", self.classes, now.classes),
                ("class names", self.class_names, now.class_names),
            ]
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data."""
        prepared = None if self.preprocessing is None else self.preprocessing.to_dict()
        counts = None if self.class_counts is None else list(self.class_counts)
        return {
            **asdict(self),
            "input_shape": list(self.input_shape),
            "preprocessing": prepared,
            "class_counts": counts,
            "left_out": list(self.left_out),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> DataFacts:
        """Rebuild from `to_dict`.

        A KeyError, TypeError, ValueError, AttributeError or BadInput says that it cannot be.
        """
        channels, height, width = map(int, data["input_shape"])
        names, scale = data["class_names"], data["normalisation"]
        prepared, counts = data.get("preprocessing"), data.get("class_counts")  # younger than the format
        return cls(
            (channels, height, width),
            int(data["classes"]),
            tuple(map(str, names)) if names else None,
            {str(name): int(count) for name, count in data["counts"].items()},
            {key: tuple(map(float, scale[key])) for key in ("mean", "std")} if scale else None,
            {str(name): str(words) for name, words in data["origins"].items()},
            str(data["fingerprint"]),
            None if prepared is None else Preprocessing.from_dict(prepared),
            None if counts is None else tuple(map(int, counts)),
            tuple(map(str, data.get("left_out", ()))),
        )


def _other(compared: list[tuple[str, Any, Any]]) -> str | None:
    for name, was, found in compared:
        if was != found and None not in (was, found):
            return f"{name} {_words(found)} where there were {_words(was)}"
    return None


def _words(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else f"{value:,}"
