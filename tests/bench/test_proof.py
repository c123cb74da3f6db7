"""benchmarks/search: costs of NAS-Bench-201, which searches are made, and what a row says."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "search"))
import nasbench201
import proof
import tables
from contestants import CONTESTANTS
from grounds import GROUNDS, TITLES
from nasbench201 import OPERATIONS, Cell, Edge

from invnas.architecture import Architecture
from invnas.cost import pricer


def cell(*operations: str) -> Cell:
    return Cell(tuple(map(Edge, operations)))


def test_the_largest_cell_costs_what_is_published() -> None:
    """220.12 M multiply-adds and 1.532 M parameters: the architecture of all 3 x 3 convolutions, CIFAR-10."""
    cost = nasbench201.cost(cell(*["nor_conv_3x3"] * 6), "cifar10")
    assert (cost.macs, cost.parameters) == (220_119_680, 1_531_546)


@pytest.mark.parametrize("images", list(nasbench201.IMAGES))
def test_a_cell_costs_what_the_pricer_counts_on_its_network(images: str) -> None:
    size, classes = nasbench201.IMAGES[images]
    rng = random.Random(images)
    for operations in (["none"] * 6, rng.choices(OPERATIONS, k=6)):
        one = cell(*operations)
        counted, computed = pricer((3, size, size), classes)(Architecture(one)), nasbench201.cost(one, images)
        assert (counted.macs, counted.parameters) == (computed.macs, computed.parameters)


def test_a_cell_is_told_by_what_lies_on_its_uncut_ways() -> None:
    def told(*operations: str) -> dict[str, float]:
        return {name: number - 1 for name, number in nasbench201.ways(cell(*operations)).items()}

    assert set(told(*["none"] * 6).values()) == {0}
    every = {"ways": 4, "depth": 3, "depth_3x3": 3, "convolutions": 8, "shortcut": 0, "most_averages": 0, "averages": 0}
    assert told(*["nor_conv_3x3"] * 6) == every
    # 1<-0 and 3<-1 are a way, 3<-0 is another; 2<-1 leads to a node that nothing leaves.
    one = told("nor_conv_1x1", "none", "nor_conv_3x3", "skip_connect", "avg_pool_3x3", "none")
    assert one == {
        **every,
        "ways": 2,
        "depth": 1,
        "depth_3x3": 0,
        "convolutions": 1,
        "shortcut": 1,
        "most_averages": 1,
        "averages": 1,
    }


def test_only_who_searches_a_space_with_traits_is_told(tmp_path: Path) -> None:
    told = {
        ground for ground, who, _ in proof.jobs(list(GROUNDS), list(CONTESTANTS), 1, set()) if CONTESTANTS[who].told
    }
    assert told == {name for name in GROUNDS if name.startswith("nasbench201")}
    assert nasbench201.told().traits is nasbench201.ways
    assert nasbench201.told().network == nasbench201.space().network


def test_every_ground_has_a_title_and_what_is_done_is_not_done_again(tmp_path: Path) -> None:
    assert GROUNDS.keys() == TITLES.keys()
    every = proof.jobs(list(GROUNDS), list(CONTESTANTS), 20, set())
    assert sum(who == "gp" for _, who, _ in every) == proof.FEW * len(GROUNDS)
    assert sum(who == "random" for _, who, _ in every) == 20 * len(GROUNDS)
    assert proof.jobs(list(GROUNDS), list(CONTESTANTS), 20, set(every[:-1])) == every[-1:]
    path = tmp_path / "rows.jsonl"
    assert proof.rows_of(path) == []
    path.write_text(json.dumps({"seed": 1}) + "\n" + '{"seed": 2, "hyp')  # killed while it wrote
    assert proof.rows_of(path) == [{"seed": 1}]


def test_a_search_is_scored_by_other_trainings_than_it_saw_and_makes_a_table() -> None:
    rows = [proof.searched(("invbench", who, seed)) for who in ("random", "stratified") for seed in (0, 1)]
    again = proof.searched(("invbench", "stratified", 1))
    for key in tables.KEYS:
        assert again[key] == rows[-1][key]
        assert len(rows[0][key]) == len(rows[0]["hypervolume"])
        assert all(0 <= share < 1 for row in rows for share in row[key])
        assert all(row[key][-1] > 0 for row in rows)
    ground = GROUNDS["invbench"]()
    table, judged = ground.seen(0), ground.judged(0)
    assert isinstance(table, dict)
    assert any(table[one][1].top1 != judged(one)[1].top1 for one in table)
    found = {key: tables.compared(tables.curves_of(rows, key)["invbench"], "stratified") for key in tables.KEYS}
    text = tables.written("invbench", found, {"random": 0.001, "stratified": 0.002})
    assert text.count("\n| ") == 3
    assert "| 1 |" in text
