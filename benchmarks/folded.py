"""RedNet-50 over ResNet-50, both folded, and each folded over unfolded: interleaved inferences in torch, medians.

    python benchmarks/folded.py [--repeats 15] [--batches 1,4] [--threads 1,2] [--size 224]

Networks are channels_last, freed memory is kept by the process (see benchmarks/networks.py). A ratio is the median over
the turns of the ratio within one turn, so that a neighbour who slows the machine for a while slows both sides; the
quartiles beside it say how far to trust it. With one thread a second ratio is of the processor's own time, which a
neighbour can lengthen only through the caches.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from pathlib import Path

import torch
from calm import keep_freed_memory
from steps import Step, inference

from invnas import zoo
from invnas.nn import build, fold
from invnas.ops import backend_of

RESULTS = Path(__file__).parent / "results"
RATIOS = {
    "rednet50 over resnet50, unfolded": ("rednet50", "resnet50"),
    "rednet50 over resnet50, folded": ("rednet50 folded", "resnet50 folded"),
    "folded over unfolded, rednet50": ("rednet50 folded", "rednet50"),
    "folded over unfolded, resnet50": ("resnet50 folded", "resnet50"),
}
Laps = dict[str, list[tuple[float, float]]]


def laps(steps: dict[str, Step], repeats: int) -> Laps:
    """Return wall and processor seconds of every step, in turns, after one turn to warm up."""
    found: Laps = {name: [] for name in steps}
    for lap in range(repeats + 1):
        for name, step in steps.items():
            start, used = time.perf_counter(), time.process_time()
            step()
            if lap:
                found[name].append((time.perf_counter() - start, time.process_time() - used))
    return found


def quartiles(found: Laps, over: tuple[str, str], clock: int) -> dict[str, float]:
    """Return median and quartiles of the ratio of two steps within one turn, by the wall's clock or the processor's."""
    ratios = [a[clock] / b[clock] for a, b in zip(found[over[0]], found[over[1]], strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    return {"median": middle, "lower quartile": low, "upper quartile": high}


def measured(batch: int, threads: int, size: int, repeats: int) -> dict[str, object]:
    """Return milliseconds and ratios at one batch size and number of threads."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    shape, steps = (3, size, size), {}
    images = torch.randn(batch, *shape).contiguous(memory_format=torch.channels_last)
    for name in ("rednet50", "resnet50"):
        network = build(zoo.by_name(name), shape, 1000)
        steps[name], steps[f"{name} folded"] = inference(network, images), inference(fold(network), images)
    found = laps(steps, repeats)
    result: dict[str, object] = {
        "ms": {name: 1000 * statistics.median(wall for wall, _ in times) for name, times in found.items()},
        "ratios": {name: quartiles(found, over, 0) for name, over in RATIOS.items()},
    }
    if threads == 1:
        result["processor ms"] = {name: 1000 * statistics.median(t for _, t in times) for name, times in found.items()}
        result["ratios of processor time"] = {name: quartiles(found, over, 1) for name, over in RATIOS.items()}
    return result


def main() -> None:
    def numbers(text: str) -> list[int]:
        return [int(part) for part in text.split(",")]

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batches", type=numbers, default=[1, 4])
    parser.add_argument("--threads", type=numbers, default=[1, 2])
    asked = parser.parse_args()
    keep_freed_memory()
    result: dict[str, object] = {
        "machine": processor(),
        "backend": backend_of("cpu"),
        "torch": torch.__version__,
        "capability": torch.backends.cpu.get_cpu_capability(),
        "repeats": asked.repeats,
        "size": asked.size,
    }
    for threads in asked.threads:
        for batch in asked.batches:
            found = measured(batch, threads, asked.size, asked.repeats)
            result[f"{threads} threads, batch {batch}"] = found
            for kind in ("ratios", "ratios of processor time"):
                for name, ratio in found.get(kind, {}).items():  # type: ignore[attr-defined]
                    spread = f"{ratio['lower quartile']:.3f} to {ratio['upper quartile']:.3f}"
                    where = f"{threads} threads, batch {batch}, {kind}"
                    print(f"{where}: {name} {ratio['median']:.3f} ({spread})", flush=True)
            (RESULTS / "folded.json").write_text(json.dumps(result, indent=2) + "\n")


def processor() -> str:
    """Return what the processor says it is."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]}, {len(names)} cores" if names else platform.processor()


if __name__ == "__main__":
    main()
