"""What a source says of its images is what it does: files prepared by it are the batches that are validated on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningDataModule
from PIL import Image
from torch.utils.data import DataLoader, TensorDataset

from invnas import DataSource, Preprocessing
from invnas.data import Digits, HardDigits, ImageFolder, describe
from invnas.data.normalisation import Normalisation
from invnas.data.preparing import GivenPictures, batch_of, prepared
from invnas.data.source import preprocessing_of
from invnas.errors import BadInput
from invnas.facts import DataFacts


def seen(images: list[Any], how: Preprocessing) -> torch.Tensor:
    pictures = GivenPictures(images, how.span)
    arrays = [prepared(pictures, index, how) for index in range(len(images))]
    return batch_of(arrays, Normalisation(how.mean or (), how.std or ()))


def odd_images(root: Path) -> None:
    """Two classes of images of many kinds: sizes, grey, turned, a palette with transparency, 16 bits, floats."""
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        folder = root / name
        folder.mkdir(parents=True)
        for number, (width, height) in enumerate([(7, 31), (64, 20), (33, 33), (1, 1)]):
            pixels = rng.integers(0, 256, (height, width, 3), np.uint8)
            Image.fromarray(pixels).save(folder / f"colour{number}.png")
            Image.fromarray(pixels[:, :, 0]).save(folder / f"grey{number}.png")
            Image.fromarray(pixels[:, :, 0].astype(np.uint16) * 200).save(folder / f"deep{number}.png")
            Image.fromarray(pixels[:, :, 1].astype(np.float32) * 3 - 50).save(folder / f"float{number}.tif")
        image = Image.fromarray(rng.integers(0, 256, (20, 30, 3), np.uint8))
        exif = Image.Exif()
        exif[0x0112] = 6
        image.save(folder / "turned.jpg", exif=exif)
        image.quantize(8).save(folder / "palette.png", transparency=0)
        image.convert("LA").save(folder / "veiled.png")


@pytest.mark.parametrize("channels", [1, 3])
def test_a_folder_of_odd_images_is_prepared_as_it_is_validated(tmp_path: Path, channels: Any) -> None:
    odd_images(tmp_path)
    data = ImageFolder(str(tmp_path), image_size=16, channels=channels, batch_size=100, num_workers=0)
    data.setup("fit")
    how = describe(data).preprocessing
    assert how == data.preprocessing
    assert how is not None
    assert how.crop == 0.875
    assert how.span is not None  # some are floats
    (batch, _), *_ = data.val_dataloader()
    chosen = data._sets["validation"]
    files = [chosen.pictures.encoded(int(index)) for index in chosen.indices]  # type: ignore[attr-defined]
    assert torch.equal(seen(files, how), batch)
    assert torch.equal(seen([Path(file) for file in files], how), batch)
    assert torch.equal(seen([Path(file).read_bytes() for file in files], how), batch)
    opened = [Image.open(file) for file in files]
    assert torch.equal(seen(opened, how), batch)


@pytest.mark.parametrize("kind", [Digits, HardDigits])
def test_digits_saved_as_floats_are_those_in_memory(tmp_path: Path, kind: Any) -> None:
    data = kind(batch_size=64)
    data.setup("fit")
    how = data.preprocessing
    images = data._sets["validation"].images[:64]
    paths = [tmp_path / f"{i}.tif" for i in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image[0].numpy()).save(path)
    (batch, _), *_ = data.val_dataloader()
    assert torch.allclose(seen(list(paths), how), batch, atol=1e-5)
    assert torch.allclose(seen([image[0].numpy() for image in images], how), batch, atol=1e-5)


def test_arrays_are_taken_as_the_images_they_are() -> None:
    how = Preprocessing((4, 4), 3, 1.0, (0.0,) * 3, (1.0,) * 3)
    pixels = np.random.default_rng(0).integers(0, 256, (5, 6, 4), np.uint8)
    colour = seen([pixels[:, :, :3]], how)
    assert torch.equal(seen([Image.fromarray(pixels[:, :, :3])], how), colour)
    assert torch.equal(seen([pixels], how), colour)  # transparency is dropped
    assert torch.equal(seen([pixels[:, :, :1]], how), seen([pixels[:, :, 0]], how))
    assert torch.allclose(seen([pixels[:, :, 0].astype(np.uint16) * 257], how), seen([pixels[:, :, 0]], how), atol=5e-3)


@pytest.mark.parametrize("kind", [">u2", "<u2", ">i4", "i8", "u8", ">f4", "f8"])
def test_the_order_and_number_of_the_bytes_of_an_array_change_nothing(kind: str) -> None:
    tones = np.arange(64).reshape(8, 8) * 1000
    how = Preprocessing(size=(8, 8), channels=1, crop=1.0, mean=(0.0,), std=(1.0,), span=(0.0, 65535.0))
    assert torch.allclose(seen([tones.astype(kind)], how), seen([tones.astype(np.uint16)], how), atol=1e-6)
    if kind == "i8":  # more than 32 bits hold
        wide = Preprocessing(size=(8, 8), channels=1, crop=1.0, mean=(0.0,), std=(1.0,), span=(0.0, 65535.0 * 2**40))
        assert torch.allclose(seen([tones * 2**40], wide), seen([tones], how), atol=1e-6)


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (np.zeros((0, 3), np.uint8), r"image 0 must be .*but is uint8 of shape \(0, 3\)"),
        (np.zeros((3, 3, 2), np.uint8), r"shape \(3, 3, 2\)"),
        (np.zeros((3, 3, 3), np.float32), "but is float32"),
        (np.array([["x"]]), "but is <U1"),
        (7, "image 0 must be a path, an image of Pillow or an array .*of type int"),
        ("no/such.png", "'no/such.png' points to the file .* does not exist"),
        (b"nothing", "image 0 is not a readable image: its format is unknown"),
        (np.full((2, 2), np.nan, np.float32), "no finite numbers"),
    ],
)
def test_what_is_no_image_is_one_sentence(image: Any, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        seen([image], Preprocessing((2, 2), 1, 1.0, (0.0,), (1.0,)))


class Own(LightningDataModule):
    classes = 2
    input_shape = (1, 4, 4)

    def __init__(self, **said: Any) -> None:
        super().__init__()
        vars(self).update(said)

    def train_dataloader(self) -> Any:
        return DataLoader(TensorDataset(torch.zeros(4, 1, 4, 4), torch.zeros(4)))

    val_dataloader = train_dataloader


def test_a_module_of_ones_own_says_it_or_it_is_unknown() -> None:
    whole = Preprocessing((4, 4), 1, 0.5, (0.1,), (0.2,))
    assert describe(Own(preprocessing=whole)).preprocessing == whole
    assert describe(Own(preprocessing={"crop": 0.5}, normalisation=((0.1,), (0.2,)))).preprocessing == whole
    facts = describe(Own(normalisation=((0.1,), (0.2,))))
    assert facts.preprocessing is None
    found = preprocessing_of(DataSource("mine.Own"), facts)
    assert found == Preprocessing((4, 4), 1, None, (0.1,), (0.2,))
    assert found.unknown == ("how images are cropped (`crop`)",)
    for said, why in (
        (Preprocessing((5, 4), 1), "makes images of 1 x 5 x 4, but a network sees 1 x 4 x 4"),
        ({"crpo": 1}, "unknown key 'crpo' in `preprocessing` of .*nearest: 'crop'"),
        ({"crop": 3}, "`preprocessing` of .* cannot be: `crop`"),
        (0.875, "must be an invnas.Preprocessing or its fields by name, but is 0.875"),
    ):
        with pytest.raises(BadInput, match=why):
            describe(Own(preprocessing=said))


@pytest.mark.parametrize(
    ("source", "crop", "span"),
    [
        (DataSource("invnas.data.ImageFolder", {"root": "x"}), 0.875, None),
        (DataSource("HuggingFace", {"name": "x", "image_size": 8}), 0.875, None),
        (DataSource("invnas.data.HuggingFace", {"name": "x"}), 1.0, None),
        (DataSource("invnas.data.digits.HardDigits"), 1.0, (0.0, 1.0)),
        (DataSource("Cifar", {"folder": "x"}), 1.0, None),
        (DataSource("mine.Cifar"), None, None),
    ],
)
def test_what_an_older_run_does_not_say_is_derived(source: DataSource, crop: Any, span: Any) -> None:
    facts = DataFacts((1, 8, 8), 10, normalisation={"mean": (0.1,), "std": (0.2,)})
    assert preprocessing_of(source, facts) == Preprocessing((8, 8), 1, crop, (0.1,), (0.2,), span)
