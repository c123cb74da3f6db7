from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from invnas.data.augment import Augment
from invnas.data.normalisation import Normalisation
from invnas.data.tensors import TensorBatches, TensorImages

PLAIN = Normalisation((0.0,), (1.0,))
ALL = Augment(flip=True, crop=1, cutout=2)
CHANGED = Augment(crop=1, policy="trivial")


def loader(count: int = 10, batch_size: int = 4, **more: Any) -> TensorBatches:
    images = torch.rand(count, 1, 6, 5, generator=torch.Generator().manual_seed(0))
    return TensorBatches(images, torch.arange(count), batch_size, PLAIN, **more)


@given(st.integers(0, 30), st.integers(2, 9), st.booleans())
def test_an_epoch_has_every_image_once(count: int, batch_size: int, shuffle: bool) -> None:
    batches = loader(count, batch_size, shuffle=shuffle)
    labels = [label for _, labels in batches for label in labels.tolist()]
    dropped = 1 if shuffle and count % batch_size == 1 else 0
    assert len(set(labels)) == len(labels) == count - dropped
    assert len(list(batches)) == len(batches)
    assert not shuffle or all(len(labels) > 1 for _, labels in batches)


def test_without_shuffling_the_order_stays() -> None:
    assert torch.equal(torch.cat([labels for _, labels in loader()]), torch.arange(10))


def test_a_batch_is_float_and_channels_last() -> None:
    images = torch.randint(0, 256, (8, 3, 6, 5), dtype=torch.uint8)
    for augment in (None, ALL, Augment(cutout=2)):
        batches = TensorBatches(
            images, torch.arange(8), 4, Normalisation((0.5,) * 3, (0.2,) * 3), augment, shuffle=True
        )
        batch, labels = next(iter(batches))
        assert batch.shape == (4, 3, 6, 5)
        assert batch.dtype == torch.float32
        assert labels.dtype == torch.int64
        assert batch.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("augment", [None, ALL, CHANGED])
def test_batches_depend_on_seed_and_epoch_alone(augment: Augment | None) -> None:
    def epoch(seed: int, number: int) -> torch.Tensor:
        batches = loader(augment=augment, seed=seed, shuffle=True)
        batches.sampler.set_epoch(number)
        return torch.cat([images for images, _ in batches])

    assert torch.equal(epoch(1, 3), epoch(1, 3))
    assert not torch.equal(epoch(1, 3), epoch(1, 4))
    assert not torch.equal(epoch(1, 3), epoch(2, 3))


def test_the_global_random_state_plays_no_part() -> None:
    state = torch.random.get_rng_state()
    first = torch.cat([images for images, _ in loader(augment=ALL, shuffle=True)])
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.rand(5)
    assert torch.equal(first, torch.cat([images for images, _ in loader(augment=ALL, shuffle=True)]))


def test_images_and_labels_stay_together() -> None:
    images = torch.arange(20.0)[:, None, None, None].expand(20, 1, 4, 4)
    batches = TensorBatches(images, torch.arange(20), 6, PLAIN, Augment(flip=True), shuffle=True)
    for batch, labels in batches:
        assert torch.equal(batch[:, 0, 0, 0].long(), labels)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_normalised_images_have_mean_zero_and_deviation_one(dtype: torch.dtype) -> None:
    images = torch.rand(1500, 2, 3, 4) * torch.tensor([1.0, 0.5])[:, None, None]
    images = (images * 255).to(torch.uint8) if dtype == torch.uint8 else images
    normalisation = TensorImages(images, torch.zeros(1500)).normalisation(0)
    values = normalisation.apply(images)
    assert values.mean((0, 2, 3)).abs().max() < 1e-3
    assert (values.std((0, 2, 3), correction=0) - 1).abs().max() < 1e-3


def test_a_constant_channel_is_not_divided_by_zero() -> None:
    images = torch.full((3, 1, 2, 2), 7, dtype=torch.uint8)
    assert torch.allclose(Normalisation.of(images).apply(images), torch.zeros(3, 1, 2, 2), atol=1e-6)


def test_balanced_batches_have_classes_equally_often_and_change_a_repeated_image_anew() -> None:
    images = torch.rand(12, 1, 6, 5, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0] * 10 + [1] * 2)

    def epoch(number: int) -> tuple[torch.Tensor, torch.Tensor]:
        batches = TensorBatches(images, labels, 4, PLAIN, ALL, seed=1, shuffle=True, balanced=True)
        batches.sampler.set_epoch(number)
        pixels, classes = zip(*batches, strict=True)
        return torch.cat(pixels), torch.cat(classes)

    pixels, classes = epoch(0)
    assert classes.bincount().tolist() == [6, 6]
    assert len({tuple(image.flatten().tolist()) for image in pixels[classes == 1]}) > 2  # of two images
    assert torch.equal(epoch(0)[0], pixels)
    assert not torch.equal(epoch(1)[0], pixels)
