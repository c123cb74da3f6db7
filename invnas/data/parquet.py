"""Image tables in Parquet: one column of encoded images, one of labels (extra `data`)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from invnas.data.decoding import decode_all
from invnas.data.pictures import RowPictures
from invnas.errors import BadInput, MissingExtra, nearest

_IMAGE_COLUMNS = ("img", "image")


def find_parquet(folder: Path, split: str) -> list[Path]:
    """Return the files of a split (train.parquet or train-*.parquet), in the folder or one level below."""
    for pattern in (f"{split}.parquet", f"{split}-*.parquet", f"*/{split}.parquet", f"*/{split}-*.parquet"):
        if files := sorted(folder.glob(pattern)):
            return files
    return []


def read_parquet(folder: Path, split: str, label: str) -> tuple[torch.Tensor, torch.Tensor, tuple[str, ...] | None]:
    """Read all images of a split as colour.

    Args:
        folder: Folder with the files of the split.
        split: train or test.
        label: Column of the labels; `label` where it is missing.

    Returns:
        Images (N, 3, H, W) uint8, labels (N,) int64, and the class names if the files tell.

    Raises:
        BadInput: A file, a column or an image is missing or broken.
    """
    files = find_parquet(folder, split)
    if not files:
        raise BadInput(f"the folder '{folder}' has no {split}.parquet and no {split}-*.parquet")
    table = _read_table(files)
    image_column = _column(table, _IMAGE_COLUMNS, files[0])
    label_column = _column(table, (label, "label"), files[0])
    if table.num_rows == 0:
        raise BadInput(f"'{files[0]}' has no images")
    rows = RowPictures(table.column(image_column).to_pylist(), f"'{files[0]}'")
    try:
        labels = np.asarray(table.column(label_column).to_pylist(), dtype=np.int64)
    except (TypeError, ValueError):
        raise BadInput(f"column `{label_column}` of '{files[0]}' must hold whole numbers and no gaps") from None
    return decode_all(rows, 3), torch.from_numpy(labels), _class_names(table.schema.metadata, label_column)


def _read_table(files: list[Path]) -> Any:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise MissingExtra("pyarrow", "data") from None
    tables = []
    for file in files:
        try:
            tables.append(pq.read_table(file, partitioning=None))
        except (pa.ArrowException, OSError) as error:
            raise BadInput(f"'{file}' is not a readable Parquet file: {str(error).splitlines()[0]}") from None
    return pa.concat_tables(tables)


def _column(table: Any, wanted: tuple[str, ...], file: Path) -> str:
    for name in wanted:
        if name in table.column_names:
            return name
    raise BadInput(f"'{file}' has no column `{wanted[0]}`; {nearest(wanted[0], table.column_names)}")


def _class_names(metadata: dict[bytes, bytes] | None, column: str) -> tuple[str, ...] | None:
    try:
        features = json.loads((metadata or {})[b"huggingface"])["info"]["features"]
        return tuple(features[column]["names"])
    except (KeyError, TypeError, ValueError):
        return None
