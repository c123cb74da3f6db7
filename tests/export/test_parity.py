from __future__ import annotations

from typing import Any

import pytest
import torch
from export_cases import DIGITS, images, trained
from torch import nn

from invnas.export.parity import ASSUMED, LEAST, MOST, TIMES, truth_of


class Doubled(nn.Module):
    """Twice its input; in float32 that is exact, unless it is told to be off."""

    def __init__(self, off: float = 0.0) -> None:
        super().__init__()
        self.weight, self.off = nn.Parameter(torch.tensor(2.0)), off

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.weight + (self.off if x.dtype == torch.float32 else 0)


class OnlyFloat(Doubled):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.mm(x, torch.eye(2)) * self.weight


ONES = [torch.ones(1, 2), torch.full((3, 2), 4.0)]


@pytest.mark.parametrize(
    ("network", "own"), [(Doubled(), 0.0), (Doubled(1e-3), 1.25e-4), (Doubled(1e-4), 1.25e-5), (OnlyFloat(), ASSUMED)]
)
def test_a_file_may_be_off_by_ten_times_what_the_network_is(network: Any, own: float) -> None:
    truth = truth_of(network, ONES)
    assert truth.own == pytest.approx(own, rel=0.02)
    assert truth.limit == pytest.approx(TIMES * min(max(own, LEAST), MOST), rel=0.02)
    for share in (0.9, 1.1):
        found = [batch.double() * 2 + share * truth.limit * 8 for batch in ONES]
        assert (truth.error(found) <= truth.limit) == (share < 1)


def test_a_score_that_is_no_number_is_no_error_that_passes() -> None:
    truth = truth_of(Doubled(), ONES)
    assert not truth.error([ONES[0] * torch.nan, ONES[1] * 2]) <= truth.limit
    assert not truth.error([ONES[0] * 2, ONES[1] * torch.nan]) <= truth.limit


def test_a_network_is_as_far_from_its_float64_as_float32_rounds() -> None:
    network = trained(DIGITS, (1, 8, 8), 10).eval()
    truth = truth_of(network, [images((1, 8, 8), 3)])
    assert 1e-9 < truth.own < 3e-6
    assert next(network.parameters()).dtype == torch.float32
