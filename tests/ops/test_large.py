"""More than 2**31 elements, where 32-bit indices would wrap: nine gigabytes and a minute, so only on demand."""

import os

import pytest
import torch
from torch.nn import functional as F

from invnas.ops import involution2d, reference
from invnas.ops.geometry import Window

GROUPS, SIZE, WINDOW = 64, 650, Window(9, padding=4)

pytestmark = pytest.mark.skipif(
    not os.environ.get("INVNAS_LARGE"), reason="set INVNAS_LARGE=1: needs 10 GB and a minute"
)


def test_indices_do_not_wrap() -> None:
    kernels = torch.zeros(1, SIZE, SIZE, GROUPS, WINDOW.taps).permute(0, 3, 4, 1, 2)
    assert kernels.numel() > 2**31
    last_rows = torch.randn(1, GROUPS, WINDOW.taps, 2, SIZE)
    kernels[:, :, :, -2:] = last_rows
    x = torch.randn(1, GROUPS, SIZE, SIZE).contiguous(memory_format=torch.channels_last)
    y = involution2d(x, kernels, WINDOW.kernel_size, padding=WINDOW.padding)
    near = F.pad(x[:, :, -6:].double(), (4, 4, 0, 4))
    truth = reference.involution2d(near, last_rows.double(), Window(WINDOW.kernel_size))
    torch.testing.assert_close(y[:, :, -2:].double(), truth, rtol=1e-5, atol=1e-4)
    assert not y[:, :, :-2].any()
