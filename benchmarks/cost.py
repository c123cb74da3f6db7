"""How long does it take to price fresh proposals? Run: python benchmarks/cost.py

Draws 2,000 different valid architectures of a space, forgets every price, then prices them one after the other. The
first price of every part is paid inside the measured time. What torch loads for its very first meta operators, once in
a process, is a line of its own.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import time
from pathlib import Path

import torch

from invnas import cost
from invnas.architecture import Architecture
from invnas.space import Space, load_space
from invnas.zoo import rednet

SPACES = {"digits": ((1, 8, 8), 10), "hybrid_cifar": ((3, 32, 32), 10), "hybrid_imagenet": ((3, 224, 224), 1000)}
RESULTS = Path(__file__).parent / "results" / "cost.json"


def fresh(space: Space, number: int, seed: int) -> list[Architecture]:
    rng, found = random.Random(seed), {}
    while len(found) < number:
        _, architecture = space.sample(rng)
        found[architecture.fingerprint] = architecture
    return list(found.values())


def seconds(name: str, number: int, seed: int) -> float:
    architectures = fresh(load_space(name), number, seed)
    price = cost.pricer(*SPACES[name])
    cost._price_part.cache_clear()
    start = time.perf_counter()
    for architecture in architectures:
        price(architecture)
    return time.perf_counter() - start


def first_price() -> float:
    start = time.perf_counter()
    cost.cost(rednet(26), *SPACES["hybrid_imagenet"])
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--proposals", type=int, default=2000)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    first = first_price()
    table = {
        name: sorted(seconds(name, arguments.proposals, seed) for seed in range(arguments.seeds)) for name in SPACES
    }
    print(f"seconds to price {arguments.proposals:,} fresh architectures, {arguments.seeds} seeds, one thread")
    print(f"{'space':<18}{'fastest':>9}{'median':>9}{'slowest':>9}")
    for name, times in table.items():
        print(f"{name:<18}{times[0]:>9.2f}{times[len(times) // 2]:>9.2f}{times[-1]:>9.2f}")
    print(f"first price in a process: {first:.2f} s")
    RESULTS.parent.mkdir(exist_ok=True)
    facts = {"machine": platform.machine(), "python": platform.python_version(), "torch": torch.__version__}
    RESULTS.write_text(
        json.dumps({"proposals": arguments.proposals, "first_price": first, "seconds": table, **facts}, indent=2) + "\n"
    )


if __name__ == "__main__":
    main()
