"""Seconds a suggestion takes, by how much the sampler knows: known-cost against TPE, in one run on hybrid_cifar.

Usage: python benchmarks/search/seconds.py [--observations 50,200,1000,2000] [--suggestions 12]

The observations are branch-uniform draws with a truth by formula; then suggestions are asked for, judged and told one
after the other, as a search does. The first is left out: it makes what the others keep. Medians of CPU seconds on one
thread; the resolving, checking and pricing of what the sampler looks at is part of them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

from truths import Truth

from invnas.caps import Caps
from invnas.experiment import Experiment
from invnas.measurement import Measurement, Trial
from invnas.search.proposer import Proposer
from invnas.search.sampler import told_of
from invnas.search.samplers import make_sampler
from invnas.space import load_space

RESULTS = Path(__file__).parent.parent / "results" / "search_seconds.json"
SAMPLERS = ("known-cost", "tpe")


def seconds(name: str, truth: Truth, history: list[Trial], suggestions: int) -> list[float]:
    """Return what each suggestion took."""
    sampler = make_sampler(Experiment(sampler=name), truth.space, history)
    proposer = Proposer(truth.space, sampler, truth.price, Caps(), history, False, 0, lambda event: None)
    found = []
    for number in range(len(history), len(history) + suggestions + 1):
        began = time.process_time()
        proposal = proposer.next()
        found.append(time.process_time() - began)
        assert proposal is not None
        sampler.tell(told_of(measured(truth, number, proposal.candidate)))
    return found[1:]


def measured(truth: Truth, number: int, one: object) -> Trial:
    found = Measurement({"top1": truth.seen(one.decisions, one.cost)})  # type: ignore[attr-defined]
    return Trial(number, one.architecture, one.decisions, one.cost, "complete", found)  # type: ignore[attr-defined]


def drawn(truth: Truth, number: int) -> list[Trial]:
    draws = make_sampler(Experiment(sampler="branch-uniform"), truth.space)
    proposer = Proposer(truth.space, draws, truth.price, Caps(), (), False, 0, lambda event: None)
    history: list[Trial] = []
    while len(history) < number and (proposal := proposer.next()) is not None:
        history.append(measured(truth, len(history), proposal.candidate))
    return history


def main() -> None:
    import torch

    from invnas.cost import pricer

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--observations", default="50,200,1000,2000")
    parser.add_argument("--suggestions", type=int, default=12)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    truth = Truth(load_space("hybrid_cifar"), pricer((3, 32, 32), 10), "pairs")
    table = {}
    for number in map(int, asked.observations.split(",")):
        history = drawn(truth, number)
        took = {name: seconds(name, truth, history, asked.suggestions) for name in SAMPLERS}
        row = {name: statistics.median(values) for name, values in took.items()}
        table[number] = {**row, "ratio": row["known-cost"] / row["tpe"], "longest": max(took["known-cost"])}
        ours, tpe, longest = (round(1000 * one) for one in (row["known-cost"], row["tpe"], table[number]["longest"]))
        print(f"{number:>6} observations: known-cost {ours} ms (longest {longest}), TPE {tpe} ms", flush=True)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({**vars(asked), "seconds": table}, indent=2) + "\n")


if __name__ == "__main__":
    main()
