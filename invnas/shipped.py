"""The spaces and experiments that come with invnas, found by name from any folder."""

from __future__ import annotations

from pathlib import Path

from invnas.errors import BadInput, nearest


def find(kind: str, name: str) -> Path:
    """Return the file of a shipped or own space or experiment.

    Args:
        kind: "search_spaces" or "experiments".
        name: A name such as digits, or the path of a file.

    Raises:
        BadInput: If there is neither such a file nor such a name.
    """
    suffix = ".py" if kind == "search_spaces" else ".yaml"
    path = Path(name)
    if path.suffix == suffix or path.suffix == ".yml" or path.is_file():
        if not path.is_file():
            raise BadInput(f"there is no file '{name}'; {nearest(path.stem, shipped(kind))} come with invnas")
        return path
    known = shipped(kind)
    if name not in known:
        choices = _other(kind, name) or f"{nearest(name, known)}; or give the path of a {suffix} file"
        raise BadInput(f"unknown name '{name}' in {kind}; {choices}")
    return known[name]


def _other(kind: str, name: str) -> str:
    """Return what to do with a name of the other kind; empty where it is none."""
    if kind == "experiments" and name in shipped("search_spaces"):
        return f"it is a search space, which an experiment names: --space {name}"
    if kind == "search_spaces" and name in shipped("experiments"):
        return f"it is an experiment, which names a search space: see the `space` in {name}.yaml"
    return ""


def shipped(kind: str) -> dict[str, Path]:
    """Return the shipped files of a kind by name."""
    suffix = ".py" if kind == "search_spaces" else ".yaml"
    package = Path(__file__).parent
    # Inside the package in a wheel; beside it in a checkout.
    folder = next(folder for folder in (package / kind, package.parent / kind) if folder.is_dir())
    return {path.stem: path for path in sorted(folder.glob(f"*{suffix}"))}
