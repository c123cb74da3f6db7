from __future__ import annotations

import pytest
import torch

from invnas.errors import BadInput
from invnas.ops import backend_of, involution2d
from invnas.ops.geometry import Window, same_padding


@pytest.mark.parametrize(
    ("numbers", "sentence"),
    [
        ((0,), "`kernel_size` must be at least 1, but got 0"),
        ((3, 0), "`stride` must be at least 1, but got 0"),
        ((3, 1, 0), "`dilation` must be at least 1, but got 0"),
        ((3, 1, 1, -1), "`padding` must be at least 0, but got -1"),
    ],
)
def test_a_window_refuses_impossible_numbers(numbers: tuple[int, ...], sentence: str) -> None:
    with pytest.raises(BadInput) as error:
        Window(*numbers)
    assert str(error.value) == sentence


@pytest.mark.parametrize("size", range(1, 12))
@pytest.mark.parametrize(("kernel_size", "dilation"), [(1, 1), (3, 1), (3, 2), (7, 1)])
def test_same_padding_keeps_the_size_and_a_stride_divides_it_upwards(
    size: int, kernel_size: int, dilation: int
) -> None:
    padding = same_padding(kernel_size, dilation)
    assert Window(kernel_size, 1, dilation, padding).out(size) == size
    assert Window(kernel_size, 2, dilation, padding).out(size) == -(-size // 2)


def test_offsets_run_row_by_row_and_spans_meet_every_position() -> None:
    window = Window(2, stride=3, dilation=4)
    assert window.offsets() == [(0, 0), (0, 4), (4, 0), (4, 4)]
    assert list(range(20))[window.span(4, 3)] == [4, 7, 10]


INPUT, KERNELS = torch.zeros(2, 6, 5, 4), torch.zeros(2, 3, 9, 5, 4)


@pytest.mark.parametrize(
    ("input", "kernels", "sentence"),
    [
        (INPUT[0], KERNELS, "`input` must be (batch, channels, height, width), but got shape (6, 5, 4)"),
        (INPUT, KERNELS[0], "`kernels` must be (batch, groups, K * K, height, width), but got shape (3, 9, 5, 4)"),
        (INPUT[:, :5], KERNELS, "the groups of `kernels` must divide the channels of `input`, but got 3 and 5"),
        (INPUT, KERNELS[:, :0], "the groups of `kernels` must divide the channels of `input`, but got 0 and 6"),
        (INPUT[..., :0], KERNELS, "`input` of 5 x 0 is too small for Window(kernel_size=3, "),
        (INPUT, KERNELS[:, :, :8], "`kernels` must have shape (2, 3, 9, 5, 4) for Window(kernel_size=3, "),
        (INPUT, KERNELS[:1], "`kernels` must have shape (2, 3, 9, 5, 4) for Window(kernel_size=3, "),
        (INPUT, KERNELS[..., :3, :], "`kernels` must have shape (2, 3, 9, 5, 4) for Window(kernel_size=3, "),
        (INPUT.half(), KERNELS, "must share one floating dtype, but got torch.float16 and torch.float32"),
        (INPUT.int(), KERNELS.int(), "must share one floating dtype, but got torch.int32 and torch.int32"),
        (INPUT, KERNELS.to("meta"), "`kernels` must be on the device of `input`, but got meta and cpu"),
    ],
)
def test_every_broken_rule_has_its_sentence(input: torch.Tensor, kernels: torch.Tensor, sentence: str) -> None:
    with pytest.raises(BadInput) as error:
        involution2d(input, kernels, 3, padding=1)
    assert sentence in str(error.value)


def test_a_window_larger_than_the_padded_map_is_refused() -> None:
    with pytest.raises(BadInput, match="`input` of 5 x 4 is too small for Window"):
        involution2d(INPUT, KERNELS, 9, padding=2)


def test_a_backend_has_a_name() -> None:
    assert backend_of("cpu").strip()
    assert backend_of(torch.device("cpu")) == backend_of("cpu")
