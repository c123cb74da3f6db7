"""The rules that values are checked against before torch sees them: one sentence for each that is broken."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

#: Widths, windows and the like end here: nothing larger fits a machine, and torch would overflow.
LARGEST = 2**16


def divisors(number: int) -> list[int]:
    """Return the divisors of a number, smallest first."""
    return [d for d in range(1, number + 1) if number % d == 0]


def whole(name: str, value: Any) -> Iterator[str]:
    """Yield a sentence unless a value is a whole number of at least 1 and of a sane size."""
    if type(value) is not int or not 1 <= value <= LARGEST:
        yield f"`{name}` must be a whole number from 1 to {LARGEST:,}, but got {value!r:.40}"


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


def softmax_of(value: Any, kernel_size: Any) -> Iterator[str]:
    """Yield a sentence unless `softmax` is true or false, and false where it would decide nothing."""
    if type(value) is not bool:
        yield f"`softmax` must be true or false, but got {value!r:.40}"
    elif value and kernel_size == 1:
        yield "`softmax` over the single tap of kernel_size=1 is always 1; nearest: softmax=False, kernel_size=3"


def fits(value: Any, role: str, kinds: tuple[type, ...]) -> Iterator[str]:
    """Yield a sentence unless a value is of a kind that invnas ships for this role, or has a `build` method."""
    if not isinstance(value, kinds) and not callable(getattr(value, "build", None)):
        names = ", ".join(kind.__name__ for kind in kinds)
        yield (
            f"{value!r:.60} stands where a {role} is wanted: take {names}, "
            "or a frozen dataclass of your own with a method build"
        )


def problems_of(value: Any, *shape: int) -> Iterator[str]:
    """Yield what a value says against itself; a user's own value needs no `problems` method."""
    check = getattr(value, "problems", None)
    return iter(check(*shape)) if check is not None else iter(())
