"""Images that are decoded once: in memory, or in a file that all processes of a machine map.

What is kept is what does not depend on chance, as Pillow gives it: bytes of mode L, RGB or F. So a network sees the
same bits with and without.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL
import torch
from PIL import Image

from invnas.errors import BadInput, shown, unwritable
from invnas.files import cache_folder, replacing
from invnas.rules import one_of

_MODES = ("L", "RGB", "F")
_DEPTH = {"L": 1, "RGB": 3, "F": 4}  # bytes of a pixel
_BLOCK = 256  # images decoded before they are written
_MAGIC = 0x315345474D49  # first number of a file; another when its form changes
_HEAD = 2  # numbers before the table: what the file is, how many images
_ROW = 4  # numbers of an image in the table: where it starts, width, height, mode
_ABANDONED = 3600  # seconds after which nobody goes on with a file that was not written to
GIGABYTE = 10**9


@dataclass(frozen=True)
class Caching:
    """Where decoded images are kept, and how much they may take.

    Attributes:
        where: "none", "memory" (of each process that trains) or "disk".
        limit: Gigabytes (of 10^9 bytes) of the decoded training and validation images together.
    """

    where: str = "none"
    limit: float = 1.0

    def __post_init__(self) -> None:
        for sentence in one_of("cache", self.where, ("none", "memory", "disk")):
            raise BadInput(sentence)
        number = isinstance(self.limit, int | float) and not isinstance(self.limit, bool)
        if not number or not 0 < self.limit < float("inf"):
            raise BadInput(f"`cache_limit` must be a number of gigabytes above 0, but got {shown(self.limit)}")

    def holds(self, size: int) -> bool:
        """Tell whether so many bytes are within the limit."""
        return size <= self.limit * GIGABYTE

    def check(self, size: int, origin: str) -> None:
        """Raise BadInput where so many bytes of decoded images are more than the limit."""
        if not self.holds(size):
            raise BadInput(
                f"the decoded training and validation images of {origin} take {in_words(size)}, but `cache_limit` is "
                f"{self.limit:g} GB: raise it, or take `cache: none`"
            )


@dataclass(frozen=True)
class Kept:
    """Decoded images by number.

    Attributes:
        table: Where each starts, its width, height and the number of its mode, (N, 4).
        block: The bytes of all; a tensor, because torch hands one to its workers without a copy.
    """

    table: np.ndarray
    block: torch.Tensor | _Mapped

    def image(self, number: int) -> Image.Image:
        """Return an image as it was decoded."""
        start, width, height, mode = (int(value) for value in self.table[number])
        name = _MODES[mode]
        pixels = self.block.numpy()[start : start + width * height * _DEPTH[name]]
        return Image.frombuffer(name, (width, height), pixels, "raw", name, 0, 1)


class _Mapped:
    """The bytes of a file, mapped; what another process is sent is its path."""

    def __init__(self, path: Path, offset: int) -> None:
        self._path, self._offset = path, offset
        self._bytes = np.memmap(path, np.uint8, "r", offset)

    def numpy(self) -> np.ndarray:
        return self._bytes

    def __reduce__(self) -> tuple[type[_Mapped], tuple[Path, int]]:
        return _Mapped, (self._path, self._offset)


def in_memory(count: int, size: int, image_of: Callable[[int], Image.Image]) -> Kept:
    """Decode `count` images that take `size` bytes."""
    table, block = np.zeros((count, _ROW), np.int64), torch.empty(size, dtype=torch.uint8)
    pixels = block.numpy()
    for number, row, content in _decoded(count, image_of):
        table[number] = row
        pixels[row[0] : row[0] + len(content)] = np.frombuffer(content, np.uint8)
    return Kept(table, block)


def on_disk(path: Path, count: int, image_of: Callable[[int], Image.Image]) -> Kept:
    """Decode `count` images into a file that appears whole or not at all, and map it.

    Raises:
        BadInput, DiskFailed: If it cannot be written.
    """
    table = np.zeros((count, _ROW), np.int64)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, durable=False) as fresh, fresh.open("wb") as file:
            file.seek(_start(count))
            for number, row, content in _decoded(count, image_of):
                table[number] = row
                file.write(content)
            file.seek(0)
            file.write(np.asarray([_MAGIC, count], np.int64).tobytes() + table.tobytes())
    except OSError as error:
        # Some systems let nobody replace a file that is mapped: what another process wrote meanwhile is as good.
        if (kept := mapped(path, count)) is not None:
            return kept
        raise unwritable(f"decoded images cannot be kept in '{path.parent}'", error) from None
    forget_changed(path)
    kept = mapped(path, count)
    if kept is None:
        raise BadInput(f"the decoded images in '{path}' were changed while they were written")
    return kept


def mapped(path: Path, count: int) -> Kept | None:
    """Return what a file keeps; None where there is none, or it is damaged."""
    start = _start(count)
    try:
        head = np.fromfile(path, np.int64, start // 8)
        if len(head) != start // 8 or head[0] != _MAGIC or head[1] != count:
            return None
        table = head[_HEAD:].reshape(count, _ROW)
        if path.stat().st_size != start + _bytes_of(table):
            return None
        return Kept(table, _Mapped(path, start))
    except (OSError, ValueError, IndexError):
        return None


def check_room(folder: Path, size: int) -> None:
    """Raise BadInput unless the disk of a folder, which may not be there yet, has room for so many bytes."""
    there = next((parent for parent in (folder, *folder.absolute().parents) if parent.is_dir()), Path.cwd())
    if (free := shutil.disk_usage(there).free) < size:
        raise BadInput(
            f"the decoded images take {in_words(size)}, but the disk of '{folder}' has {in_words(free)} free: make "
            "room, let INVNAS_CACHE name a folder elsewhere, or take `cache: memory` or `none`"
        )


def place_of(paths: Sequence[str], chosen: np.ndarray, form: object) -> Path:
    """Return the file where some images of a folder are kept.

    Its name says which folder, in which state (names, sizes and times of change of all its images), and which of them
    in what form: images that have changed are looked for under another name.

    Raises:
        BadInput: If an image is gone.
    """
    state = hashlib.sha256()
    for path in paths:
        try:
            found = os.stat(path)
        except OSError as error:
            raise BadInput(f"'{path}' cannot be read: {error.strerror}") from None
        state.update(repr((path, found.st_size, found.st_mtime_ns)).encode())
    folder = _digest(os.path.abspath(os.path.commonpath(paths)).encode())
    what = _digest(repr((form, PIL.__version__)).encode() + np.ascontiguousarray(chosen, np.int64).tobytes())
    return cache_folder() / "images" / f"{folder}-{state.hexdigest()[:16]}-{what}.bin"


def forget_changed(path: Path) -> None:
    """Remove what is kept of an earlier state of the same folder, and what kills left of it; who maps it goes on."""
    folder, state, _ = path.name.split("-")
    old = [other for other in path.parent.glob(f"{folder}-*-*") if other.name.split("-")[1] != state]
    for other in path.parent.glob(f".{folder}-*.part"):
        with suppress(OSError):
            old += [other] if time.time() - other.stat().st_mtime > _ABANDONED else []
    for other in old:
        with suppress(OSError):
            other.unlink()


def in_words(size: int) -> str:
    """Return a number of bytes as people say it.

    >>> in_words(640), in_words(12_345_678), in_words(3_200_000_000)
    ('640 bytes', '12.3 MB', '3.2 GB')
    """
    for unit, one in (("GB", GIGABYTE), ("MB", 10**6), ("kB", 10**3)):
        if size >= one:
            return f"{size / one:.3g} {unit}"
    return f"{size} bytes"


def _decoded(
    count: int, image_of: Callable[[int], Image.Image]
) -> Iterator[tuple[int, tuple[int, int, int, int], bytes]]:
    """Yield number, row of the table and bytes of each image, in order; threads decode a block at a time."""
    start = 0
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for first in range(0, count, _BLOCK):
            numbers = range(first, min(first + _BLOCK, count))
            for number, image in zip(numbers, pool.map(image_of, numbers), strict=True):
                content = image.tobytes()
                yield number, (start, *image.size, _MODES.index(image.mode)), content
                start += len(content)


def _bytes_of(table: np.ndarray) -> int:
    return int(sum(int(w) * int(h) * _DEPTH[_MODES[int(mode)]] for _, w, h, mode in table))


def _start(count: int) -> int:
    return 8 * (_HEAD + _ROW * count)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
