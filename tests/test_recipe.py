"""Settings of a training: their rules, how they cross as JSON, and who follows them."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import data.user_modules as theirs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tasks.test_dense import Foreground

from invnas.data import DataFacts, describe
from invnas.errors import BadInput
from invnas.experiment import DataSource, Experiment, Recipe
from invnas.task import check_recipe
from invnas.tasks.classification import Classification
from invnas.training import check_sampling

FACTS = DataFacts((3, 8, 8), 3)
NEW = ("class_weights", "sampling", "loss", "loss_args", "mixup", "cutmix", "ema")


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"sampling": "even"}, "`recipe.sampling` must be one of shuffled, balanced, but got 'even'"),
        ({"mixup": -0.1}, r"`recipe.mixup` must lie in \[0, 1000\], but got -0.1"),
        ({"cutmix": 1e9}, r"`recipe.cutmix` must lie in \[0, 1000\], but got 1e\+09"),
        ({"cutmix": "much"}, "`recipe.cutmix` must be a number, but got 'much'"),
        ({"ema": 1}, r"`recipe.ema` must lie in \[0, 1\), such as 0.999, but got 1"),
        ({"ema": -0.5}, r"`recipe.ema` must lie in \[0, 1\)"),
        ({"loss": 3}, "`recipe.loss` must be text, but got"),
        ({"loss_args": "p=2"}, "`recipe.loss_args` must be a mapping"),
    ],
)
def test_what_cannot_be_is_refused_by_name(setting: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        Recipe(**setting)


@given(
    st.builds(
        Recipe,
        class_weights=st.sampled_from(["none", "balanced"])
        | st.dictionaries(st.text(max_size=5), st.floats(0.1, 9), min_size=1),
        sampling=st.sampled_from(["shuffled", "balanced"]),
        loss=st.just("torch.nn.MultiMarginLoss"),
        loss_args=st.dictionaries(st.text(max_size=5), st.floats(0, 1) | st.text(max_size=4)),
        mixup=st.floats(0, 1000),
        cutmix=st.floats(0, 1000),
        ema=st.floats(0, 1, exclude_max=True),
    )
)
def test_it_crosses_to_a_worker_as_json(recipe: Recipe) -> None:
    experiment = Experiment(recipe=recipe)
    assert Experiment.from_dict(json.loads(json.dumps(experiment.to_dict()))) == experiment


def test_a_record_of_an_earlier_version_is_read() -> None:
    written = Experiment().to_dict()
    written["recipe"] = {name: one for name, one in written["recipe"].items() if name not in NEW}
    assert len(written["recipe"]) == len(asdict(Recipe())) - len(NEW)
    assert Experiment.from_dict(written) == Experiment()
    facts = DataFacts((3, 8, 8), 3, class_counts=(1, 2, 3))
    old = {name: one for name, one in facts.to_dict().items() if name != "class_counts"}
    assert DataFacts.from_dict(old).class_counts is None
    assert DataFacts.from_dict(json.loads(json.dumps(facts.to_dict()))) == facts


def test_a_task_that_does_not_say_so_follows_the_common_settings_alone() -> None:
    check_recipe(Foreground(), Recipe(ema=0.9, sampling="balanced"), FACTS)
    with pytest.raises(BadInput, match=r"`recipe.mixup` is 0.2, but the task foreground does not say that it follows"):
        check_recipe(Foreground(), Recipe(mixup=0.2), FACTS)
    check_recipe(Classification(), Recipe(mixup=0.2), FACTS)
    with pytest.raises(BadInput, match="unknown class '7'"):
        check_recipe(Classification(), Recipe(class_weights={"7": 1}), FACTS)


def test_a_module_of_ones_own_balances_its_images_only_where_it_can_be_told() -> None:
    data = theirs.Base()
    check_sampling(data, Recipe())
    with pytest.raises(
        BadInput, match=r"`recipe.sampling` is balanced, but `data.user_modules.Base` draws its images it"
    ):
        check_sampling(data, Recipe(sampling="balanced"))
    data.sampling = "shuffled"  # type: ignore[attr-defined]
    check_sampling(data, Recipe(sampling="balanced"))


def test_a_module_of_ones_own_may_say_how_many_images_its_classes_have() -> None:
    data = theirs.Base()
    assert describe(data).class_counts is None
    data.class_counts = [10, 20, 30]  # type: ignore[attr-defined]
    assert describe(data).class_counts == (10, 20, 30)
    for wrong in ([1, 2], [1, 2, -3], "abc", 7):
        data.class_counts = wrong  # type: ignore[attr-defined]
        with pytest.raises(BadInput, match=r"`class_counts` of .* must be 3 numbers of training images in label order"):
            describe(data)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--recipe.class_weights.seven", "2"], "unknown class 'seven' in `recipe.class_weights`; valid: 0, 1, 2, "),
        (["--recipe.loss", "torch.nn.BCEWithLogitsLoss"], "the loss `torch.nn.BCEWithLogitsLoss` does not take labels"),
        (["--recipe.class_weights", "blanced"], "but got 'blanced'; nearest: 'balanced'"),
    ],
)
def test_a_search_is_refused_before_anything_is_trained(call: Any, tmp_path: Any, words: list[str], said: str) -> None:
    code, _, errors = call("search", "--space", "digits", "--trials", "1", "--run-dir", tmp_path / "run", *words)
    assert code == 2
    assert said in errors
    assert not (tmp_path / "run").exists()


def test_a_search_in_worker_processes_follows_all_of_them(call: Any, tmp_path: Any) -> None:
    asked = """
space: digits
trials: 2
objectives: [balanced_accuracy, macs]
max_macs: 150k
data: {class_path: Digits, init_args: {batch_size: 256}}
recipe:
  epochs: 1
  class_weights: {3: 2.0, "5": 0.5}
  sampling: balanced
  mixup: 0.2
  cutmix: 1.0
  ema: 0.9
"""
    (tmp_path / "asked.yaml").write_text(asked)
    code, _, errors = call("search", tmp_path / "asked.yaml", "--workers", 2, "--run-dir", tmp_path / "run")
    assert code == 0, errors
    written = json.loads((tmp_path / "run" / "run.json").read_text())
    assert written["experiment"]["recipe"]["class_weights"] == {"3": 2.0, "5": 0.5}
    assert sum(written["data"]["class_counts"]) == written["data"]["counts"]["train"]
    assert json.loads((tmp_path / "run" / "test.json").read_text())["0"].keys() == {"top1", "balanced_accuracy"}
    assert DataSource(**written["experiment"]["data"]).class_path == "Digits"
