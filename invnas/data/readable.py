"""Which image files of a folder cannot be decoded: found once for a state of the folder, and remembered."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import numpy as np

from invnas.data.keeping import forget_changed, place_of
from invnas.data.pictures import FilePictures, Pictures, decode
from invnas.errors import BadInput
from invnas.files import read_json, write_text


def broken_files(pictures: FilePictures, channels: int) -> frozenset[int]:
    """Return the numbers of the images that cannot be decoded.

    All are decoded, but where that was done before and no name, size or time of change is another: then only those
    that were broken, which may have been so for another reason than their content.
    """
    place = place_of(pictures.paths, np.arange(0), ("broken", channels)).with_suffix(".json")
    known = _numbers(place, len(pictures))
    broken = broken_among(pictures, range(len(pictures)) if known is None else known, channels)
    if known is None:
        with suppress(OSError):  # then each process looks itself
            place.parent.mkdir(parents=True, exist_ok=True)
            write_text(place, json.dumps(broken), durable=False)
            forget_changed(place)
    return frozenset(broken)


def broken_among(pictures: Pictures, indices: Sequence[int], channels: int) -> list[int]:
    """Return the numbers of those images that cannot be decoded, in order."""

    def broken(index: int) -> bool:
        try:
            decode(pictures, index, channels)
        except BadInput:
            return True
        return False

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        return [index for index, found in zip(indices, pool.map(broken, indices), strict=True) if found]


def _numbers(place: Any, count: int) -> list[int] | None:
    with suppress(BadInput):
        found = read_json(place)
        if isinstance(found, list) and all(type(one) is int and 0 <= one < count for one in found):
            return found
    return None
