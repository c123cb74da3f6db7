"""How numbers look in a report: names, units, digits, ticks, and the colour and marker of each kind of network."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Look:
    """Colour and marker of one kind of network (after Okabe and Ito: told apart by colour-blind readers).

    Attributes:
        name: What the legend says.
        colour: As #rrggbb.
        plotly: Name of the marker in plotly.
        matplotlib: Name of the marker in matplotlib.
        glyph: The marker as a character.
        size: Factor by which the marker grows to look as large as a circle.
    """

    name: str
    colour: str
    plotly: str
    matplotlib: str
    glyph: str
    size: float = 1.0


#: Colours of what is written, of what stands back, and of the lines of a grid.
INK, SOFT, GRID = "#202124", "#5f6368", "#e8eaed"

#: Stands where nothing was measured.
DASH = "–"

LOOKS = {
    "convolution": Look("convolution only", "#0072B2", "circle", "o", "●"),
    "hybrid": Look("hybrid", "#009E73", "square", "s", "■", 0.95),
    "involution": Look("involution only", "#C44E00", "triangle-up", "^", "▲", 1.2),
    "other": Look("neither", "#5f6368", "cross", "P", "✚"),
}

#: The name of each objective on an axis, with its unit.
AXES = {
    "top1": "Top-1 accuracy on validation (%)",
    "macs": "FLOPs of one image (multiply-adds)",
    "parameters": "Parameters",
    "activation_bytes": "Peak activation memory of one image (bytes)",
    "latency_ms": "Latency of one image (ms)",
}

#: The name of each number in a table.
NAMES = {
    "top1": "top-1",
    "macs": "FLOPs",
    "parameters": "parameters",
    "activation_bytes": "activations",
    "latency_ms": "latency",
}


def count(value: float) -> str:
    """Return a number with three digits and a letter.

    >>> count(1_234_567), count(999_999), count(48), count(2e9)
    ('1.23 M', '1.00 M', '48', '2.00 G')
    """
    letters = ("", " k", " M", " G", " T")
    step = 0 if value < 1 else min(int(math.log10(value) / 3), len(letters) - 1)
    if step < len(letters) - 1 and round(value / 1000**step, 2 if step else 0) >= 999.5:
        step += 1
    scaled = value / 1000**step
    if step == 0:
        return f"{scaled:.0f}" if scaled == int(scaled) else f"{scaled:.3g}"
    digits = 2 if scaled < 9.995 else 1 if scaled < 99.95 else 0
    return f"{scaled:.{digits}f}{letters[step]}"


def show(objective: str, value: float | None) -> str:
    """Return a value with its unit, or a dash when there is none.

    >>> show("top1", 0.7834), show("activation_bytes", 4096), show("latency_ms", 1.5), show("latency_ms", None)
    ('78.3 %', '4.10 kB', '1.50 ms', '–')
    """
    if value is None or not math.isfinite(value):
        return DASH
    if objective == "top1":
        return f"{100 * value:.1f} %"
    if objective == "activation_bytes":
        return count(value) + ("B" if value >= 999.5 else " B")
    if objective == "latency_ms":
        return f"{value:.3g} ms" if value < 1 or value >= 100 else f"{value:.2f} ms"
    return count(value)


def is_log(objective: str) -> bool:
    """Tell whether an axis is logarithmic: all costs are."""
    return objective != "top1"


def ticks(low: float, high: float) -> list[float]:
    """Return four to nine round numbers for a logarithmic axis that shows `low` to `high`.

    >>> ticks(1e5, 2e6)
    [100000.0, 200000.0, 500000.0, 1000000.0, 2000000.0]
    """
    low, high = max(low, 1e-3), max(high, 1e-3)
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
        found = [
            float(f"{d}e{e}")
            for e in decades
            for d in digits
            if low <= float(f"{d}e{e}") * 1.0000001 <= high * 1.000001
        ]
        if len(found) >= 4:
            return found if len(found) <= 9 else found[:: math.ceil(len(found) / 9)]
    step = 10 ** math.floor(math.log10((high - low) / 3)) if high > low else 0
    if not step:
        return [low]
    step *= next((m for m in (5, 2, 1) if (high - low) / (m * step) >= 3), 1)
    return [round(i * step, 9) for i in range(math.ceil(low / step), math.floor(high / step) + 1)]


def tick_text(objective: str, value: float) -> str:
    """Return the text of a tick: as short as its digits allow.

    >>> tick_text("macs", 1_500_000), tick_text("macs", 200_000), tick_text("latency_ms", 0.5)
    ('1.5 M', '200 k', '0.5')
    """
    if objective == "latency_ms":
        return f"{value:g}"
    number, _, letter = count(value).partition(" ")
    if letter:
        exact = value / 1000 ** (" kMGT".index(letter))
        number = f"{exact:.4g}"
    return f"{number} {letter}".strip()


def limits(values: list[float], objective: str) -> tuple[float, float]:
    """Return where an axis starts and ends so that no marker touches the frame, accuracy in per cent."""
    low, high = min(values), max(values)
    if is_log(objective):
        low, high = max(low, 1e-3), max(high, 1e-3)
        pad = max(0.06 * math.log10(high / low), 0.03)
        return low / 10**pad, high * 10**pad
    pad = max(0.08 * (high - low), 1.0)
    return low - pad, high + pad
