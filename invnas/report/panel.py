"""What the side panel of the page says about a trial."""

from __future__ import annotations

from typing import Any

from invnas.architecture import Architecture
from invnas.choice import children
from invnas.report.collect import Point
from invnas.report.units import DASH, show


def facts(point: Point) -> list[tuple[str, str]]:
    """Return names and values, without those that were not measured."""
    measured = point.measurement
    known = [
        ("top-1 on validation", show("top1", measured.top1)),
        ("top-1 on test", show("top1", point.test_top1)),
        ("top-5 on validation", show("top1", measured.top5)),
        ("multiply-adds", show("macs", measured.macs)),
        ("parameters", show("parameters", measured.parameters)),
        ("peak activations", show("activation_bytes", measured.activation_bytes)),
        ("latency", show("latency_ms", measured.latency_ms)),
        ("trained", f"{measured.epochs} epochs, {measured.train_seconds:.3g} s" if measured.epochs else DASH),
        ("found by", "random baseline" if point.trial.baseline else "search"),
    ]
    return [(name, value) for name, value in known if value != DASH]


def chosen(architecture: Architecture, path: str, index: int) -> str:
    """Return what a decision became in the architecture, such as 7, or Involution, or 2 (times).

    Args:
        architecture: Where the decision led.
        path: Its path, such as stages.0.blocks.1.spatial=Involution.kernel_size.
        index: The option that was taken; said as it is where the path names nothing.
    """
    value: Any = architecture.network
    for name in path.split("."):
        name = name.split("=")[0]
        parts = dict(children(value))
        if name == "times" and isinstance(value, tuple):
            return str(len(value))
        if name == "each" and parts:
            name = next(iter(parts))
        if name not in parts:
            return f"option {index}"
        value = parts[name]
    return type(value).__name__ if children(value) and not isinstance(value, tuple) else str(value)
