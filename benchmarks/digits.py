"""The main job (invnas search digits, report and export) with the C++ operator over the same job in pure torch.

    python benchmarks/digits.py [--rounds 1]

Each is a process of its own, in turns; a ratio below 1 is what the operator is worth to a user.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from invnas.ops import backend_of

RESULTS = Path(__file__).parent / "results" / "digits.json"


def seconds(backend: str) -> float:
    with tempfile.TemporaryDirectory() as folder:
        run, out = f"{folder}/run", f"{folder}/model"
        command = [sys.executable, "-c", "from invnas.cli import main; main()", "search", "digits"]
        start = time.perf_counter()
        subprocess.run(
            [*command, "--run-dir", run, "--export", out],
            env={**os.environ, "INVNAS_BACKEND": backend},
            check=True,
            stdout=subprocess.DEVNULL,
        )
        return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=1)
    rounds = parser.parse_args().rounds
    laps: dict[str, list[float]] = {"cpu": [], "shift": []}
    for _ in range(rounds):
        for backend, found in laps.items():
            found.append(seconds(backend))
    medians = {backend: statistics.median(found) for backend, found in laps.items()}
    result = {
        "backend": backend_of("cpu"),
        "rounds": rounds,
        **{f"{backend}_seconds": value for backend, value in medians.items()},
        "ratio": medians["cpu"] / medians["shift"],
    }
    print(
        "  ".join(
            f"{key} {value:.3f}" if isinstance(value, float) else f"{key} {value}" for key, value in result.items()
        )
    )
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
