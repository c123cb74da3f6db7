"""What the command line prints: tables for a reader, plain data for a program."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from invnas.measurement import CONVENTIONS, MAC_CONVENTION, Trial
from invnas.run import Run
from invnas.space_check import Caps, SpaceCheck

if TYPE_CHECKING:
    from invnas.export import Exported
    from invnas.profile import Profile


def print_json(document: Any) -> None:
    """Print one JSON document on standard output."""
    print(json.dumps(document, indent=2))


def print_table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> None:
    """Print a table whose first `left` columns are text and whose others are numbers."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    print(f"{title}:")
    table = Table()
    for place, name in enumerate(head):
        table.add_column(name, justify="left" if place < left else "right", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)


def run_facts(run: Run) -> dict[str, Any]:
    """Return what a search found as plain data: the counts, and the front with its architectures."""
    trials, front = run.trials(), run.front()
    states = [trial.state for trial in trials]
    return {
        "run": str(run.folder),
        "space": {"name": run.space.name, "size": run.space.size},
        "objectives": list(run.experiment.objectives),
        "trials": {state: states.count(state) for state in ("complete", "failed", "running")},
        "front": [_trial_facts(run, trial) for trial in front],
        "knee": run.pick("knee").number if front else None,
        "convention": MAC_CONVENTION,
    }


def _trial_facts(run: Run, trial: Trial) -> dict[str, Any]:
    return {
        "trial": trial.number,
        "kind": trial.architecture.kind,
        "fingerprint": trial.architecture.fingerprint,
        "measurement": trial.measurement.to_dict() if trial.measurement else None,
        "test_top1": run.test_top1().get(trial.number),
        "weights": str(run.weights_path(trial.number)),
        "architecture": trial.architecture.to_dict(),
    }


def print_front(run: Run) -> None:
    """Print the front, cheapest first, with the knee marked."""
    front, tested, knee = run.front(), run.test_top1(), run.pick("knee").number
    more = [name for name in run.experiment.objectives if name not in ("top1", "macs", "parameters")]
    head = ["trial", "kind", "top-1", *(["test top-1"] if tested else []), "MACs", "parameters", *more]
    rows = []
    for trial in front:
        found = trial.measurement
        assert found is not None
        test = [f"{tested[trial.number]:.4f}" if trial.number in tested else "-"] if tested else []
        rows.append(
            [
                f"{trial.number}{' (knee)' if trial.number == knee else ''}",
                trial.architecture.kind,
                f"{found.top1:.4f}",
                *test,
                f"{found.macs:,}",
                f"{found.parameters:,}",
                *(f"{getattr(found, name):,.6g}" for name in more),
            ]
        )
    complete = sum(trial.state == "complete" for trial in run.trials(baseline=False))
    print_table(f"Pareto front: {len(front)} of {complete} trained architectures", head, rows, left=2)
    print(f"{MAC_CONVENTION}.")


def export_facts(exported: Sequence[Exported]) -> list[dict[str, Any]]:
    """Return the files of an export as plain data."""
    return [
        {"format": one.format, "path": str(one.path), "bytes": one.bytes, "parity_error": one.parity_error}
        for one in exported
    ]


def print_export(trial: Trial, exported: Sequence[Exported]) -> None:
    """Print the files of an export, each with its largest difference from the network."""
    rows = [[one.format, str(one.path), f"{one.bytes:,}", f"{one.parity_error:.1e}"] for one in exported]
    title = f"exported trial {trial.number} ({trial.architecture.kind}), each file checked against the network"
    print_table(title, ("format", "file", "bytes", "parity error"), rows, left=2)


def print_retrained(found: dict[str, Any]) -> None:
    """Print the test accuracy of each seed, their mean and spread."""
    rows = [[str(seed), f"{top1:.4f}"] for seed, top1 in enumerate(found["test_top1"])]
    print_table(f"trial {found['trial']}, {found['epochs']} epochs from scratch", ("seed", "test top-1"), rows)
    print(f"test top-1 {found['mean']:.4f}, standard deviation {found['standard_deviation']:.4f}")


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
        print(f"within {caps}: {100 * check.kept_share:.4g} % of the valid ones")
    print(f"{MAC_CONVENTION}.")


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
    if profile.latency_ms is not None:
        print(f"latency on the CPU: {profile.latency_ms:.2f} ms")
    print(f"{CONVENTIONS[convention]}.")


def _scientific(number: int) -> str:
    text = str(number)  # no float holds the size of a deep space
    return f"about {text[0]}.{text[1:2]}e{len(text) - 1}"
