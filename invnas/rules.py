"""The rules that values are checked against before torch sees them: one sentence for each that is broken."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from invnas.errors import BadInput, nearest, shown

#: Widths, windows and the like end here: nothing larger fits a machine, and torch would overflow.
LARGEST = 2**16

#: So many classes end in a layer that nothing holds.
CLASSES = 2**24

#: Images of a batch and processes that decode end here: no machine holds more.
BATCH, WORKERS = 2**24, 2**10


def divisors(number: int) -> list[int]:
    """Return the divisors of a number, smallest first."""
    return [d for d in range(1, number + 1) if number % d == 0]


def whole(name: str, value: Any, largest: int = LARGEST) -> Iterator[str]:
    """Yield a sentence unless a value is a whole number of at least 1 and of a sane size."""
    if type(value) is not int or not 1 <= value <= largest:
        yield f"`{name}` must be a whole number from 1 to {largest:,}, but got {shown(value)}"


def check_whole(name: str, value: object, least: int, largest: int = 2**63 - 1) -> None:
    """Raise BadInput unless an argument is a whole number in these bounds; what reads it has 64 bits."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise BadInput(f"`{name}` must be a whole number of at least {least}, but got {shown(value)}")
    if value > largest:
        raise BadInput(f"`{name}` must be at most {largest:,}, but is larger")


def image(shape: Any) -> Iterator[str]:
    """Yield a sentence unless a shape is (channels, height, width) of an image that a machine may hold."""
    sides = list(shape) if isinstance(shape, tuple | list) else []
    if len(sides) != 3 or any(True for side in sides for _ in whole("", side)):
        yield (
            f"`input_shape` must be (channels, height, width), each a whole number from 1 to {LARGEST:,}, "
            f"but got {shown(shape, 60)}"
        )


def odd(name: str, value: Any) -> Iterator[str]:
    """Yield a sentence unless a value is an odd whole number."""
    broken = list(whole(name, value))
    if not broken and value % 2 == 0:
        broken = [
            f"`{name}` must be odd so that the map keeps its size, but got {value}; nearest: {value - 1}, {value + 1}"
        ]
    yield from broken


def divides(name: str, value: Any, channels: int) -> Iterator[str]:
    """Yield a sentence unless a value is a whole number that divides the channels."""
    broken = list(whole(name, value))
    if not broken and channels % value:
        closest = sorted(sorted(divisors(channels), key=lambda d: abs(d - value))[:3])
        broken = [
            f"`{name}` must divide the channels, but got {name}={value} and {channels} channels; "
            f"nearest: {', '.join(map(str, closest))}"
        ]
    yield from broken


def one_of(name: str, value: Any, valid: Iterable[str]) -> Iterator[str]:
    """Yield a sentence unless a value is one of some words."""
    if value not in (words := tuple(valid)):
        yield f"unknown {name} {shown(value)}; {nearest(str(value), words)}"


def softmax_of(value: Any, kernel_size: Any) -> Iterator[str]:
    """Yield a sentence unless `softmax` is true or false, and false where it would decide nothing."""
    if type(value) is not bool:
        yield f"`softmax` must be true or false, but got {shown(value)}"
    elif value and kernel_size == 1:
        yield "`softmax` over the single tap of kernel_size=1 is always 1; nearest: softmax=False, kernel_size=3"


def fits(value: Any, role: str, kinds: tuple[type, ...]) -> Iterator[str]:
    """Yield a sentence unless a value is of a kind that invnas ships for this role, or has a `build` method."""
    if not isinstance(value, kinds) and not callable(getattr(value, "build", None)):
        names = ", ".join(kind.__name__ for kind in kinds)
        yield (
            f"{shown(value, 60)} stands where a {role} is wanted: take {names}, "
            "or a frozen dataclass of your own with a method build"
        )


def problems_of(value: Any, *shape: int) -> Iterator[str]:
    """Yield what a value says against itself; a user's own value needs no `problems` method.

    Raises:
        BadInput: If it says something else than sentences.
    """
    check = getattr(value, "problems", None)
    found = () if check is None else check(*shape)
    wanted = f"`{type(value).__name__}.problems` must yield one sentence for each rule that is broken, but"
    if isinstance(found, str) or not isinstance(found, Iterable):
        raise BadInput(f"{wanted} returns {shown(found, 60)}")
    for sentence in found:
        if not isinstance(sentence, str) or not sentence.strip():
            raise BadInput(f"{wanted} yields {shown(sentence, 60)}")
        yield sentence
