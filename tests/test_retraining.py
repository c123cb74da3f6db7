"""What tells one retraining from another, as a value."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invnas.errors import BadInput
from invnas.experiment import DataSource, Experiment, Recipe
from invnas.retraining import WHERE, Retraining

SEARCH = Experiment(
    data=DataSource("Cifar", {"folder": "c", "train_limit": 4000}),
    recipe=Recipe(epochs=6, threads=1, logger="csv", max_minutes=5),
)
ARGUMENTS = st.dictionaries(st.sampled_from(["a", "b"]), st.sampled_from([None, 1, 2]))
retrainings = st.builds(
    Retraining,
    st.integers(0, 3),
    st.builds(
        Recipe,
        st.integers(1, 3),
        st.sampled_from(["sgd", "adamw"]),
        st.sampled_from([None, 0.1, 0.002]),
        label_smoothing=st.sampled_from([0.0, 0.1]),
        threads=st.integers(0, 2),
        logger=st.sampled_from(["none", "csv"]),
        max_minutes=st.sampled_from([None, 9.0]),
    ),
    st.builds(DataSource, st.sampled_from(["A", "B"]), ARGUMENTS),
    st.booleans(),
)


def what(one: Retraining) -> Any:
    """What makes its weights, each default as a number."""
    recipe = replace(one.recipe.resolved(), **{name: getattr(Recipe(), name) for name in WHERE})
    return one.trial, recipe, one.data, one.all_data


@given(retrainings, retrainings)
def test_two_have_one_name_exactly_where_they_train_alike(one: Retraining, other: Retraining) -> None:
    assert (one.name == other.name) == (what(one) == what(other))


@given(retrainings)
def test_it_is_json_both_ways_and_its_name_is_that_of_a_folder(one: Retraining) -> None:
    again = Retraining.from_dict(json.loads(json.dumps(one.to_dict())))
    assert again == one
    assert again.name == one.name
    assert one.name.replace("-", "").isalnum()


def test_a_field_that_a_recipe_gets_later_changes_no_name() -> None:
    """What has its usual value is not among the settings: an older retraining goes on under a newer invnas."""
    assert Retraining(0).settings == {
        "recipe.learning_rate": 0.1, "recipe.weight_decay": 0.0001, "recipe.epochs": 30,
        "data.class_path": "invnas.data.HardDigits",
    }  # fmt: skip


@given(retrainings, retrainings)
def test_what_differs_is_what_was_given(search: Retraining, other: Retraining) -> None:
    experiment = Experiment(recipe=search.recipe, data=search.data)
    found = other.differs(experiment)
    alike = what(replace(search, trial=other.trial, all_data=False)) == what(other)
    same_epochs = search.recipe.epochs == other.recipe.epochs
    if alike:
        assert found == {}
    if found == {} and same_epochs and search.data.init_args.keys() == other.data.init_args.keys():
        assert alike
    assert "recipe.epochs" not in found


def test_options_stand_over_the_search() -> None:
    asked = Retraining.of(
        SEARCH, 3, 100, {"learning_rate": "0.05"}, {"init_args": {"train_limit": None, "flip": True}}, all_data=True
    )
    assert asked.recipe == Recipe(epochs=100, learning_rate=0.05)  # where it trains is not inherited
    assert asked.data == DataSource("Cifar", {"folder": "c", "train_limit": None, "flip": True})
    assert asked.differs(SEARCH) == {
        "recipe.learning_rate": 0.05, "data.init_args.train_limit": None, "data.init_args.flip": True, "all_data": True,
    }  # fmt: skip
    assert asked.words(SEARCH) == (
        "recipe.learning_rate 0.05, data.init_args.train_limit null, data.init_args.flip true, all_data"
    )
    assert asked.name.startswith("trial3-epochs100-")
    assert Retraining.of(SEARCH, 3).differs(SEARCH) == {}
    assert Retraining.of(SEARCH, 3, recipe=Recipe(epochs=9), epochs=8).recipe.epochs == 8
    other = Retraining.of(SEARCH, 3, data={"class_path": "Digits"})
    assert other.data == DataSource("Digits")  # arguments are those of a class
    assert other.differs(SEARCH) == {"data.class_path": "Digits"}
    assert Retraining.of(SEARCH, 3, data=DataSource("Cifar")).data == DataSource("Cifar")


def test_an_option_back_to_the_usual_is_told_with_its_value() -> None:
    search = replace(SEARCH, recipe=Recipe(label_smoothing=0.1))
    assert Retraining.of(search, 0, recipe={"label_smoothing": 0.0}).differs(search) == {"recipe.label_smoothing": 0.0}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"recipe": {"learning_rat": 1}}, r"unknown option 'recipe.learning_rat'; nearest: 'recipe.learning_rate'"),
        ({"recipe": {"epochs": 5}, "epochs": 6}, r"`epochs` is 6 and `recipe.epochs` is 5: give one of them"),
        ({"recipe": {"epochs": "few"}}, r"`recipe.epochs` must be a whole number, but got 'few'"),
        ({"recipe": 3}, r"`recipe` must be a Recipe or options by name, but got '3'"),
        ({"data": {"batch_size": 5}}, r"unknown option 'data.batch_size'; .*data.init_args"),
        ({"data": {"init_args": 5}}, r"`data.init_args` must be arguments by name, but got '5'"),
        ({"all_data": "maybe"}, r"`all_data` must be true or false, but got 'maybe'"),
    ],
)
def test_an_option_that_cannot_be_is_one_sentence(options: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        Retraining.of(SEARCH, 0, **options)
