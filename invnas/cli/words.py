"""Values that are written as words on a command line."""

from __future__ import annotations

from collections.abc import Sequence

from invnas.errors import BadInput
from invnas.rules import LARGEST, image
from invnas.settings import parse_count


class Count(int):
    """A number that may be written as 30M."""

    @classmethod
    def parse(cls, value: str | int) -> Count:
        """Return 30M as a number.

        Raises:
            ValueError: If it is no count; a ValueError, since jsonargparse adds the key to that.
        """
        try:
            return cls(parse_count(value))
        except BadInput as error:
            raise ValueError(str(error)) from None


class Names(tuple[str, ...]):
    """Words with commas between."""

    @classmethod
    def parse(cls, value: str | Sequence[str]) -> Names:
        """Return top1,macs or [top1, macs] as words."""
        words = value.strip("[] ").split(",") if isinstance(value, str) else value
        return cls(word for word in (str(word).strip(" '\"") for word in words) if word)


def image_shape(text: str) -> tuple[int, int, int]:
    """Return 3x32x32 as channels, height and width.

    Raises:
        BadInput: If it is no such shape.
    """
    sides = text.replace("×", "x").split("x")
    shape = tuple(int(side) if side.isdecimal() and len(side) < 10 else 0 for side in sides)
    if any(image(shape)):
        raise BadInput(
            "`input` must be channels x height x width, such as 3x32x32, each a whole number from 1 to "
            f"{LARGEST:,}, but got '{text:.60}'"
        )
    channels, height, width = shape
    return channels, height, width
