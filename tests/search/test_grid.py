from __future__ import annotations

import math
from typing import Any

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from invnas.errors import BadInput
from invnas.search.grid import Grid, grid_of


@pytest.mark.parametrize(
    ("distribution", "values"),
    [
        (IntDistribution(2, 5), [2, 3, 4, 5]),
        (IntDistribution(1, 9, step=4), [1, 5, 9]),
        (IntDistribution(3, 3), [3]),
        (IntDistribution(1, 64, log=True), [1, 3, 8, 23, 64]),
        (IntDistribution(0, 100), [0, 25, 50, 75, 100]),
        (IntDistribution(0, 2**70), [0, 2**68, 2**69, 3 * 2**68, 2**70]),
        (FloatDistribution(0, 1, step=0.5), [0, 0.5, 1]),
        (FloatDistribution(0, 1), [0, 0.25, 0.5, 0.75, 1]),
        (FloatDistribution(-1e308, 1e308), [-1e308, -5e307, 0, 5e307, 1e308]),
        (FloatDistribution(0.01, 100, log=True), [0.01, 0.1, 1, 10, 100]),
        (CategoricalDistribution(["a", None, 3]), ["a", None, 3]),
        (CategoricalDistribution([1, True, "1", 1.0]), [1, "1"]),
    ],
    ids=str,
)
def test_values_of_a_parameter(distribution: Any, values: list[Any]) -> None:
    found = grid_of("x", distribution, 5)
    assert [type(one) for one in found] == [
        type(one) if not isinstance(distribution, FloatDistribution) else float for one in values
    ]
    assert found == [pytest.approx(one) if isinstance(one, float) else one for one in values]
    assert all(distribution._contains(distribution.to_internal_repr(one)) for one in found)


def test_each_place_is_found_again_and_what_lies_between_by_the_nearest() -> None:
    distributions = {
        "kind": CategoricalDistribution([1, True, math.nan, "1"]),
        "width": IntDistribution(8, 256, log=True),
        "rate": FloatDistribution(0, 1),
    }
    grid = Grid(distributions, 3)
    assert grid.space.size == 3 * 3 * 3
    places = [decisions for decisions, _ in grid.space.enumerate()]
    assert [grid.decisions(grid.parameters(place)) for place in places] == places
    assert grid.decisions({"kind": True, "width": 44, "rate": 0.74}) == {"p0": 0, "p1": 1, "p2": 1}
    assert grid.numbers({"p0": 2, "p1": 1, "p2": 2}) == [0.5, 1.0]


@pytest.mark.parametrize("parameters", [{}, {"kind": "a"}, {"kind": "other", "width": 8}])
def test_parameters_of_another_space_have_no_place(parameters: dict[str, Any]) -> None:
    grid = Grid({"kind": CategoricalDistribution(["a"]), "width": IntDistribution(8, 8)}, 24)
    assert grid.decisions(parameters) is None


def test_what_no_grid_can_stand_for_is_said() -> None:
    with pytest.raises(BadInput, match="at least one parameter"):
        Grid({}, 24)
    with pytest.raises(BadInput, match="`x` has a dict"):
        Grid({"x": {}}, 24)  # type: ignore[dict-item]
    for levels in (0, 2.5, True, 10**5000):
        with pytest.raises(BadInput, match="`levels` must be"):
            Grid({"x": IntDistribution(1, 2)}, levels)  # type: ignore[arg-type]
