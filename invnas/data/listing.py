"""Which files of a folder are images, of which split and class; needs no torch."""

from __future__ import annotations

from pathlib import Path

from invnas.errors import BadInput

#: What the folder of a split is called; two names for one split in one place are refused.
SPLITS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing"),
}
#: What the name of an image ends in.
ENDINGS = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".ppm", ".pgm", ".tif", ".tiff", ".gif"}


def split_folder(root: Path, split: str, other_than: Path | None = None, *, longer: bool = False) -> Path | None:
    """Return the folder of a split by one of its usual names, or None.

    Args:
        root: Where it lies.
        split: "train", "validation" or "test".
        other_than: A folder that is meant otherwise.
        longer: Whether names may go on, such as train2017.

    Raises:
        BadInput: If two folders have a name for it.
    """
    names = SPLITS[split]
    if longer and root.is_dir():
        names = tuple(sorted(one.name for one in root.iterdir() if one.name.startswith(names)))
    found = [root / name for name in names if (root / name).is_dir() and root / name != other_than]
    if len(found) > 1:
        raise BadInput(f"'{root}' has two folders of {split} images, {found[0].name} and {found[1].name}: keep one")
    return found[0] if found else None


def named_folder(root: Path, name: str | None) -> Path | None:
    """Return the folder of the test images: of that name, or by one of its usual names, or None.

    Raises:
        BadInput: If there is none of that name.
    """
    if name in (None, "test"):
        return split_folder(root, "test")
    if not (named := root / str(name)).is_dir():
        raise BadInput(f"`test_folder` is '{name}', but '{root}' has no such folder")
    return named


def is_picture(file: Path, folder: Path) -> bool:
    """Tell whether a file of a folder is meant as an image: by its ending, and not hidden."""
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in file.relative_to(folder).parts)
    return not hidden and file.suffix.lower() in ENDINGS and file.is_file()


def class_folders(folder: Path) -> tuple[str, ...]:
    """Return the names of the folders in a folder, sorted: one for each class."""
    try:
        entries = sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
    except OSError as error:
        raise BadInput(f"the image folder '{folder}' cannot be read: {error.strerror}") from None
    return tuple(name for name in entries if not name.startswith(".") and name != "__MACOSX")


def names_in(file: Path) -> tuple[str, ...]:
    """Return the names of classes that a text file holds, a line each.

    Raises:
        BadInput: If it cannot be read, or names none.
    """
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"'{file}' cannot be read: {error}") from None
    names = tuple(line.strip() for line in lines if line.strip())
    if not names:
        raise BadInput(f"'{file}' names no class: it holds a name a line")
    return names
