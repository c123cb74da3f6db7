"""Launches: every pixel and channel once, inside the limits of a device, the same code for every size."""

from __future__ import annotations

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from invnas.ops.cuda.plan import FIELDS, KERNELS, Launch, plan, source, variants
from invnas.ops.geometry import Window

Sizes = dict[str, int]


def launch(
    kernel: str, dtype: str, shape: tuple[int, int, int, int, int], window: Window, alignment: int = 16
) -> Launch:
    batch, channels, groups, *size = shape
    out = (window.out(size[0]), window.out(size[1]))
    return plan(kernel, dtype, batch, channels, groups, (size[0], size[1]), out, window, alignment)


@given(
    kernel=st.sampled_from(KERNELS),
    dtype=st.sampled_from(["float32", "float64", "float16", "bfloat16"]),
    batch=st.integers(1, 3),
    groups=st.integers(1, 70),
    width=st.sampled_from([1, 2, 3, 4, 8, 12, 16, 100, 512]),
    size=st.tuples(st.integers(1, 300), st.integers(1, 300)),
    kernel_size=st.sampled_from([1, 2, 3, 5, 7, 9, 31]),
    stride=st.integers(1, 3),
    alignment=st.sampled_from([2, 4, 8, 16]),
)
def test_a_launch_covers_the_result_and_keeps_the_limits(
    kernel: str,
    dtype: str,
    batch: int,
    groups: int,
    width: int,
    size: tuple[int, int],
    kernel_size: int,
    stride: int,
    alignment: int,
) -> None:
    window = Window(kernel_size, stride, 1, kernel_size // 2)
    assume(min(window.out(side) for side in size) > 0)
    made = launch(kernel, dtype, (batch, groups * width, groups, *size), window, max(alignment, 8))
    assert made.variant in set(variants())
    assert made.shared_bytes <= 48 * 1024
    assert math.prod(made.block) <= 256
    n = dict(zip(FIELDS, made.sizes, strict=True))
    assert len(made.sizes) == len(FIELDS)
    threads = math.prod(made.block) * made.grid[0]
    if not n["slices"]:
        assert threads >= batch * n["out_height"] * n["out_width"] * groups * window.taps
        return
    height, across = size if kernel == "grad_input" else (n["out_height"], n["out_width"])
    assert n["tiles_y"] * n["tile_rows"] >= height
    assert n["tiles_x"] * made.block[1] * made.variant.strip >= across
    assert made.grid == (n["slices"] * n["tiles_x"] * n["tiles_y"] * batch, 1, 1)
    assert made.block[0] == n["slice_groups"] * n["group_lanes"]
    if kernel != "grad_kernels":
        assert n["parts"] * n["group_lanes"] * made.variant.vector >= width
    assert n["slices"] * n["slice_groups"] >= groups * n["parts"]


def test_sizes_compile_nothing() -> None:
    window = Window(7, padding=3)
    shapes = [(1, 32, 2, 9, 9), (64, 64, 4, 56, 56), (128, 512, 32, 7, 7), (3, 16, 1, 1, 1)]
    for kernel in KERNELS:
        assert len({launch(kernel, "float16", shape, window).variant for shape in shapes}) == 1


@pytest.mark.parametrize(
    ("width", "alignment", "vector"), [(16, 16, 8), (16, 8, 4), (16, 2, 1), (12, 16, 4), (6, 16, 1), (1, 16, 1)]
)
def test_vectors_divide_groups_and_addresses(width: int, alignment: int, vector: int) -> None:
    made = launch("forward", "float16", (1, 2 * width, 2, 5, 5), Window(3, padding=1), alignment)
    assert made.variant.vector == vector


@pytest.mark.parametrize(
    ("window", "compiled"),
    [(Window(7), True), (Window(7, 2), True), (Window(7, 3), False), (Window(7, 1, 2), False), (Window(4), False)],
)
def test_what_is_compiled_in(window: Window, compiled: bool) -> None:
    for kernel in KERNELS:
        made = launch(kernel, "bfloat16", (1, 32, 2, 20, 20), window).variant
        assert (made.kernel_size > 0) == (compiled and (kernel != "grad_input" or window.stride == 1))


# (channels, side) of RedNet at 224 x 224: threads of one warp read the kernel values of their pixel in one go.
@pytest.mark.parametrize(("channels", "side"), [(64, 56), (128, 28), (256, 14), (512, 7)])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("kernel", KERNELS)
def test_no_bank_of_shared_memory_is_asked_twice(kernel: str, dtype: str, channels: int, side: int) -> None:
    made = launch(kernel, dtype, (64, channels, channels // 16, side, side), Window(7, padding=3))
    n, size = dict(zip(FIELDS, made.sizes, strict=True)), 4 if dtype == "float32" else 2
    assert n["strip_pitch"] * size % n["word"] == n["pixel_pitch"] * size % n["word"] == 0
    for offset in range(2):
        banks: dict[int, set[int]] = {}
        for thread in range(32):
            x, y = thread % made.block[0], thread // made.block[0]
            if kernel in ("forward", "folded"):  # a thread has two rows of the tile in shared memory
                y += y // made.block[1] * made.block[1]
            word = (y * n["strip_pitch"] + x // n["group_lanes"] * 49 + offset) * size // 4
            banks.setdefault(word % 32, set()).add(word)
        assert max(map(len, banks.values())) == 1


@pytest.mark.parametrize(
    ("dtype", "width", "window", "alignment", "kind"),
    [
        ("float16", 16, Window(7), 8, "matrix"),
        ("bfloat16", 48, Window(3), 16, "matrix"),
        ("float16", 16, Window(7), 4, "any"),
        ("float16", 8, Window(7), 16, "strips"),
        ("float16", 8, Window(7), 8, "any"),
        ("float16", 12, Window(7), 16, "any"),
        ("float16", 16, Window(7, 2), 16, "strips"),
        ("float16", 16, Window(7, 1, 2), 16, "any"),
        ("float16", 16, Window(4), 16, "any"),
        ("float32", 16, Window(7), 16, "strips"),
    ],
)
def test_what_the_matrix_unit_takes(dtype: str, width: int, window: Window, alignment: int, kind: str) -> None:
    shape = (1, 2 * width, 2, 20, 20)
    assert launch("grad_kernels", dtype, shape, window, alignment).variant.kind == kind
    assert "matrix" not in {launch(kernel, dtype, shape, window, alignment).variant.kind for kernel in KERNELS[:2]}


@pytest.mark.parametrize(("channels", "side"), [(64, 56), (128, 28), (256, 14), (512, 7)])
def test_warps_of_the_matrix_unit_write_to_other_banks(channels: int, side: int) -> None:
    made = launch("grad_kernels", "float16", (64, channels, channels // 16, side, side), Window(7, padding=3))
    n = dict(zip(FIELDS, made.sizes, strict=True))
    assert math.prod(made.block) >= 128
    assert n["tile_rows"] % (2 * made.block[2]) == 0
    assert made.shared_bytes == n["tile_rows"] * made.block[1] * n["strip_pitch"] * 2
    assert n["strip_pitch"] == made.variant.strip * n["pixel_pitch"]
    assert n["strip_pitch"] * 2 % n["word"] == n["pixel_pitch"] * 2 % n["word"] == 0
    for e in range(2):
        places = [(lane // 4, (lane % 4 * 2 + e - lane // 4) % 8) for lane in range(32)]
        words = {(pixel * n["pixel_pitch"] + tap) // 2 for pixel, tap in places if tap < 7}
        assert len({word % 32 for word in words}) == len(words)


@pytest.mark.parametrize(("channels", "side"), [(64, 56), (128, 28), (256, 14), (512, 7)])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("kernel", KERNELS)
def test_a_batch_occupies_a_device_of_132_processors(kernel: str, dtype: str, channels: int, side: int) -> None:
    made = launch(kernel, dtype, (64, channels, channels // 16, side, side), Window(7, padding=3))
    warps = math.ceil(math.prod(made.block) / 32)
    held = min(math.ceil(made.grid[0] / 132), 228 * 1024 // (made.shared_bytes + 1024), 16 // warps)
    assert held >= 2
    assert held * warps >= 8


def test_the_text_and_the_plan_agree() -> None:
    declared = source().split("struct Sizes")[1].split("};")[0]
    names = [name.strip() for line in declared.split(";") if "i64 " in line for name in line.split("i64")[1].split(",")]
    assert tuple(names) == FIELDS
