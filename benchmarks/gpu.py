"""Involution on a GPU over its rivals, over the byte roofline, and RedNet-50 over ResNet-50.

    python benchmarks/gpu.py [--shapes "stage 1" stem] [--dtypes float32] [--contestants invnas Triton]
                             [--parts shapes networks calls] [--repeats 50] [--minutes 60] [--host]

Every contestant is compared with float64 first and never timed when it is wrong. Times are medians between CUDA
events with a cold L2 cache and operands in rotation; a share is that of the bytes that must move, each tensor once, at
the bandwidth of a copy measured in the same run. Prints the table, writes JSON and PNG to benchmarks/results.

Without a GPU (or with --host) the same table is made of small shapes, values only, with our CUDA text and the published
mapping built for this processor; the times that the bytes predict are printed and written beside it.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from gpu_bench import model, report, targets
from gpu_bench.contestants import CONTESTANTS, OURS

RESULTS = Path(__file__).parent / "results"
PARTS = ("shapes", "networks", "calls")


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--host", action="store_true", help="the part that needs no GPU")
    for name, words in (
        ("shapes", [shape.name for shape in model.SHAPES]),
        ("dtypes", list(model.DTYPES)),
        ("contestants", [contestant.name for contestant in CONTESTANTS]),
        ("parts", list(PARTS)),
    ):
        made.add_argument(f"--{name}", nargs="+", choices=words, default=words, metavar="NAME", help=", ".join(words))
    made.add_argument("--repeats", type=int, default=50, help="timed calls of each direction")
    made.add_argument("--minutes", type=float, default=60, help="after these, shapes not yet measured are left out")
    made.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    return made


def write(path: Path, record: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=2) + "\n")


def printed(rows: Iterable[dict[str, Any]], unit: str) -> list[dict[str, Any]]:
    """Print rows as they come, and return them."""
    print(report.heading(unit))
    found = []
    for row in rows:
        print(report.line(row), flush=True)
        found.append(row)
    return found


def on_host(asked: argparse.Namespace) -> int:
    from gpu_bench import on_host as host

    rows = printed(host.rows(asked.contestants, dtypes=asked.dtypes), "relative errors, on this processor")
    predicted = model.predictions()
    bandwidth, rate = model.COPY_BANDWIDTH / 1e12, model.FP32_RATE / 1e12
    print(f"\npredicted us at {bandwidth:g} TB/s and {rate:g} TFLOP/s, batch {model.SHAPES[0].batch}")
    print("\n".join(report.prediction_lines(predicted)))
    compiled = host.compilations()
    print("\ncompilations: " + ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in compiled.items()))
    ceilings = {"copy_bandwidth": model.COPY_BANDWIDTH, "fp32_rate": model.FP32_RATE}
    write(asked.out / "gpu_predictions.json", {**ceilings, "compilations": compiled, "rows": predicted})
    wrong = [row for row in rows if row["contestant"] == OURS and "reason" in row]
    wrong += [row for row in rows if row.get("reason", "").startswith("wrong")]
    return 1 if wrong else 0


def on_device(asked: argparse.Namespace) -> int:
    from gpu_bench import on_device as device
    from gpu_bench import rednet
    from gpu_bench.checking import first_line

    record: dict[str, Any] = {"facts": device.facts(), "predictions": model.predictions(), "rows": []}
    print("\n".join(f"{name:<26}{value}" for name, value in record["facts"].items()), flush=True)
    stem = asked.out / f"gpu_{re.sub(r'[^a-z0-9]+', '_', record['facts']['gpu'].lower()).strip('_')}"
    path = stem.with_suffix(".json")
    shapes = [shape for shape in model.SHAPES if shape.name in asked.shapes]
    # The parts that take little time come first, and each row is on disk before the next one is measured.
    for part, name, measure in (
        ("calls", "host_cost", device.host_cost),
        ("calls", "compilations", lambda: device.compilations(shapes)),
        ("networks", "networks", rednet.measure),
    ):
        if part in asked.parts:
            try:
                record[name] = measure()
            except Exception as problem:  # one part must not cost the others
                record[name] = {"reason": first_line(problem)}
            print(f"{name}: {json.dumps(record[name])}", flush=True)
            write(path, record)

    def saved() -> Iterable[dict[str, Any]]:
        if "shapes" not in asked.parts:
            return
        wanted = device.Asked(shapes, asked.dtypes, asked.contestants, asked.repeats, asked.minutes)
        for row in device.rows(wanted, record["facts"]["copy_bandwidth"]):
            record["rows"].append(row)
            write(path, record)
            yield row

    printed(saved(), "us with a cold cache, and share of the byte roofline")
    conclude(record, path)
    broken = [row for row in record["rows"] if not row.get("reason", device.LEFT_OUT).startswith(device.LEFT_OUT)]
    return int(any(row["contestant"] == OURS for row in broken))


def conclude(record: dict[str, Any], path: Path) -> None:
    """Print and write the project's own table and the rivals that win; draw the plots."""
    figures = list(targets.figures(record))
    record["figures"] = [figure.record() for figure in figures]
    record["rivals_that_win"] = list(targets.rivals_that_win(record["rows"]))
    write(path, record)
    print("\n" + "\n".join([*map(report.figure_line, figures), *record["rivals_that_win"]]))
    try:
        drawn = report.plots(record, path.with_suffix("")) if record["rows"] else []
    except ImportError as problem:
        print(f"no plots: {problem}")
    else:
        print("written: " + ", ".join(str(file) for file in (path, *drawn)))


def main(words: list[str] | None = None) -> int:
    asked = parser().parse_args(words)
    torch.manual_seed(0)
    if asked.host:
        return on_host(asked)
    if not torch.cuda.is_available():
        print("torch finds no CUDA device here, so values are checked on this processor and times are predicted\n")
        return on_host(asked)
    return on_device(asked)


if __name__ == "__main__":
    raise SystemExit(main())
