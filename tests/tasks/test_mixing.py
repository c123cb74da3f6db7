"""Mixup and cutmix: what is mixed is what the shares of the labels say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from invnas.experiment import Recipe
from invnas.tasks.classification.mixing import mixed
from invnas.tasks.classification.module import Classifier


def one_each(images: int, side: tuple[int, int] = (5, 7)) -> tuple[torch.Tensor, torch.Tensor]:
    """Image i is full of i, and of class i: whatever is mixed can be read off its pixels."""
    return torch.arange(images).float().view(-1, 1, 1, 1).expand(images, 2, *side).clone(), torch.eye(images)


@given(st.integers(0, 10**6), st.integers(1, 6), st.sampled_from([(0.2, 0.0), (0.0, 1.0), (0.4, 0.4)]))
def test_the_pixels_of_an_image_are_what_its_shares_say(seed: int, images: int, alphas: tuple[float, float]) -> None:
    before, shares = one_each(images)
    after, found = mixed(before, shares, *alphas, np.random.default_rng(seed))
    assert after.shape == before.shape
    torch.testing.assert_close(before, one_each(images)[0])  # not touched
    torch.testing.assert_close(found.sum(1), torch.ones(images))
    means = after.mean(dim=(1, 2, 3))
    torch.testing.assert_close(means, found @ torch.arange(images).float(), rtol=1e-4, atol=1e-4)


@given(st.integers(0, 10**6))
def test_cutmix_pastes_one_rectangle_and_mixup_blends_all(seed: int) -> None:
    before, shares = one_each(4)
    cut, found = mixed(before, shares, 0.0, 1.0, np.random.default_rng(seed))
    assert set(cut.unique().tolist()) <= {0.0, 1.0, 2.0, 3.0}
    for image, share, mine in zip(cut, found, range(4), strict=True):
        rows, columns = torch.nonzero(image[0] != mine, as_tuple=True)
        if len(rows):
            box = (rows.max() - rows.min() + 1) * (columns.max() - columns.min() + 1)
            assert len(rows) == int(box)
            assert float(share[mine]) == pytest.approx(1 - len(rows) / 35)
    blended, _ = mixed(before, shares, 1.0, 0.0, np.random.default_rng(seed))
    assert all(len(image.unique()) == 1 for image in blended)


def test_with_both_each_is_drawn_half_of_the_time_and_shares_follow_their_beta() -> None:
    before, shares = one_each(2)
    rng = np.random.default_rng(0)
    drawn = [mixed(before, shares, 0.3, 0.3, rng)[0] for _ in range(400)]
    whole = sum(
        float(images.unique().numel()) <= 2 and not set(images.unique().tolist()) <= {0.0, 1.0} for images in drawn
    )
    assert 70 < whole < 130  # half of 400, and half of those meet themselves
    rng, beta = np.random.default_rng(1), np.random.default_rng(2).beta(0.3, 0.3, 4000)
    kept = [float(mixed(before, shares, 0.3, 0.0, rng)[1].max()) for _ in range(600)]
    own = [value for value in kept if value < 1 - 1e-9]  # those that met another
    assert np.mean(own) == pytest.approx(np.mean(np.maximum(beta, 1 - beta)), abs=0.03)


def test_seed_epoch_and_batch_decide_what_is_mixed() -> None:
    module = Classifier(nn.Flatten(), 4, Recipe(mixup=0.4, cutmix=1.0))
    images, labels = one_each(4)[0], torch.arange(4)
    module.seed = 3
    first, again, other = (module.prepared(images, labels, batch)[1] for batch in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    module.seed = 4
    assert not torch.equal(first, module.prepared(images, labels, 0)[1])


def test_without_them_a_batch_is_as_it_came() -> None:
    images, labels = one_each(4)[0], torch.arange(4)
    found = Classifier(nn.Flatten(), 4, Recipe()).prepared(images, labels, 0)
    assert found[0] is images
    assert torch.equal(found[1], labels)


def test_labels_that_are_shares_already_are_mixed_as_such() -> None:
    module = Classifier(nn.Flatten(), 4, Recipe(mixup=0.4))
    module.seed = 0
    shares = torch.tensor([[0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.25, 0.75]])
    found = module.prepared(torch.rand(2, 1, 2, 2), shares, 0)[1]
    torch.testing.assert_close(found.sum(1), torch.ones(2))
    hard = module.prepared(torch.rand(2, 1, 2, 2), torch.tensor([0, 3]), 0)[1]
    torch.testing.assert_close(hard @ torch.ones(4), torch.ones(2))
    assert F.one_hot(torch.tensor([0, 3]), 4).shape == hard.shape
