"""The same truths on a GPU; skipped, with the reason, where there is none."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from invnas.experiment import DataSource, Experiment, Recipe
from invnas.ops import involution2d, reference
from invnas.ops.geometry import Window
from invnas.space import load_space

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, and torch sees none"),
]


@pytest.mark.parametrize("stride", [1, 2])
def test_involution_agrees_with_the_reference_in_values_and_gradients(stride: int) -> None:
    torch.manual_seed(0)
    window = Window(7, stride, 1, 3)
    x = torch.randn(2, 16, 15, 13, device="cuda", dtype=torch.float64, requires_grad=True)
    kernels = torch.randn(
        2, 2, 49, window.out(15), window.out(13), device="cuda", dtype=torch.float64, requires_grad=True
    )
    ours, truth = involution2d(x, kernels, 7, stride, 1, 3), reference.involution2d(x, kernels, window)
    torch.testing.assert_close(ours, truth)
    upper = torch.randn_like(truth)
    for mine, theirs in zip(
        torch.autograd.grad(ours, (x, kernels), upper), torch.autograd.grad(truth, (x, kernels), upper), strict=True
    ):
        torch.testing.assert_close(mine, theirs)


def test_a_hybrid_trains_in_mixed_precision(tmp_path: Path) -> None:
    from invnas.cost import cost
    from invnas.engine.evaluate import evaluate

    experiment = Experiment(data=DataSource("Digits", {"batch_size": 64}), recipe=Recipe(epochs=4, learning_rate=0.3))
    architecture = load_space("digits").sample(random.Random(0))[1]
    measured = evaluate(
        architecture,
        cost(architecture, (1, 8, 8), 10),
        replace(experiment, objectives=("top1", "latency_ms")),
        checkpoints=tmp_path / "c",
        weights=tmp_path / "w.safetensors",
        logs=tmp_path / "l",
    )
    assert measured.device.startswith("cuda")
    assert measured.top1 > 0.3
    assert measured.latency_ms is not None
