"""A space: a tree with choices in it, its rules, and what can be asked of it without training anything."""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import random
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, is_dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invnas.architecture import SHIPPED, Architecture
from invnas.choice import (
    Choice,
    Decisions,
    count,
    decisions_to,
)
from invnas.errors import BadInput, InvalidArchitecture, shown
from invnas.gate import user_code
from invnas.measurement import Cost
from invnas.resolver import Resolver, enumerate_decisions
from invnas.shipped import find
from invnas.space_tree import as_value, check_leaves, check_types, classes
from invnas.traits import Traits, with_traits

if TYPE_CHECKING:
    import numpy as np

    from invnas.features import Encoder, Feature

#: A rule between choices: takes the network value, returns the reason against it, or None.
Constraint = Callable[[Any], str | None]

#: Draws after which a space is held to have no further valid architecture.
MAX_DRAWS = 10_000


@dataclass(frozen=True)
class Space:
    """What may be built.

    Attributes:
        network: A network value with a Choice or Repeat anywhere in it, or a plain function whose parameters have
            choices as defaults and which returns an nn.Module.
        constraints: Rules between choices: each takes the network value and returns a reason against it, or None.
        name: What to call it.
        traits: What else is known of a network before it is trained: takes the network value and returns positive
            numbers by name, the same names for all, such as how many ways lead through a cell. What learns from
            trainings learns from them by their logarithms, as from costs.

    >>> from invnas import Choice, Convolution, Involution, Bottleneck, HybridNet, PlainStem, Repeat, Stage
    >>> block = Bottleneck(Choice(Convolution(3), Involution(Choice(3, 5), 8, 2)), expansion=2)
    >>> Space(HybridNet(PlainStem(16, 3, 1, False), [Stage(16, Repeat(block, times=2))])).size
    9
    """

    network: Any
    constraints: tuple[Constraint, ...] = ()
    name: str = field(default="", compare=False)
    traits: Traits | None = None

    def __post_init__(self) -> None:
        if inspect.iscoroutinefunction(self.network) or inspect.isgeneratorfunction(self.network):
            raise BadInput(f"a space must be a plain function, but {self.network.__name__} is async or a generator")
        if inspect.isfunction(self.network):
            object.__setattr__(self, "network", as_value(self.network))
        if not is_dataclass(self.network) or isinstance(self.network, type):
            raise BadInput(f"a space must be a network value or a function, but got {shown(self.network, 80)}")
        object.__setattr__(self, "constraints", tuple(self.constraints))
        if self.traits is not None and not callable(self.traits):
            raise BadInput(f"`traits` of a space must be a function of the network, but got {shown(self.traits, 80)}")
        with user_code("the space"):
            check_leaves(self.network, "")
            check_types(set(classes(self.network)))

    @cached_property
    def size(self) -> int:
        """Exactly how many architectures the choices name, before any rule rejects one."""
        return count(self.network)

    @cached_property
    def resolver(self) -> Resolver:
        """The tree made ready to be resolved again and again."""
        return Resolver(self.network)

    @cached_property
    def types(self) -> Mapping[str, type]:
        """The user's own dataclasses in this space by name, for `Architecture.from_dict`."""
        return {cls.__name__: cls for cls in classes(self.network) if cls not in SHIPPED.values()}

    def resolve(self, decide: Callable[[str, Choice], int]) -> Architecture:
        """Return the architecture that `decide(path, choice)` leads to.

        Raises:
            InvalidArchitecture: If a rule is broken, with the reason.
        """
        with user_code(f"the space {self.name}", InvalidArchitecture):  # a user's own __post_init__ or problems
            architecture = Architecture(self.resolver.resolve(decide))
            architecture.check()
        for constraint in self.constraints:
            if reason := _reason(constraint, architecture.network):
                raise InvalidArchitecture(reason)
        return architecture

    def architecture(self, decisions: Decisions) -> Architecture:
        """Return the architecture that recorded decisions lead to; raises as `resolve` does."""

        def decide(path: str, choice: Choice) -> int:
            index = decisions.get(path)
            if index is None or not 0 <= index < len(choice.options):
                raise InvalidArchitecture(
                    f"the decision `{path}` is {index}, but the space has {shown(choice, 80)} there"
                )
            return index

        return self.resolve(decide)

    def decisions(self, architecture: Architecture) -> Decisions | None:
        """Return the decisions that lead to an architecture, or None when it is not in this space."""
        return decisions_to(self.network, architecture.network)

    def draw(self, rng: random.Random) -> Decisions:
        """Return decisions drawn uniformly over all architectures, valid or not."""
        return self.walk(lambda path, choice: _weighted(choice, rng))

    def sample(self, rng: random.Random) -> tuple[Decisions, Architecture]:
        """Return an architecture drawn uniformly over the valid ones, with its decisions.

        Raises:
            BadInput: If ten thousand draws found none.
        """
        reason = ""
        for _ in range(MAX_DRAWS):
            decisions = self.draw(rng)
            try:
                return decisions, self.architecture(decisions)
            except InvalidArchitecture as error:
                reason = str(error)
        raise BadInput(f"no valid architecture in {MAX_DRAWS:,} draws from the space {self.name}: {reason}")

    def draw_branches(self, rng: random.Random) -> Decisions:
        """Return decisions drawn with every option of a choice as likely as the other, valid or not.

        A draw uniform over architectures is nearly always of the deepest kind, since most architectures are.
        """
        return self.walk(lambda path, choice: rng.randrange(len(choice.options)))

    def mutate(self, decisions: Decisions, rng: random.Random) -> tuple[Decisions, Architecture]:
        """Return a valid neighbour: one decision taken otherwise, the decisions that opens drawn uniformly.

        Raises:
            BadInput: If every decision was taken otherwise in every way once, and nothing was valid.
        """
        options: dict[str, int] = {}
        self.walk(lambda path, choice: options.setdefault(path, len(choice.options)) and decisions[path])
        free = [path for path, number in options.items() if number > 1]
        if not free:
            raise BadInput(f"the space {self.name} has a single architecture: there is nothing to mutate")
        reason = ""
        for changed in rng.sample(free, len(free)):
            for step in rng.sample(range(1, options[changed]), options[changed] - 1):
                index = (decisions[changed] + step) % options[changed]
                other = self.walk(partial(_otherwise, decisions, changed, index, rng))
                try:
                    return other, self.architecture(other)
                except InvalidArchitecture as error:
                    reason = str(error)
        raise BadInput(f"no valid architecture is one decision away: {reason}")

    @cached_property
    def _encoder(self) -> Encoder:
        from invnas.features import Encoder, labels_of  # numpy, which a help text does not wait for

        return Encoder(labels_of(self.network))

    @property
    def features(self) -> tuple[Feature, ...]:
        """What each number of `encode` counts."""
        return self._encoder.features

    def encode(self, decisions: Decisions) -> np.ndarray:
        """Return decisions as numbers: how often each option was taken, at its place, in its stage, in the network."""
        found: np.ndarray = self._encoder.encode([decisions])[0]
        return found

    def encode_many(self, many: Sequence[Decisions]) -> np.ndarray:
        """Return (n, features) numbers of many decisions."""
        return self._encoder.encode(many)

    def priced(self, price: Callable[[Architecture], Cost]) -> Callable[[Architecture], Cost]:
        """Return a price that has the traits of an architecture of this space beside what it costs."""
        return price if self.traits is None else with_traits(price, self.traits)

    def enumerate(self) -> Iterator[tuple[Decisions, Architecture]]:
        """Yield every valid architecture once, with its decisions."""
        for decisions in enumerate_decisions(self.resolver):
            try:
                yield decisions, self.architecture(decisions)
            except InvalidArchitecture:
                continue

    def walk(self, decide: Callable[[str, Choice], int]) -> Decisions:
        """Return the decisions on the way that `decide(path, choice)` leads, also to an invalid architecture."""
        taken: Decisions = {}

        def recorded(path: str, choice: Choice) -> int:
            taken[path] = decide(path, choice)
            return taken[path]

        self.resolver.walk(recorded)
        return taken


def _otherwise(decisions: Decisions, changed: str, index: int, rng: random.Random, path: str, choice: Choice) -> int:
    if path == changed:
        return index
    return decisions[path] if path in decisions else _weighted(choice, rng)


def _weighted(choice: Choice, rng: random.Random) -> int:
    # Whole numbers, since the weights of deep spaces do not fit a float.
    point = rng.randrange(choice.size)
    for index, weight in enumerate(choice.weights):
        point -= weight
        if point < 0:
            return index
    raise AssertionError("the weights of a choice add up to its size")


def _reason(constraint: Constraint, network: Any) -> str | None:
    said = f"the constraint `{getattr(constraint, '__name__', repr(constraint))}`"
    with user_code(said, InvalidArchitecture):
        reason = constraint(network)
        if reason and not isinstance(reason, str):
            raise BadInput(f"{said} must return a reason or None, but returned {shown(reason, 60)}")
    return reason or None


def load_space(name: str | Path) -> Space:
    """Load a space by its shipped name or from a Python file.

    The file assigns the space to the name `space`, or defines exactly one `Space` under any name.

    Raises:
        BadInput: If the file is missing, raises, or defines no space or several.
    """
    path = find("search_spaces", str(name))
    module_name = f"invnas_space_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise BadInput(f"a space is a Python file, but got '{path}'")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # dataclasses look their module up by name
    with user_code(str(path)):
        try:
            spec.loader.exec_module(module)
            space = _the_space(vars(module))
        except BadInput as error:
            raise BadInput(f"{path}: {error}") from error
    object.__setattr__(space, "name", space.name or path.stem)
    return space


def _the_space(names: Mapping[str, Any]) -> Space:
    plain = names.get("space")
    if plain is not None:
        return plain if isinstance(plain, Space) else Space(plain)
    found = {name: value for name, value in names.items() if isinstance(value, Space)}
    if len(found) != 1:
        said = f"{len(found)}: {', '.join(found)}" if found else "none"
        raise BadInput(f"the file must define exactly one space, but it defines {said}; assign it to the name `space`")
    return next(iter(found.values()))
