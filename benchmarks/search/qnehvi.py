"""BoTorch's noisy expected hypervolume improvement with the cost as a deterministic model, as a sampler of invnas.

What a user of BoTorch would write: a Gaussian process with its defaults over the options taken and the logarithm of the
cost, `qLogNoisyExpectedHypervolumeImprovement`, and a discrete search over draws and over neighbours of the front. It
needs an environment of its own (`pip install botorch`), which invnas does not.
"""

from __future__ import annotations

import random
import warnings

import numpy as np
import torch
from botorch.acquisition.multi_objective.logei import qLogNoisyExpectedHypervolumeImprovement
from botorch.fit import fit_gpytorch_mll
from botorch.models import SingleTaskGP
from botorch.models.deterministic import GenericDeterministicModel
from botorch.models.model import ModelList
from gpytorch.mlls import ExactMarginalLogLikelihood

from invnas.choice import Decisions
from invnas.experiment import Experiment
from invnas.measurement import Trial
from invnas.pareto import front
from invnas.search.moves import Moves
from invnas.search.pool import draw
from invnas.search.sampler import Candidate, Context, Told
from invnas.space import Space

AXES = Experiment().axes
#: Trials at random first, candidates by draw and by neighbourhood, candidates that are judged at once.
START, DRAWN, NEIGHBOURS, CHUNK = 12, 256, 256, 128


class QNehvi:
    """Proposes the candidate of the largest acquisition.

    Args:
        space: Where to search.
        seed: Seed of the draws.
    """

    uniform = False

    def __init__(self, space: Space, seed: int) -> None:
        self._space, self._seed, self._moves = space, seed, Moves(space)
        self._trials: list[Trial] = []

    def tell(self, told: Told) -> None:
        """Take a measured trial."""
        if told.trial is not None and told.trial.state == "complete":
            self._trials.append(told.trial)

    def ask(self, context: Context) -> Decisions:
        """Return what is proposed."""
        rng = random.Random(f"{self._seed}/{context.number}")
        if len(self._trials) < START:
            return draw(self._space, rng)
        many = [draw(self._space, rng) for _ in range(DRAWN)]
        parents = [trial.decisions for trial in front(self._trials, AXES)]
        many += [self._moves.neighbour(dict(rng.choice(parents)), rng) for _ in range(NEIGHBOURS)]
        candidates = [one for one in context.candidates(many) if isinstance(one, Candidate)]
        if not candidates:
            return draw(self._space, rng)
        torch.manual_seed(context.number)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            values = self._acquisition(self._rows([(one.decisions, one.cost["macs"]) for one in candidates]))
        return candidates[int(np.argmax(values))].decisions

    def _rows(self, many: list[tuple[Decisions, float]]) -> torch.Tensor:
        # The last column is the gain of the cost, which the deterministic model reads.
        logs = np.array([[AXES[1].gain(cost)] for _, cost in many])
        return torch.tensor(np.hstack([self._space.encode_many([decisions for decisions, _ in many]), logs]))

    def _acquisition(self, rows: torch.Tensor) -> np.ndarray:
        seen = self._rows([(trial.decisions, trial.cost["macs"]) for trial in self._trials])
        gains = torch.tensor([[AXES[0].gain(trial.measurement["top1"])] for trial in self._trials])  # type: ignore[index]
        low, high = seen.min(dim=0).values, seen.max(dim=0).values
        scale = torch.where(high > low, high - low, torch.ones_like(low))

        def cost(x: torch.Tensor) -> torch.Tensor:
            return x[..., -1:] * scale[-1] + low[-1]

        seen, rows = (seen - low) / scale, (rows - low) / scale
        process = SingleTaskGP(seen, gains.double())
        fit_gpytorch_mll(ExactMarginalLogLikelihood(process.likelihood, process))
        acquisition = qLogNoisyExpectedHypervolumeImprovement(
            model=ModelList(process, GenericDeterministicModel(cost, num_outputs=1)),
            ref_point=[float(gains.quantile(0.1)), float(cost(seen).min())],
            X_baseline=seen,
            prune_baseline=True,
        )
        with torch.no_grad():
            return np.concatenate([acquisition(part[:, None]).numpy() for part in rows.split(CHUNK)])
