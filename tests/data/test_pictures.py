"""From encoded images to pixels: every depth keeps its tones, every photo stands upright."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from invnas.data.decoding import decode_all
from invnas.data.folder import ImageFolder
from invnas.data.pictures import FilePictures, RowPictures, decode, span_of, to_array, upright_size
from invnas.errors import BadInput

RAMP = np.linspace(0, 1, 256)[None].repeat(4, 0)  # 4 x 256, black to white


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def pgm(values: np.ndarray, largest: int) -> bytes:
    return f"P5 {values.shape[1]} {values.shape[0]} {largest}\n".encode() + values.astype(">u2").tobytes()


def one(data: bytes) -> RowPictures:
    return RowPictures([data], "the test")


SIXTEEN = np.round(RAMP * 65535).astype(np.uint16)
DEEP = {
    "8-bit png": encoded(Image.fromarray(np.round(RAMP * 255).astype(np.uint8)), "PNG"),
    "16-bit png": encoded(Image.fromarray(SIXTEEN), "PNG"),
    "16-bit tiff": encoded(Image.fromarray(SIXTEEN), "TIFF"),
    "16-bit big-endian tiff": encoded(Image.fromarray(SIXTEEN.astype(">u2")), "TIFF"),
    "16-bit pgm": pgm(SIXTEEN, 65535),
    "12-bit pgm": pgm(np.round(RAMP * 4095), 4095),
    "float tiff in 0..1": encoded(Image.fromarray(RAMP.astype(np.float32)), "TIFF"),
    "float tiff in -1000..3000": encoded(Image.fromarray((RAMP * 4000 - 1000).astype(np.float32)), "TIFF"),
    "32-bit tiff": encoded(Image.fromarray((RAMP * 2e9).astype(np.int32)), "TIFF"),
}


@pytest.mark.parametrize("name", DEEP)
@pytest.mark.parametrize("channels", [None, 1, 3])
def test_every_depth_keeps_its_tones(name: str, channels: int | None) -> None:
    array = to_array(decode(one(DEEP[name]), 0, channels), channels or 1)
    assert array.shape == (4, 256, channels or 1)
    unit = array / 255 if array.dtype == np.uint8 else array
    assert np.allclose(unit, RAMP[:, :, None], atol=1 / 255)


@pytest.mark.parametrize("name", [name for name in DEEP if "16-bit" in name or "12-bit" in name])
def test_more_tones_than_eight_bits_hold_stay_apart(name: str) -> None:
    image = decode(one(DEEP[name]), 0, 1)
    assert image.mode == "F"
    near = pgm(SIXTEEN // 1000, 65535)  # 66 tones that all are black in 8 bits
    assert len(np.unique(to_array(decode(one(near), 0, 1), 1))) == 66


def test_floats_are_measured_over_their_set() -> None:
    dark, bright = (encoded(Image.fromarray(np.full((2, 2), v, np.float32)), "TIFF") for v in (10.0, 30.0))
    middle = encoded(Image.fromarray(np.full((2, 2), 20.0, np.float32)), "TIFF")
    pictures = RowPictures([dark, middle, bright], "the test")
    assert span_of(pictures) == (10.0, 30.0)
    known = RowPictures(pictures.rows, "the test", span_of(pictures))
    assert [float(decode_all(known, None)[i].mean()) for i in range(3)] == pytest.approx([0, 0.5, 1])
    assert span_of(RowPictures([DEEP["8-bit png"], DEEP["16-bit png"]], "the test")) is None


def test_deep_and_shallow_images_share_one_scale() -> None:
    rows = [DEEP["8-bit png"], DEEP["16-bit png"], DEEP["16-bit pgm"]]
    for order in (rows, rows[::-1]):
        images = decode_all(RowPictures(order, "the test"), None)
        assert images.dtype == torch.float32
        assert images.is_contiguous(memory_format=torch.channels_last)
        assert torch.allclose(images, torch.tensor(RAMP, dtype=torch.float32), atol=1 / 255)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_pixels_that_are_no_numbers_are_refused(value: float) -> None:
    broken = encoded(Image.fromarray(np.array([[0, value]], np.float32)), "TIFF")
    with pytest.raises(BadInput, match=r"row 0 of the test holds pixels that are no finite numbers"):
        decode(one(broken), 0, 1)


def test_an_image_of_one_tone_is_black() -> None:
    flat = encoded(Image.fromarray(np.full((2, 2), 7.0, np.float32)), "TIFF")
    assert to_array(decode(one(flat), 0, 1), 1).max() == 0


# What a camera that was turned writes beside the pixels, and how the pixels then lie.
TURNED = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: a.T,
    6: lambda a: np.rot90(a, 1),
    7: lambda a: np.rot90(a, 2).T,
    8: lambda a: np.rot90(a, -1),
}


@pytest.mark.parametrize("orientation", TURNED)
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_photos_stand_upright(orientation: int, kind: str, tmp_path: Path) -> None:
    upright = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(np.ascontiguousarray(TURNED[orientation](upright)))
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(image, kind, exif=exif, **options)
    file = tmp_path / "photo"
    file.write_bytes(data)
    for read in (one(data), FilePictures([str(file)])):
        assert (to_array(decode(read, 0, 1), 1)[:, :, 0] == upright).all()
        assert upright_size(read, 0) == (4, 3)


def test_broken_notes_of_a_camera_do_not_hide_the_pixels() -> None:
    photo = encoded(Image.new("L", (4, 4), 99), "JPEG")
    broken = photo[:2] + b"\xff\xe1\x00\x12Exif\x00\x00MM\x00*\xff\xff\xff\xff" + photo[2:]
    assert abs(int(to_array(decode(one(broken), 0, 1), 1).mean()) - 99) < 2


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I", "F"])
def test_every_mode_becomes_grey_or_colour(mode: str) -> None:
    kind = {"YCbCr": "JPEG", "CMYK": "TIFF", "F": "TIFF", "I": "TIFF", "PA": "TIFF", "LAB": "TIFF"}.get(mode, "PNG")
    data = encoded(Image.new(mode, (3, 2)), kind)
    for channels in (1, 3):
        assert to_array(decode(one(data), 0, channels), channels).shape == (2, 3, channels)


def folder_of(root: Path, image: Image.Image, ending: str, **options: Any) -> Path:
    for name in ("a", "b"):
        (root / name).mkdir(parents=True)
        for i in range(6):
            image.save(root / name / f"{i}{ending}", **options)
    return root


def test_a_folder_streams_deep_images_with_their_tones(tmp_path: Path) -> None:
    square = np.linspace(0, 1, 64)[None].repeat(64, 0)
    root = folder_of(tmp_path / "deep", Image.fromarray(np.round(square * 65535).astype(np.uint16)), ".PNG")
    data = ImageFolder(str(root), image_size=16, channels=1, batch_size=4, num_workers=0)
    data.setup("fit")
    (images, _), *_ = data.val_dataloader()
    tones = images[0, 0] * data.normalisation.std[0] + data.normalisation.mean[0]
    assert float(tones.mean()) == pytest.approx(0.5, abs=0.01)
    assert float(tones.max() - tones.min()) > 0.7


def test_files_beside_the_images_are_no_images(tmp_path: Path) -> None:
    root = folder_of(tmp_path / "photos", Image.new("RGB", (8, 8)), ".JPG")
    (root / "a" / "._0.jpg").write_bytes(b"a note of another system")
    (root / "a" / ".DS_Store").write_bytes(b"x")
    (root / "a" / "Thumbs.db").write_bytes(b"x")
    (root / "__MACOSX" / "a").mkdir(parents=True)
    (root / "b" / "folder.jpg").mkdir()
    data = ImageFolder(str(root), image_size=8, num_workers=0)
    data.setup("fit")
    assert data.classes == 2
    data.setup("test")
    assert sum(data.counts.values()) == 12


def test_a_fingerprint_is_that_of_content_not_of_place(tmp_path: Path) -> None:
    def fingerprint(root: Path) -> str:
        return ImageFolder(str(root), image_size=8, num_workers=0).fingerprint()

    first = fingerprint(folder_of(tmp_path / "one", Image.new("RGB", (8, 8)), ".png"))
    assert first == fingerprint(folder_of(tmp_path / "two", Image.new("RGB", (8, 8)), ".png"))
    assert first != fingerprint(folder_of(tmp_path / "three", Image.new("RGB", (8, 8), "red"), ".png"))
    (tmp_path / "two" / "c").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "two" / "c" / "0.png")
    Image.new("RGB", (8, 8)).save(tmp_path / "two" / "c" / "1.png")
    assert first != fingerprint(tmp_path / "two")


def test_the_pictures_of_a_file_are_told_by_its_path(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="which does not exist"):
        decode(FilePictures([str(tmp_path / "gone.png")]), 0, 1)
