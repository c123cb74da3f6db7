"""Searches on recorded measurements: `replay` compares samplers in seconds, on InvBench, a table or any function."""

from invnas.bench.curves import Curves, TimesFewer, scored
from invnas.bench.invbench import InvBench, Noise, Training, load
from invnas.bench.pool import Pool
from invnas.bench.replay import Answer, replay
from invnas.bench.truth import Truth

__all__ = [
    "Answer",
    "Curves",
    "InvBench",
    "Noise",
    "Pool",
    "TimesFewer",
    "Training",
    "Truth",
    "load",
    "replay",
    "scored",
]
