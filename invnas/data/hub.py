"""Tables of the package `datasets` (extra `data`), from the hub, a folder or Parquet files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from invnas.data.listing import SPLITS
from invnas.errors import BadInput, MissingExtra


def split_name(parts: Mapping[str, Any], split: str, dataset: str) -> str | None:
    """Return the name of a split by one of its usual names, or None.

    Raises:
        BadInput: If two have a name for it.
    """
    found = [name for name in SPLITS[split] if name in parts]
    if len(found) > 1:
        raise BadInput(f"'{dataset}' has two splits of {split} images, {found[0]} and {found[1]}: keep one")
    return found[0] if found else None


def is_image(feature: Any) -> bool:
    """Tell whether a column of this feature holds images."""
    import datasets

    return isinstance(feature, datasets.Image) or (isinstance(feature, dict) and {"bytes", "path"} <= set(feature))


def encoded(table: Any, column: str) -> Any:
    """Return a column of encoded images."""
    import datasets

    if isinstance(table.features[column], datasets.Image):
        # We decode ourselves: then a broken image is named by its row, and threads share the work.
        table = table.cast_column(column, datasets.Image(decode=False))
    return table[column]


def load_tables(name: str, config: str | None) -> dict[str, Any]:
    """Return the splits of a data set by name.

    Raises:
        BadInput: It cannot be loaded, or holds nothing.
        MissingExtra: The package `datasets` is not installed.
    """
    try:
        import datasets
    except ImportError:
        raise MissingExtra("datasets", "data") from None
    path = Path(name).expanduser()
    if not path.exists() and name.startswith((".", "/", "~")):
        raise BadInput(f"the data set '{name}' does not exist")
    try:
        if (path / "dataset_dict.json").is_file() or (path / "state.json").is_file():
            loaded = datasets.load_from_disk(str(path))
        elif path.is_file():
            loaded = datasets.load_dataset("parquet", data_files={"train": str(path)})
        else:
            loaded = datasets.load_dataset(str(path) if path.exists() else name, config)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise BadInput(f"the data set '{name}' cannot be loaded: {' '.join(str(error).split())}") from None
    except IndexError:
        # load_from_disk looks for a first row before it returns.
        raise BadInput(f"the data set '{name}' has no images") from None
    parts = dict(loaded) if isinstance(loaded, dict) else {"train": loaded}
    if not parts:
        raise BadInput(f"the data set '{name}' has no images")
    return parts
