"""What the command line prints: tables for a reader, plain data for a program."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from invnas.belief import Belief
from invnas.caps import Caps
from invnas.confirmation import Confirmation, Repeated
from invnas.measurement import CONVENTIONS, MAC_CONVENTION, Trial
from invnas.objective import MACS
from invnas.report.front_table import front_table
from invnas.run import Run
from invnas.space_check import SpaceCheck

if TYPE_CHECKING:
    from invnas.export import Exported
    from invnas.exporting import Picked
    from invnas.profile import Profile


#: Members of a front that one line names.
_LISTED = 20


def print_json(document: Any) -> None:
    """Print one JSON document on standard output."""
    print(json.dumps(document, indent=2))


def print_table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> None:
    """Print a table whose first `left` columns are text and whose others are numbers.

    Where the longest words do not fit side by side, each row is printed as lines of its own: no number is ever broken.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    print(f"{title}:")
    widths = [
        max(len(word) for cell in column for word in (*cell.split(), "")) for column in zip(head, *rows, strict=True)
    ]
    console = Console()
    width = console.width
    if not console.is_terminal and "COLUMNS" not in os.environ:  # what reads a pipe wants one line for a row
        widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
        width = max(width, sum(widths) + 3 * len(widths) + 1)
    if sum(widths) + 3 * len(widths) + 1 > width:
        name_width = max(map(len, head))
        for row in rows:
            print(
                *(f"  {name:<{name_width}}  {cell}" for name, cell in zip(head, row, strict=True) if cell), "", sep="\n"
            )
        return
    table = Table()
    for place, (name, narrowest) in enumerate(zip(head, widths, strict=True)):
        table.add_column(name, justify="left" if place < left else "right", min_width=narrowest)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console(width=width).print(table)


def run_facts(run: Run) -> dict[str, Any]:
    """Return what a search found as plain data: the counts, and the front with its architectures."""
    trials, front = run.trials(), run.front()
    states = [trial.state for trial in trials]
    return {
        "run": str(run.folder),
        "space": {"name": run.space.name, "size": run.space.size} if run.trusted else {"name": run.experiment.space},
        "objectives": list(run.experiment.objectives),
        "latency": asdict(run.experiment.latency) if run.experiment.metered else None,
        "trials": {state: states.count(state) for state in ("complete", "stopped", "failed", "running")},
        "front": [_trial_facts(run, trial) for trial in front],
        "observed_front": [trial.number for trial in run.front(observed=True)],
        "knee": run.pick("knee").number if front else None,
        "verdict": verdict_of(run) or None,
        "convention": MAC_CONVENTION,
    }


def _numbers(trial: Trial) -> dict[str, Any] | None:
    if trial.measurement is None:
        return None
    measured = trial.measurement.to_dict()
    return {**trial.cost.to_dict(), **measured.pop("values"), **measured}


def _believed(belief: Belief, trial: Trial) -> dict[str, dict[str, float]]:
    found = {axis.name: belief.estimate(trial, axis.name) for axis in belief.objectives}
    return {name: asdict(one) for name, one in found.items() if one is not None}


def _trial_facts(run: Run, trial: Trial) -> dict[str, Any]:
    tested = run.tested().get(trial.number, {})
    return {
        "trial": trial.number,
        "kind": trial.architecture.kind,
        "fingerprint": trial.architecture.fingerprint,
        "measurement": _numbers(trial),
        "believed": _believed(run.belief, trial),
        **{f"test_{name}": tested.get(name) for name in run.experiment.tested},
        "weights": str(run.weights_path(trial.number)),
        "architecture": trial.architecture.to_dict(),
    }


def print_front(run: Run) -> None:
    """Print the front, cheapest first, with the knee marked: what is believed with its band, and what was measured."""
    front, axes, belief = run.front(), run.experiment.axes, run.belief
    head, rows = front_table(front, axes, belief, run.tested(), run.experiment.what.objectives, run.pick("knee").number)
    complete = sum(trial.state == "complete" for trial in run.trials("search"))
    print_table(f"Pareto front: {len(front)} of {complete} trained architectures", head, rows, left=2)
    if belief.known:
        measured = ", ".join(str(trial.number) for trial in run.front(observed=True)[:_LISTED])
        print("The band is of what an architecture is believed to reach on average over seeds.")
        print(f"By what single trainings measured, the front would be trials {measured}.")
    if said := verdict_of(run):
        print(said)
    if run.experiment.metered:
        print(f"Latency is that of the folded network in {run.experiment.latency.words}, in milliseconds.")
    print(f"{MAC_CONVENTION}.")


def verdict_of(run: Run) -> str:
    """Return whether a reference makes the search pointless, in a sentence; empty where none was trained."""
    from invnas.report.collect import collect
    from invnas.report.references import verdict

    if not run.trials("reference"):
        return ""
    return verdict(collect(run.folder.name, run.experiment, run.trials(), {}, belief=run.belief))


def export_facts(exported: Sequence[Exported]) -> list[dict[str, Any]]:
    """Return the files of an export as plain data."""
    return [
        {
            "format": one.format,
            "path": str(one.path),
            "bytes": one.bytes,
            "parity_error": one.parity_error,
            **({"said": one.said} if one.said else {}),
        }
        for one in exported
    ]


def shipped_facts(which: Picked) -> dict[str, Any]:
    """Return whose weights were exported, as plain data."""
    found: dict[str, Any] = {"trial": which.trial.number}
    if which.retrained is not None and which.seed is not None:
        found |= {"retrained": which.retrained.asked.name, "seed": which.seed.seed}
    return found


def print_export(which: Picked, exported: Sequence[Exported]) -> None:
    """Print the files of an export, each with its largest difference from the network."""
    rows = [[one.format, str(one.path), f"{one.bytes:,}", f"{one.parity_error:.1e}"] for one in exported]
    title = f"exported {which.words}, each file checked against the network"
    print_table(title, ("format", "file", "bytes", "parity error"), rows, left=2)
    print(*(one.said for one in exported if one.said), sep="\n", end="\n" if any(one.said for one in exported) else "")


def print_retrained(found: dict[str, Any]) -> None:
    """Print what each seed reached on the test images, the mean and spread of the first figure."""
    columns = {name.replace("_", " "): values for name, values in found.items() if name.startswith("test_")}
    rows = [
        [str(seed), *(f"{value:.4f}" for value in row)] for seed, row in enumerate(zip(*columns.values(), strict=True))
    ]
    print_table(f"trial {found['trial']}, {found['epochs']} epochs from scratch", ("seed", *columns), rows)
    if found["options"]:
        print(
            "not as in the search:",
            ", ".join(f"{name} {json.dumps(value)}" for name, value in found["options"].items()),
        )
    deviation = found["standard_deviation"]
    spread = "; how much seeds differ is unknown: it takes two, --seeds 2"
    if deviation is not None:
        spread = f", standard deviation {deviation:.4f}"
    print(f"{next(iter(columns))} {found['mean']:.4f}{spread}")


def print_confirmation(found: Confirmation) -> None:
    """Print what further seeds measured, and what can be said of each step along the front."""
    from invnas.report.references import name_of

    axis = found.objective
    head = ("trial", "kind", "MACs", f"{axis.label} in the search", "with further seeds", "seeds")
    _print_repeated(found, f"the front, {axis.label} on the validation images", head, lambda one: one.architecture.kind)
    if found.references:
        head = ("trial", "network", "MACs", f"{axis.label} at first", "with further seeds", "seeds")
        _print_repeated(found, "the references", head, lambda one: name_of(one.architecture), found.references)
    if found.optimism is not None:
        luck = "better", "who is chosen was also lucky"
        if found.optimism <= 0:
            luck = "worse", "who was chosen was not lucky"
        print(f"the search saw them {luck[0]} by {axis.exact(abs(found.optimism))} on average: {luck[1]}")
    if found.deviation is None:
        print("how much seeds differ is unknown: it takes two of one architecture, --seeds 2")
        return
    print(f"standard deviation between seeds: {axis.exact(found.deviation)}")
    for one in found.differences:
        words = "holds" if one.holds else "cannot be told from none"
        print(f"trial {one.dearer} over {one.cheaper}: {one.gain:+.4f} +- {one.margin:.4f} (95 %): {words}")


def _print_repeated(
    found: Confirmation,
    title: str,
    head: Sequence[str],
    name: Callable[[Trial], str],
    some: Sequence[Repeated] | None = None,
) -> None:
    axis = found.objective
    rows = [
        [str(one.trial.number), name(one.trial), MACS.exact(one.trial.value(MACS.name)),
         axis.exact(one.first), axis.exact(one.mean), str(len(one.values))]
        for one in (found.members if some is None else some)
    ]  # fmt: skip
    print_table(title, head, rows, left=2)


def print_space_check(check: SpaceCheck, caps: Caps) -> None:
    """Print what a space holds."""
    huge = f" ({_scientific(check.size)})" if check.size >= 10**6 else ""
    looked = "all of them looked at" if check.exact else f"{check.drawn:,} drawn uniformly"
    print(f"{check.name}: {check.size:,}{huge} architectures, {looked}")
    print(f"valid: {100 * check.valid_share:.4g} %")
    for reason, number in check.reasons.items():
        print(f"  {number:,} refused: {reason}")
    rows = [
        [name, *(f"{value:,}" for value in (found.minimum, found.median, found.maximum))]
        for name, found in (("MACs", check.macs), ("parameters", check.parameters))
    ]
    print_table("of the valid ones, for one image", ("", "min", "median", "max"), rows)
    if check.kept_share is not None:
        print(f"within {caps}: {_kept(check, check.kept_share, caps)}")
    print(f"{MAC_CONVENTION}.")


def _kept(check: SpaceCheck, share: float, caps: Caps) -> str:
    if share or check.exact:
        return f"{100 * share:.4g} % of the valid ones"
    if caps.reason(check.smallest_cost):
        return "none of those drawn"
    # Uniform draws of a space with depths are nearly always deep: that none is kept does not mean that nothing is left.
    return f"none of those drawn, but the smallest, of {check.smallest_cost.macs:,} MACs"


def print_profile(name: str, profile: Profile, convention: str) -> None:
    """Print what each stage of a network costs, the whole, and what was counted."""
    rows = [
        [segment.name, " x ".join(map(str, segment.shape)), f"{segment.cost.macs:,}", f"{segment.cost.parameters:,}"]
        for segment in profile.segments
    ]
    whole = profile.cost
    rows.append(["total", "", f"{whole.macs:,}", f"{whole.parameters:,}"])
    counted = "MACs" if convention == "macs" else "FLOPs"
    print_table(f"{name}, one image", ("", "output", counted, "parameters"), rows, left=2)
    print(f"peak of the feature maps: {whole.activation_bytes:,} bytes")
    if profile.timing is not None and profile.latency is not None:
        spread = f"half of the rounds lie within {profile.timing.spread_ms:.2g} ms"
        print(f"latency ({profile.latency.words}, version {profile.version}): {profile.timing.ms:.2f} ms; {spread}")
    print(f"{CONVENTIONS[convention]}.")


def _scientific(number: int) -> str:
    text = str(number)  # no float holds the size of a deep space
    return f"about {text[0]}.{text[1:2]}e{len(text) - 1}"
