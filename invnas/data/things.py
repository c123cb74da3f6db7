"""What scenes are made of: the digits of scikit-learn, and the clothes of Fashion-MNIST from files a user has."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np

from invnas.data.scenery import Things
from invnas.errors import BadInput

#: Where Debian's package dataset-fashion-mnist puts its files.
FASHION = "/usr/share/datasets/fashion-mnist"
FASHION_NAMES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
DIGIT_NAMES = tuple("0123456789")

_PARTS = ("train", "t10k")
_CLOTH = 12  # from this grey level on, a pixel is cloth and not the ground it lies on
_MOST = 20_000  # pieces that are taken: as many as a split of scenes can use
_DARKEST = 90  # shade of the darkest cloth, so that none is black throughout


def digits() -> Things:
    """Return 1,797 digits of 8 x 8: ink is opaque, of one shade."""
    from sklearn.datasets import load_digits

    found = load_digits()
    opacity = _framed(np.clip(found.images.astype(np.int64) * 16, 0, 255).astype(np.uint8))
    return Things(opacity, np.full_like(opacity, 255), found.target.astype(np.int64))


def fashion(folder: Path) -> Things:
    """Return the first 20,000 pieces of clothing of 28 x 28: opaque within their outline, shaded as they are.

    Raises:
        BadInput: If the four files are not there, or not what they are called.
    """
    if not folder.is_dir():
        raise BadInput(
            f"the folder '{folder}' of Fashion-MNIST does not exist: install Debian's package dataset-fashion-mnist, "
            "or let `folder` name where its four files lie (train-images-idx3-ubyte.gz and so on)"
        )
    images = np.concatenate([_idx(folder, f"{part}-images-idx3-ubyte", (28, 28)) for part in _PARTS])
    labels = np.concatenate([_idx(folder, f"{part}-labels-idx1-ubyte", ()) for part in _PARTS])
    if len(images) != len(labels) or not len(labels) or labels.max() >= len(FASHION_NAMES):
        raise BadInput(
            f"the files of Fashion-MNIST in '{folder}' must hold a label from 0 to 9 for each image, but have "
            f"{len(images):,} images and {len(labels):,} labels"
        )
    images, labels = images[:_MOST], labels[:_MOST]
    # What is dark within a piece is cloth too: from either side, all after the first bright pixel.
    cloth = images >= _CLOTH
    inside = [np.logical_or.accumulate(cloth, axis) & _from_end(cloth, axis) for axis in (1, 2)]
    opacity = np.where(inside[0] & inside[1], 255, 0).astype(np.uint8)
    shade = (_DARKEST + images.astype(np.int64) * (255 - _DARKEST) // 255).astype(np.uint8)
    return Things(_framed(opacity), _framed(shade), labels.astype(np.int64))


def _from_end(cloth: np.ndarray, axis: int) -> np.ndarray:
    return np.flip(np.logical_or.accumulate(np.flip(cloth, axis), axis), axis)


def _framed(pixels: np.ndarray) -> np.ndarray:
    """Return images with an empty pixel around each, so that none is cut off at an edge when it is enlarged."""
    return np.pad(pixels, ((0, 0), (1, 1), (1, 1)))


def _idx(folder: Path, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Read a file of bytes in the format of MNIST, packed or not: (N, *shape)."""
    plain, packed = folder / name, folder / f"{name}.gz"
    if not plain.is_file() and not packed.is_file():
        raise BadInput(f"'{folder}' holds no Fashion-MNIST: its file {name}.gz is missing")
    place = plain if plain.is_file() else packed
    try:
        content = place.read_bytes() if place is plain else gzip.decompress(place.read_bytes())
    except (OSError, EOFError) as error:
        raise BadInput(f"'{place}' cannot be read: {error}") from None
    # Two zero bytes, 8 for bytes, the number of dimensions, then the length of each.
    start = 4 * (2 + len(shape))
    lengths = tuple(int.from_bytes(content[at : at + 4], "big") for at in range(4, start, 4))
    if content[:4] != bytes((0, 0, 8, 1 + len(shape))) or lengths[1:] != shape:
        raise BadInput(f"'{place}' is not a file of Fashion-MNIST: its head does not fit")
    if len(content) - start != int(np.prod(lengths)):
        raise BadInput(
            f"'{place}' is cut off or too long: its head says {lengths[0]:,} items, but it has {len(content):,} bytes"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(lengths)
