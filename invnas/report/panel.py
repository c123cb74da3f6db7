"""What the side panel of the page says about a trial."""

from __future__ import annotations

from invnas.measurement import PHASES
from invnas.objective import COSTS, DASH
from invnas.report.collect import ReportData
from invnas.report.html_tables import believed
from invnas.report.point import Point


def facts(data: ReportData, point: Point) -> list[tuple[str, str]]:
    """Return names and values, without those that were not measured."""
    measured = point.measurement
    known = [
        *((f"{axis.label} believed", believed(axis, point)) for axis in data.belief.objectives),
        *((f"{axis.label} on validation", point.shown(axis)) for axis in data.learned),
        *((f"{axis.label} on test", axis.show(point.tested.get(axis.name))) for axis in data.learned),
        *((cost.label, point.shown(cost)) for cost in COSTS),
        ("trained", f"{measured.epochs} epochs, {measured.train_seconds:.3g} s" if measured.epochs else DASH),
        ("batches", DASH if measured.micro_batches == 1 else f"in {measured.micro_batches} parts: memory ran out"),
        ("continues", DASH if point.trial.continues is None else f"trial {point.trial.continues}, stopped early"),
        ("seeds", DASH if point.seeds == 1 else str(point.seeds)),
        ("found by", PHASES[point.trial.phase]),
    ]
    return [(name, value) for name, value in known if value != DASH]
