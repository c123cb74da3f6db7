"""Make the tables of the package from the rows that `make.py` wrote, and print the figures of the card.

python benchmarks/invbench/pack.py rows.jsonl [--latency latency.jsonl] [--out invnas/bench]
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from draws import Row
from make import EPOCHS, SPACE, read

from invnas.bench.invbench import ARCHITECTURES, TRAININGS
from invnas.space import Space, load_space

ROOT = Path(__file__).parents[2]


def architectures(rows: Sequence[Row], latency: Mapping[str, float], space: Space) -> list[dict[str, Any]]:
    """Return what is known of each architecture that has a row of the whole budget and seed 0, in that order."""
    return [
        {
            **{name: row[name] for name in ("fingerprint", "drawn", "round", "macs", "parameters", "activation_bytes")},
            "latency_ms": latency.get(row["fingerprint"], ""),
            "architecture": space.architecture(row["decisions"]).to_json(),
        }
        for row in rows
        if row["seed"] == 0 and row["epochs"] == EPOCHS and "failed" not in row
    ]


def trainings(rows: Sequence[Row], known: Sequence[str]) -> list[dict[str, Any]]:
    """Return the rows of some architectures, those of each one after the other, the whole budget first."""
    place = {fingerprint: i for i, fingerprint in enumerate(known)}
    mine = [row for row in rows if row["fingerprint"] in place and "failed" not in row]
    mine.sort(key=lambda row: (place[row["fingerprint"]], -row["epochs"], row["seed"]))
    rungs = sorted({int(at) for row in mine for at in row["rungs"]})
    return [
        {
            **{name: row[name] for name in ("fingerprint", "seed", "epochs", "top1", "loss")},
            "cpu_seconds": round(row["seconds"], 2),
            "backend": row["backend"],
            **{
                f"{name}_{at}": row["rungs"].get(str(at), {}).get(name, "") for name in ("top1", "loss") for at in rungs
            },
        }
        for row in mine
    ]


def write(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a table; equal tables are equal files."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    path.write_bytes(gzip.compress(text.getvalue().encode(), mtime=0))


def pack(rows: Sequence[Row], latency: Iterable[Mapping[str, Any]], out: Path) -> None:
    """Write both tables."""
    milliseconds = {row["fingerprint"]: row["latency_ms"] for row in latency}
    found = architectures(rows, milliseconds, load_space(SPACE))
    write(out / ARCHITECTURES, found)
    write(out / TRAININGS, trainings(rows, [row["fingerprint"] for row in found]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", type=Path)
    parser.add_argument("--latency", type=Path, help="what latency.py wrote")
    parser.add_argument("--out", type=Path, default=ROOT / "invnas" / "bench")
    asked = parser.parse_args()
    pack(read(asked.rows), read(asked.latency) if asked.latency else (), asked.out)
    from figures import figures

    print(json.dumps(figures(asked.out), indent=2))


if __name__ == "__main__":
    main()
