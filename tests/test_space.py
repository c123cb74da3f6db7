from __future__ import annotations

import random
import re
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from search.cheap import CheapEngine, go, make_run
from test_choice import TREES
from torch import nn

from invnas import Bottleneck, Choice, Convolution, HybridNet, Involution, PlainStem, Repeat, Space, Stage
from invnas.architecture import Architecture
from invnas.cost import cost, pricer
from invnas.errors import BadInput, InvalidArchitecture
from invnas.measurement import Measurement
from invnas.nn import build
from invnas.resolver import enumerate_decisions
from invnas.space import load_space


@dataclass(frozen=True)
class Net:
    """A network of any tree, never built."""

    tree: Any

    def build(self, input_shape: tuple[int, int, int], classes: int) -> nn.Module:
        raise NotImplementedError


@given(TREES, st.integers(0, 1000))
def test_sampled_architectures_come_back_from_their_decisions(tree: Any, seed: int) -> None:
    space = Space(Net(tree))
    decisions, architecture = space.sample(random.Random(seed))
    assert space.architecture(decisions) == architecture
    assert space.decisions(architecture) == decisions
    assert Architecture.from_json(architecture.to_json(), {"Net": Net, **space.types}) == architecture


@given(TREES, st.integers(0, 1000))
def test_enumeration_and_size_agree(tree: Any, seed: int) -> None:
    space = Space(Net(tree))
    assume(space.size <= 200)
    found = [architecture.fingerprint for _, architecture in space.enumerate()]
    assert len(found) == len(set(found)) == space.size
    assert space.sample(random.Random(seed))[1].fingerprint in found


@given(TREES, st.integers(0, 1000))
def test_a_mutation_changes_one_decision_and_those_it_opens_or_closes(tree: Any, seed: int) -> None:
    space, rng = Space(Net([tree, Choice(1, 2, 3)])), random.Random(seed)
    before, architecture = space.sample(rng)
    after, neighbour = space.mutate(before, rng)
    changed = [path for path in before.keys() & after.keys() if before[path] != after[path]]
    assert len(changed) == 1
    assert neighbour != architecture
    assert space.architecture(after) == neighbour
    above = re.sub(r"times$", "", changed[0])  # the copies stand beside the decision how many there are
    assert all(path.startswith(above) for path in before.keys() ^ after.keys())


CONDITIONAL = Space(
    Net([Choice("a", (Choice(1, 2, 3), Choice("x", "y")), Repeat(Choice(4, 5), Choice(1, 2), shared=True))])
)


def test_sampling_is_uniform_over_architectures_not_over_branches() -> None:
    assert CONDITIONAL.size == 1 + 6 + 4
    rng, draws = random.Random(0), 5500
    counts = Counter(CONDITIONAL.sample(rng)[1].fingerprint for _ in range(draws))
    expected = draws / 11
    chi_square = sum((number - expected) ** 2 / expected for number in counts.values())
    assert len(counts) == 11
    assert chi_square < 29.6  # of 10 degrees of freedom, exceeded once in a thousand


def test_the_same_seed_draws_the_same() -> None:
    space = load_space("digits")
    one, other = ([space.sample(rng)[0] for _ in range(20)] for rng in (random.Random(4), random.Random(4)))
    assert one == other


def test_every_copy_of_a_shared_repeat_is_the_same() -> None:
    block = Bottleneck(Choice(Convolution(3), Involution(Choice(3, 5), 4, 2)), 2)
    stages = [Stage(16, Repeat(block, Choice(2, 3), shared=True)), Stage(16, Repeat(block, 2))]
    space = Space(HybridNet(PlainStem(8, 3, 1, False), stages))
    assert space.size == 2 * 3 * 3**2
    seen_different = False
    for _, architecture in space.enumerate():
        first, second = architecture.network.stages
        assert len(set(first.blocks)) == 1
        seen_different |= len(set(second.blocks)) > 1
    assert seen_different


def test_a_single_point_has_size_one_and_no_neighbour() -> None:
    space = Space(Net(Choice(3)), name="lonely")
    assert space.size == 1
    (only,) = space.enumerate()
    assert space.sample(random.Random(0)) == only
    with pytest.raises(BadInput, match="the space lonely has a single architecture: there is nothing to mutate"):
        space.mutate(only[0], random.Random(0))


def test_an_empty_stage_is_refused_since_its_width_would_decide_nothing() -> None:
    space = Space(HybridNet(PlainStem(8, 3), [Stage(Choice(8, 16), Repeat(Bottleneck(Convolution(3)), Choice(0, 1)))]))
    assert space.size == 4
    assert [a.network.stages[0].width for _, a in space.enumerate()] == [8, 16]


def thin_late(network: Any) -> str | None:
    wide = max(stage.width for stage in network.stages)
    return (
        f"the last stage must be the widest, but got {network.stages[-1].width}"
        if wide > network.stages[-1].width
        else None
    )


def test_constraints_reject_with_their_reason() -> None:
    stages = [Stage(Choice(8, 16), [Bottleneck(Convolution(3), 2)]) for _ in range(2)]
    space = Space(HybridNet(PlainStem(8, 3), stages), constraints=[thin_late])  # type: ignore[arg-type]
    assert space.size == 4
    assert len(list(space.enumerate())) == 3
    with pytest.raises(InvalidArchitecture) as error:
        space.architecture({"stages.0.width": 1, "stages.1.width": 0})
    assert str(error.value) == "the last stage must be the widest, but got 8"
    rng = random.Random(0)
    decisions = {"stages.0.width": 0, "stages.1.width": 0}
    for _ in range(20):
        decisions, architecture = space.mutate(decisions, rng)
        assert thin_late(architecture.network) is None


def test_constraints_that_reject_everything_say_why() -> None:
    space = Space(Net(Choice(1, 2)), (lambda network: "never",), name="hopeless")
    assert list(space.enumerate()) == []
    with pytest.raises(BadInput, match="no valid architecture in 10,000 draws from the space hopeless: never"):
        space.sample(random.Random(0))


def test_a_constraint_that_returns_no_reason_is_named() -> None:
    space = Space(HybridNet(PlainStem(Choice(8, 16), 3), []), constraints=(lambda network: network.stem.width > 8,))  # type: ignore[arg-type, return-value]
    with pytest.raises(
        InvalidArchitecture, match=r"^the constraint `<lambda>` must return a reason or None, but returned True$"
    ):
        space.architecture({"stem.width": 1})
    assert space.architecture({"stem.width": 0}).network.stem.width == 8


def test_a_constraint_that_raises_is_named() -> None:
    def wrong(network: Any) -> str | None:
        return str(network.no_such_field)

    with pytest.raises(BadInput, match="the constraint `wrong` raised AttributeError: 'Net' object has no") as error:
        Space(Net(Choice(1, 2)), (wrong,)).sample(random.Random(0))
    assert not isinstance(error.value, InvalidArchitecture)


def test_invalid_architectures_are_neither_sampled_nor_enumerated() -> None:
    block = Bottleneck(Convolution(3, groups=Choice(1, 3)), 2)
    space = Space(HybridNet(PlainStem(8, 3), [Stage(Choice(8, 12), [block])]))
    assert space.size == 4
    assert {
        (a.network.stages[0].width, a.network.stages[0].blocks[0].spatial.groups) for _, a in space.enumerate()
    } == {
        (8, 1),
        (12, 1),
        (12, 3),
    }
    with pytest.raises(InvalidArchitecture, match=r"`groups` must divide the channels.*\(stage 1, block 1\)"):
        space.architecture({"stages.0.width": 0, "stages.0.blocks.0.spatial.groups": 1})


@pytest.mark.parametrize(
    ("decisions", "found"), [({}, "None"), ({"tree": 2}, "2"), ({"tree": -1}, "-1"), ({"tre": 0}, "None")]
)
def test_decisions_of_another_space_are_refused(decisions: dict[str, int], found: str) -> None:
    with pytest.raises(InvalidArchitecture) as error:
        Space(Net(Choice("a", "b"))).architecture(decisions)
    assert str(error.value) == f"the decision `tree` is {found}, but the space has Choice('a', 'b') there"


@dataclass(frozen=True)
class Even:
    """Refuses odd numbers by raising."""

    number: Any
    then: Any
    error: Any = ""

    def __post_init__(self) -> None:
        if isinstance(self.number, int) and self.number % 2:
            raise BadInput("odd") if self.error == "bad" else ValueError("odd")


@pytest.mark.parametrize("error", ["", "bad"])
def test_a_value_that_raises_is_an_invalid_architecture(error: str) -> None:
    space = Space(Net(Even(Choice(1, 2, 3, 4), Choice("a", "b"), error)))
    assert [a.network.tree.number for _, a in space.enumerate()] == [2, 2, 4, 4]
    rng = random.Random(0)
    decisions, _ = space.sample(rng)
    for _ in range(10):
        decisions, architecture = space.mutate(decisions, rng)
        assert architecture.network.tree.number % 2 == 0
    with pytest.raises(InvalidArchitecture, match="odd"):
        space.architecture({"tree.number": 0, "tree.then": 0})


@dataclass
class Thawed:
    size: Any

    def build(self, channels: int, stride: int) -> nn.Module:
        raise NotImplementedError


@dataclass(frozen=True)
class Typed:
    type: Any


def impostor() -> Any:
    @dataclass(frozen=True)
    class Convolution:
        kernel_size: int

    return Convolution(3)


@pytest.mark.parametrize(
    ("network", "sentence"),
    [
        (3, "a space must be a network value or a function, but got 3"),
        (HybridNet, "a space must be a network value or a function, but got <class"),
        (None, "a space must be a network value or a function, but got None"),
        (Net(Choice(1, Thawed(2))), "Thawed must be frozen: write @dataclass(frozen=True)"),
        (Net(Typed(2)), "Typed has a field `type`, but that key names the class in JSON: rename it"),
        (Net(impostor()), "two dataclasses of the space are called Convolution: rename one"),
        (
            lambda depth: None,
            "the parameter `depth` of <lambda> needs a default (a Choice or a value); only input_shape",
        ),
    ],
)
def test_what_is_no_space_is_refused(network: Any, sentence: str) -> None:
    with pytest.raises(BadInput) as error:
        Space(network)
    assert str(error.value).startswith(sentence)


FILES = {
    "raises": ("1 / 0", "raised ZeroDivisionError: division by zero"),
    "leaves": ("raise SystemExit(0)", "called sys.exit(0)"),
    "ends": ("import os; os._exit(0)", "called os._exit(0)"),
    "syntax": ("space = (", "raised SyntaxError: '(' was never closed"),
    "empty": ("", "the file must define exactly one space, but it defines none; assign it to the name `space`"),
    "two": (
        "from invnas import *\na = Space(HybridNet(PlainStem(), []))\nb = Space(HybridNet(PlainStem(8), []))",
        "the file must define exactly one space, but it defines 2: a, b; assign it to the name `space`",
    ),
    "no_option": ("from invnas import Choice\nChoice()", "a Choice needs at least one option, but got none"),
    "number": ("space = 3", "a space must be a network value or a function, but got 3"),
    "missing": (
        "import no_such_package_at_all",
        "raised ModuleNotFoundError: No module named 'no_such_package_at_all'",
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_a_bad_file_is_refused_with_its_name_and_the_reason(name: str, tmp_path: Path) -> None:
    text, sentence = FILES[name]
    path = tmp_path / f"{name}.py"
    path.write_text(text.replace("from invnas import *", "from invnas import HybridNet, PlainStem, Space"))
    with pytest.raises(BadInput) as error:
        load_space(path)
    assert str(error.value).startswith(str(path))
    assert sentence in str(error.value)


def test_a_file_that_is_not_python_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "space.toml"
    path.write_text("space = 3")
    with pytest.raises(BadInput, match="a space is a Python file, but got"):
        load_space(path)


@pytest.mark.parametrize(
    "text",
    ["space = Space(net, name='given')", "mine = Space(net, name='given')", "space = other = Space(net, name='given')"],
)
def test_a_file_names_its_space_or_defines_one(text: str, tmp_path: Path) -> None:
    path = tmp_path / "own.py"
    head = "from invnas import HybridNet, PlainStem, Space\nnet = HybridNet(PlainStem(), [])\n"
    path.write_text(head + text)
    assert load_space(path).name == "given"
    path.write_text(head + "space = net")
    assert load_space(path).name == "own"


def test_the_name_space_counts_before_others(tmp_path: Path) -> None:
    path = tmp_path / "own.py"
    path.write_text(
        "from invnas import HybridNet, PlainStem, Space\n"
        "base = Space(HybridNet(PlainStem(8), []))\nspace = Space(HybridNet(PlainStem(16), []))\n"
    )
    assert load_space(path).network.stem.width == 16


def test_a_plain_function_is_a_space() -> None:
    space, rng = load_space("plain_function"), random.Random(0)
    assert space.size == 36
    assert len({architecture.fingerprint for _, architecture in space.enumerate()}) == 36
    for _ in range(6):
        decisions, architecture = space.sample(rng)
        assert set(decisions) == {"width", "depth", "kernel_size", "operator"}
        assert space.decisions(architecture) == decisions
        network = build(architecture, (1, 8, 8), 10)
        assert network(torch.randn(2, 1, 8, 8)).shape == (2, 10)
        assert cost(architecture, (1, 8, 8), 10).parameters == sum(p.numel() for p in network.parameters())


PAGE = (Path(__file__).parents[1] / "docs" / "own_space.md").read_text()
SNIPPETS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
RUN = """
import random, sys
import torch
from invnas.resolver import enumerate_decisions
from invnas.space import load_space
from invnas.nn import build
from invnas.cost import cost, pricer
from invnas.architecture import Architecture

for name in sys.argv[1:]:
    space = load_space(name)
    rng = random.Random(0)
    for _ in range(5):
        decisions, architecture = space.sample(rng)
        assert Architecture.from_json(architecture.to_json(), space.types) == architecture
        network = build(architecture, (3, 16, 16), 10)
        assert network(torch.randn(2, 3, 16, 16)).shape == (2, 10)
        price = cost(architecture, (3, 16, 16), 10)
        assert price.parameters == sum(p.numel() for p in network.parameters())
        assert price.macs > 0
    print(space.name, space.size)
"""


def test_the_page_for_users_has_an_example_of_ten_lines() -> None:
    lines = [line for line in SNIPPETS[0].splitlines() if line.strip() and not line.startswith(("#", "from", "import"))]
    assert len(lines) <= 10
    assert len(SNIPPETS) >= 6


def test_every_example_of_the_page_runs_outside_the_repository(tmp_path: Path) -> None:
    names = [f"page_{number}" for number in range(len(SNIPPETS))]
    for name, text in zip(names, SNIPPETS, strict=True):
        (tmp_path / f"{name}.py").write_text(text)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", RUN, *(f"{name}.py" for name in names)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == names


ONE_RULE = """
from dataclasses import dataclass, replace
from typing import Any
import sys
from invnas import Bottleneck, Choice, Convolution, HybridNet, PlainStem, Space, Stage
from torch import nn

@dataclass(frozen=True)
class Strange:
    how: Any
    def __post_init__(self):
        if self.how == "assert":
            assert False, "never"
    def problems(self, channels):
        if self.how == "problems":
            raise KeyError("lost")
        return []
    def build(self, channels, stride):
        if self.how == "build":
            raise RuntimeError("no module")
        if self.how == "exit":
            sys.exit(0)
        return nn.Conv2d(channels, channels, 3, stride, 1)

def rule(network):
    spatial = network.stages[0].blocks[0].spatial
    if spatial.how == "constraint":
        raise ZeroDivisionError("by zero")

how = Choice("fine", "assert", "problems", "build", "exit", "constraint")
block = Bottleneck(Strange(how), expansion=1)
space = Space(HybridNet(PlainStem(Choice(8, 16), 3, 1, False), [Stage(8, [block])]), constraints=[rule])
"""


@pytest.mark.parametrize("sampler", ["random", "tpe", "evolution"])
def test_candidates_that_cannot_be_are_rejected_and_the_search_goes_on(sampler: str, tmp_path: Path) -> None:
    """Each way in which a user's own code may fail for one option: none of them ends a search, or the program."""
    (tmp_path / "mine.py").write_text(ONE_RULE)
    space, kept, reasons = load_space(tmp_path / "mine.py"), [], []
    for decisions in enumerate_decisions(space.resolver):
        try:
            architecture = space.architecture(decisions)
            cost(architecture, (1, 8, 8), 10)
            kept.append(architecture.network.stages[0].blocks[0].spatial.how)
        except InvalidArchitecture as error:
            reasons.append(str(error))
    assert kept == ["fine", "fine"]
    assert len(reasons) == 10
    assert not [reason for reason in reasons if "\n" in reason]
    run = make_run(tmp_path, ONE_RULE, sampler=sampler, trials=5)
    with run.locked():
        outcome = go(run, CheapEngine(outcome=lambda job: Measurement({"top1": 0.5})), price=pricer((1, 8, 8), 10))
    assert outcome.trained == 2
    assert "all 2 valid architectures have been trained" in outcome.ended
    assert outcome.rejected["invalid"] > 0


def test_a_mutation_tries_each_decision_once_and_then_says_that_nothing_is_near(tmp_path: Path) -> None:
    """Two rules are broken, so no single decision mends it."""
    (tmp_path / "islands.py").write_text(
        "from invnas import *\n"
        "stage = Stage(Choice(8, 16, 24, 32), (Bottleneck(Convolution(Choice(3, 5, 7)), expansion=1),))\n"
        "rule = lambda n: None if n.stem.width == n.stages[0].width == n.stages[1].width else 'equal widths'\n"
        "space = Space(HybridNet(PlainStem(Choice(8, 16, 24, 32), 3, 1, False), [stage, stage]), constraints=(rule,))\n"
    )
    space = load_space(tmp_path / "islands.py")
    broken = dict.fromkeys(space.draw(random.Random(0)), 0) | {"stem.width": 1, "stages.0.width": 2}
    asked: list[Any] = []
    counted = replace(space, constraints=(lambda network: asked.append(network) or "no",), name="islands")
    for seed in range(3):
        asked.clear()
        with pytest.raises(BadInput, match="no valid architecture is one decision away: no"):
            counted.mutate(broken, random.Random(seed))
        assert len(asked) == 3 * 3 + 2 * 2  # three widths of four options, two windows of three


async def later(a: Any = 1) -> None: ...


def loose(a: Any = 1, *rest: Any) -> None: ...


def mapped(a: Any = {}) -> None: ...  # noqa: B006


@pytest.mark.parametrize(
    ("network", "sentence"),
    [
        (later, "must be a plain function, but later is async"),
        (loose, r"have names and defaults, but loose takes \*rest"),
        (mapped, r"numbers, text, None and frozen dataclasses, or lists of these, but `a` is \{\}"),
        (Net(Choice({"a": 1}, {"b": 2})), r"but `tree=option0` is \{'a': 1\}"),
        (Net(Choice(frozenset({1}), frozenset({2}))), "but `tree=option0` is frozenset"),
        (Net(Choice(torch.zeros(2), torch.ones(2))), "but `tree=option0` is tensor"),
        (Net(10**5000), "lie below 2\\*\\*63, but `tree` has 16,610 bits"),
        (Net(Choice(3, 10**5000)), "lie below 2\\*\\*63, but `tree=option1` has 16,610 bits"),
        (Net(int), "but `tree` is <class 'int'>"),
    ],
)
def test_what_cannot_travel_as_json_is_refused_when_the_space_is_written(network: Any, sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        Space(network)


def test_copies_without_end_are_refused() -> None:
    with pytest.raises(BadInput, match="whole numbers from 0 to 10,000, but got 1000000000"):
        Repeat(1, times=10**9)


def test_a_list_of_problems_without_end_is_cut_off() -> None:
    @dataclass(frozen=True)
    class Endless:
        def problems(self, in_channels: int, width: int) -> Any:
            while True:
                yield "never"

        def build(self, in_channels: int, width: int, stride: int) -> nn.Module:
            raise NotImplementedError

    with pytest.raises(InvalidArchitecture, match="never"):
        Architecture(HybridNet(PlainStem(8, 3, 1, False), (Stage(8, (Endless(),)),))).check()
