"""How much an image of each class counts in the training loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from invnas.errors import BadInput, nearest

if TYPE_CHECKING:
    from invnas.experiment import Recipe
    from invnas.facts import DataFacts


def weights_of(recipe: Recipe, facts: DataFacts) -> tuple[float, ...] | None:
    """Return the weight of each class in label order; None where all count alike.

    Weights are relative. They are scaled so that the mean over the training images is 1, or over the classes where
    nobody knows how many images each has: the learning rate keeps its meaning. Balanced weights are in inverse
    proportion to the images of a class (King and Zeng, "Logistic regression in rare events data", 2001).

    Raises:
        BadInput: If a class is unknown, the weights leave nothing to learn, or the images of a class are not known.
    """
    given, counts = recipe.class_weights, facts.class_counts
    if given == "none":
        return None
    if isinstance(given, str):
        if counts is None:
            raise BadInput(
                "`recipe.class_weights` is balanced, but the data do not say how many training images each class has: "
                "give the data module an attribute `class_counts`, or a weight for each class"
            )
        relative = [1 / count if count else 0.0 for count in counts]
    else:
        relative = _named(given, facts)
    images = counts or (1,) * facts.classes
    mean = sum(weight * count for weight, count in zip(relative, images, strict=True)) / sum(images)
    if not mean > 0:
        raise BadInput("`recipe.class_weights` gives no class of the training images a weight above 0")
    return tuple(weight / mean for weight in relative)


def _named(given: Mapping[str, Any], facts: DataFacts) -> list[float]:
    names = facts.class_names or ()
    found: dict[int, tuple[str, float]] = {}
    for word, weight in given.items():
        if word in names:  # a name wins, where names are numbers
            index = names.index(word)
        elif word.isdecimal() and int(word) < facts.classes:
            index = int(word)
        else:
            which = nearest(word, names) if names else f"with {facts.classes} classes it must be 0..{facts.classes - 1}"
            raise BadInput(f"unknown class '{word}' in `recipe.class_weights`; {which}")
        if index in found:
            raise BadInput(f"`recipe.class_weights` names one class twice, as '{found[index][0]}' and as '{word}'")
        found[index] = word, float(weight)
    return [found[index][1] if index in found else 1.0 for index in range(facts.classes)]
