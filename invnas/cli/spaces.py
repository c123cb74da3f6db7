"""The commands about spaces: check, sample, show, list. Their docstrings are the help."""

from __future__ import annotations

import random
from json import dumps
from pathlib import Path

from invnas.cli.words import Count, image_shape
from invnas.errors import BadInput
from invnas.task import head_of


def check(
    file: str,
    *,
    input: str,
    classes: int = 10,
    task: str = "classification",
    max_macs: Count | None = None,
    max_parameters: Count | None = None,
    json: bool = False,
) -> None:
    """Say what a space holds without training anything: size, valid share with reasons, costs, what a cap keeps.

    Args:
        file: Name of a space that comes with invnas (see invnas list), or a Python file.
        input: Channels, height and width of an image, such as 3x32x32.
        classes: Number of classes.
        task: What the networks are for: classification, segmentation, detection, or a class path.
        max_macs: Cap on multiply-adds of one image, such as 30M.
        max_parameters: Cap on parameters, such as 1M.
        json: Print the result as JSON.
    """
    from invnas.caps import Caps
    from invnas.cli.tables import print_json, print_space_check
    from invnas.commands import space_facts

    shape = image_shape(input)
    found = space_facts(file, shape, head_of(task, shape, classes), max_macs, max_parameters)
    if json:
        print_json(found.to_dict())
    else:
        print_space_check(found, Caps.of(macs=max_macs, parameters=max_parameters))


def sample(file: str, *, number: int = 3, seed: int = 0, json: bool = False) -> None:
    """Print architectures drawn uniformly over the valid ones of a space.

    Args:
        file: Name of a space that comes with invnas (see invnas list), or a Python file.
        number: How many.
        seed: Seed of the draws.
        json: Print one line of JSON for each.
    """
    from invnas.report.drawing import summary
    from invnas.space import load_space

    if number < 1:
        raise BadInput(f"`number` must be at least 1, but got {number}")
    space, rng = load_space(file), random.Random(seed)
    for _ in range(number):
        architecture = space.sample(rng)[1]
        facts = {"fingerprint": architecture.fingerprint, "kind": architecture.kind}
        if json:
            print(dumps({**facts, "architecture": architecture.to_dict()}))
        else:
            print("  ".join(facts.values()), *summary(architecture), sep="\n  ")


def show(file: str, *, seed: int = 0, out: str | None = None) -> None:
    """Draw one architecture of a space, drawn uniformly over the valid ones.

    Args:
        file: Name of a space that comes with invnas (see invnas list), or a Python file.
        seed: Seed of the draw.
        out: Write the drawing to this SVG file instead of printing it.
    """
    from invnas.report.drawing import drawing_of, summary
    from invnas.space import load_space

    architecture = load_space(file).sample(random.Random(seed))[1]
    if out is None:
        lines = summary(architecture)
        width = max(map(len, lines))
        edge = f"+-{'-' * width}-+"
        boxes = f"\n{' ' * (width // 2 + 2)}|\n".join(f"{edge}\n| {line:<{width}} |\n{edge}" for line in lines)
        print(f"{architecture.fingerprint}  {architecture.kind}\n{boxes}")
        return
    try:
        Path(out).write_text(drawing_of(architecture), encoding="utf-8")
    except OSError as error:
        raise BadInput(f"cannot write '{out}': {error.strerror}") from None
    print(f"drawing of {architecture.fingerprint}: {out}")


def list_shipped() -> None:
    """List the experiments and spaces that come with invnas."""
    from invnas.shipped import shipped

    for kind, title in (("experiments", "experiments"), ("search_spaces", "spaces")):
        print(f"{title}:")
        for name, path in shipped(kind).items():
            print(f"  {name:<16} {path.read_text(encoding='utf-8').splitlines()[0].strip(chr(34) + '# ')}")
