"""Runs commands of invnas in forks of one process that has imported everything: a search that is killed ten times
starts eleven times, and each start would pay seconds for imports.

Reads a line of JSON, the words of a command; answers with the number of the process, and then how it ended.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress

import lightning.pytorch
import optuna
import torch

import invnas.commands
import invnas.engine.evaluate
import invnas.engine.local
from invnas.cli import main
from invnas.engine.ray.cluster import check_ray
from invnas.errors import MissingExtra

LOADED = lightning.pytorch, optuna, invnas.commands, invnas.engine


def serve() -> None:
    torch.set_num_threads(1)
    with suppress(MissingExtra):
        check_ray()
    for line in sys.stdin:
        told = json.loads(line)
        number = os.fork()
        if number == 0:
            os.dup2(os.open(told["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
            os.dup2(2, 1)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os._exit(main(told["words"]))
        print(number, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(number, 0)[1]), flush=True)


if __name__ == "__main__":
    serve()
