"""The command doctor: what this machine has, who computes involution on it, and what could be installed."""

from __future__ import annotations

from typing import Any


def doctor(*, json: bool = False) -> None:
    """Say what invnas finds on this machine: versions, the backend of involution for each device, extras.

    Args:
        json: Print the result as JSON.
    """
    from invnas.cli.tables import print_json

    found = facts()
    if json:
        print_json(found)
        return
    width = max(map(len, (*found["environment"], *found["extras"])))
    print("environment:", *(f"  {name:<{width}}  {text}" for name, text in found["environment"].items()), sep="\n")
    print("involution:")
    for device, ran in found["involution"].items():
        print(f"  {device:<{width}}  {ran['backend'] or 'none'}")
        if ran["why_not"]:
            print(f"  {'':<{width}}  not native: {ran['why_not']}")
    print("extras:")
    for name, extra in found["extras"].items():
        missing = f"missing {', '.join(extra['missing'])}: run {extra['install']}"
        print(f"  {name:<{width}}  {missing if extra['missing'] else 'installed'}")


def facts() -> dict[str, Any]:
    """Return the environment, the backend of involution by device, and the extras by name, as plain data."""
    from invnas.commands import environment

    return {"environment": environment(), "involution": _backends(), "extras": _extras()}


def _backends() -> dict[str, dict[str, str | None]]:
    import torch

    from invnas.ops import backend_of, why_not

    here = {"cpu": True, "cuda": torch.cuda.is_available()}
    return {
        kind: {"backend": backend_of(kind) if there else None, "why_not": why_not(kind)} for kind, there in here.items()
    }


def _extras() -> dict[str, dict[str, Any]]:
    """Return what of each extra is not installed, by the metadata of the installed package."""
    from importlib.metadata import PackageNotFoundError, metadata

    from packaging.requirements import Requirement

    try:
        described = metadata("invnas")
    except PackageNotFoundError:  # run from a folder that was never installed
        return {}
    wanted = [Requirement(text) for text in described.get_all("Requires-Dist") or ()]
    extras = {}
    for name in described.get_all("Provides-Extra") or ():
        needs = [one for one in wanted if one.marker and _only_for(one.marker, name)]
        missing = [problem for one in needs if (problem := _problem(one))]
        extras[name] = {"missing": missing, "install": f"pip install 'invnas[{name}]'"}
    return extras


def _only_for(marker: Any, extra: str) -> bool:
    return bool(marker.evaluate({"extra": extra}) and not marker.evaluate({"extra": ""}))


def _problem(need: Any) -> str | None:
    """Return what is wrong with an installed package, or None."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        installed = version(need.name)
    except PackageNotFoundError:
        return str(need.name)
    if need.specifier.contains(installed, prereleases=True):
        return None
    return f"{need.name}{need.specifier} (installed: {installed})"
