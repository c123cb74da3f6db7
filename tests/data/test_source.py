from __future__ import annotations

import subprocess
import sys
from collections import deque
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader, TensorDataset

import invnas.data
from invnas.data import DataFacts, describe, load_data
from invnas.errors import BadInput
from invnas.experiment import DataSource

THEIRS = """
import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader, TensorDataset

class Mine(LightningDataModule):
    classes = 3

    def __init__(self, batch_size: int, brightness: float = 1.0) -> None:
        super().__init__()
        self.batch_size, self.brightness, self.steps = batch_size, brightness, []

    def prepare_data(self): self.steps.append("prepare")
    def setup(self, stage): self.steps.append(stage)
    def _loader(self): return DataLoader(TensorDataset(torch.rand(9, 2, 5, 4), torch.arange(9) % 3), self.batch_size)
    def train_dataloader(self): return self._loader()
    def val_dataloader(self): return self._loader()

class Greedy(Mine):
    def __init__(self, **anything): super().__init__(4)

class Untested(LightningDataModule):
    def train_dataloader(self): return iter([])

class Stranger: ...

number = 3
"""


@pytest.fixture
def theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "their_images.py").write_text(THEIRS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "their_images", raising=False)
    return "their_images"


@pytest.mark.parametrize("path", ["Digits", "invnas.data.Digits"])
def test_a_source_of_invnas_is_found_by_both_names(path: str) -> None:
    facts = describe(load_data(DataSource(path, {"batch_size": 32})))
    assert (facts.input_shape, facts.classes, facts.class_names) == ((1, 8, 8), 10, tuple("0123456789"))
    assert facts.counts == {"train": 1151, "validation": 287}
    assert facts.normalisation is not None


def test_the_default_source_is_ready_to_train() -> None:
    assert describe(load_data(DataSource())).input_shape == (1, 8, 8)


def test_a_users_own_module_is_set_up_and_described(theirs: str) -> None:
    data = load_data(DataSource(f"{theirs}.Mine", {"batch_size": 4}))
    assert data.steps == ["prepare", "fit"]
    assert describe(data) == DataFacts((2, 5, 4), 3, None, {"train": 9, "validation": 9})


def test_a_module_that_takes_anything_gets_anything(theirs: str) -> None:
    assert describe(load_data(DataSource(f"{theirs}.Greedy", {"whatever": 1}))).classes == 3


@pytest.mark.parametrize(
    ("path", "arguments", "words"),
    [
        ("Digit", {}, "`invnas.data` has no class `Digit`; nearest: 'Digits'; valid: BoxFolder, Cifar"),
        (
            "invnas.data.HardDigit",
            {},
            "'invnas.data.HardDigit': `invnas.data` has no class `HardDigit`; nearest: 'HardDigits'",
        ),
        (
            "describe",
            {},
            "'invnas.data.describe' is no data source: it must be a LightningDataModule",
        ),
        ("", {}, "unknown data source 'invnas.data.'"),
        ("no_such_package.Data", {}, "unknown data source 'no_such_package.Data': No module named 'no_such_package'"),
        ("their_images.Mines", {}, "`their_images` has no class `Mines`; nearest: 'Mine'; valid: Mine,"),
        ("their_images.Stranger", {}, "must be a LightningDataModule, but is the class Stranger"),
        ("their_images.number", {}, "must be a LightningDataModule, but is of type int"),
        ("their_images.Untested", {}, "must have the method `val_dataloader`"),
        (
            "their_images.Mine",
            {"batch_size": 4, "brightnes": 2},
            "takes no argument `brightnes`; nearest: 'brightness'",
        ),
        ("their_images.Mine", {}, "`their_images.Mine` needs the argument `batch_size`"),
        ("HardDigits", {"seeds": 1}, "`HardDigits` takes no argument `seeds`; nearest: 'seed'"),
        ("ImageFolder", {}, "`ImageFolder` needs the argument `root`"),
    ],
)
def test_a_bad_source_is_one_sentence(theirs: str, path: str, arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput) as caught:
        load_data(DataSource(path, arguments))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


class Foreign(LightningDataModule):
    def __init__(self, batch: Any = None, **attributes: Any) -> None:
        super().__init__()
        self.batch = batch
        vars(self).update(attributes)

    def train_dataloader(self) -> Any:
        return deque([] if self.batch is None else [self.batch])  # a list would be several loaders

    def val_dataloader(self) -> Any:
        return self.train_dataloader()


GOOD = (torch.rand(2, 3, 4, 5), torch.tensor([0, 1]))


@pytest.mark.parametrize(
    ("attributes", "classes", "names"),
    [
        ({"classes": 4}, 4, None),
        ({"num_classes": 4}, 4, None),
        ({"classes": ["cat", "dog"]}, 2, ("cat", "dog")),
        ({"num_classes": 2, "class_names": ["cat", "dog"]}, 2, ("cat", "dog")),
    ],
)
def test_classes_may_be_said_in_several_ways(attributes: dict[str, Any], classes: int, names: Any) -> None:
    assert describe(Foreign(GOOD, **attributes)) == DataFacts((3, 4, 5), classes, names, {})


@pytest.mark.parametrize(
    "attributes", [{}, {"classes": None}, {"classes": 1}, {"num_classes": "ten"}, {"classes": True}]
)
def test_a_module_without_classes_is_told_to_add_them(attributes: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match=r"Foreign` does not say how many classes it has.*: add the attribute `classes`"):
        describe(Foreign(GOOD, **attributes))


@pytest.mark.parametrize(
    ("batch", "words"),
    [
        (None, "the loader is empty"),
        (torch.rand(2, 3), r"Tensor of Tensor\[2, 3\]"),
        ((torch.rand(2, 3), torch.arange(2)), r"tuple of Tensor\[2, 3\], Tensor\[2\]"),
        ({"image": 1}, "dict of dict"),
    ],
)
def test_batches_that_are_no_images_and_labels_are_refused(batch: Any, words: str) -> None:
    with pytest.raises(BadInput, match=f"must be pairs .* but the first is .*{words}"):
        describe(Foreign(batch, classes=2))


def test_a_wrong_input_shape_is_refused() -> None:
    with pytest.raises(
        BadInput, match=r"`input_shape` of .* must be \(channels, height, width\), .*, but got \(8, 8\)"
    ):
        describe(Foreign(classes=2, input_shape=(8, 8)))


def test_a_plain_data_loader_tells_its_count() -> None:
    class Loading(Foreign):
        def train_dataloader(self) -> Any:
            return DataLoader(TensorDataset(*GOOD), 2)

    assert describe(Loading(classes=2)).counts == {"train": 2, "validation": 2}


def test_importing_the_package_imports_nothing_heavy() -> None:
    program = (
        "import sys, invnas.data; print([name for name in ('torch', 'lightning', 'sklearn') if name in sys.modules])"
    )
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"


def test_every_listed_name_is_there_and_no_other() -> None:
    assert all(getattr(invnas.data, name).__name__ == name for name in invnas.data.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'Mnist'"):
        invnas.data.Mnist  # noqa: B018
