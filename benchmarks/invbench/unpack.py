"""Make the file of rows from the tables of the package, so that `make.py` goes on anywhere; training losses are gone.

python benchmarks/invbench/unpack.py rows.jsonl
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

from draws import Row

import invnas.bench
from invnas.architecture import Architecture
from invnas.bench.invbench import ARCHITECTURES, TRAININGS, table
from invnas.space import load_space


def rows(folder: Path) -> Iterator[Row]:
    """Yield a row for each training of two tables."""
    space = load_space("invbench")
    known = {}
    for one in table(folder / ARCHITECTURES):
        known[one["fingerprint"]] = {
            "decisions": space.decisions(Architecture.from_json(one["architecture"])),
            "fingerprint": one["fingerprint"],
            "drawn": one["drawn"],
            **{name: int(one[name]) for name in ("round", "macs", "parameters", "activation_bytes")},
        }
    for one in table(folder / TRAININGS):
        told = [name.removeprefix("top1_") for name, text in one.items() if name.startswith("top1_") and text]
        yield {
            **known[one["fingerprint"]],
            **{name: int(one[name]) for name in ("seed", "epochs")},
            **{name: float(one[name]) for name in ("top1", "loss")},
            "seconds": float(one["cpu_seconds"]),
            "rungs": {at: {name: float(one[f"{name}_{at}"]) for name in ("top1", "loss")} for at in told},
            "backend": one["backend"],
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", type=Path)
    path = parser.parse_args().rows
    with path.open("x", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows(Path(invnas.bench.__file__).parent))


if __name__ == "__main__":
    main()
