"""How long does it take to look at fresh candidates? Run: python benchmarks/cost.py

Draws the decisions of 5,000 different valid architectures of a space, forgets every price, then resolves and checks,
fingerprints and prices them. The first price of every part is paid inside the measured time. What torch loads for its
very first meta operators, once in a process, is a line of its own.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import time
from itertools import pairwise
from pathlib import Path

import torch

from invnas import cost
from invnas.choice import Decisions
from invnas.space import Space, load_space
from invnas.zoo import rednet

SPACES = {"digits": ((1, 8, 8), 10), "hybrid_cifar": ((3, 32, 32), 10), "hybrid_imagenet": ((3, 224, 224), 1000)}
RESULTS = Path(__file__).parent / "results" / "cost.json"


def fresh(space: Space, number: int, seed: int) -> list[Decisions]:
    rng, found = random.Random(seed), {}
    while len(found) < number:
        decisions, architecture = space.sample(rng)
        found[architecture.fingerprint] = decisions
    return list(found.values())


def seconds(name: str, number: int, seed: int) -> list[float]:
    """Return what each step takes: resolve and check, fingerprint, price."""
    drawn, space = fresh(load_space(name), number, seed), load_space(name)  # the second one has resolved nothing yet
    price = cost.pricer(*SPACES[name])
    cost.forget()
    times = [time.perf_counter()]
    architectures = [space.architecture(decisions) for decisions in drawn]
    times.append(time.perf_counter())
    for architecture in architectures:
        assert architecture.fingerprint
    times.append(time.perf_counter())
    for architecture in architectures:
        price(architecture)
    times.append(time.perf_counter())
    return [after - before for before, after in pairwise(times)]


def first_price() -> float:
    start = time.perf_counter()
    cost.cost(rednet(26), *SPACES["hybrid_imagenet"])
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--proposals", type=int, default=5000)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    first = first_price()
    table = {
        name: sorted((seconds(name, arguments.proposals, seed) for seed in range(arguments.seeds)), key=sum)
        for name in SPACES
    }
    print(f"seconds for {arguments.proposals:,} fresh candidates, median of {arguments.seeds} seeds, one thread")
    print(f"{'space':<18}{'resolve':>9}{'fingerprint':>13}{'price':>8}{'all':>8}")
    for name, times in table.items():
        steps = times[len(times) // 2]
        print(f"{name:<18}{steps[0]:>9.2f}{steps[1]:>13.2f}{steps[2]:>8.2f}{sum(steps):>8.2f}")
    print(f"first price in a process: {first:.2f} s")
    RESULTS.parent.mkdir(exist_ok=True)
    facts = {"machine": platform.machine(), "python": platform.python_version(), "torch": torch.__version__}
    RESULTS.write_text(
        json.dumps({"proposals": arguments.proposals, "first_price": first, "seconds": table, **facts}, indent=2) + "\n"
    )


if __name__ == "__main__":
    main()
