"""Every variant compiles for every architecture, and takes what the design says it takes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from invnas.ops.cuda.plan import Variant, variants

sys.path.insert(0, str(Path(__file__).parent))
import resources
from resources import Resources

pytestmark = pytest.mark.skipif(resources.why_not() is not None, reason=str(resources.why_not()))


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Resources]:
    compiled = resources.compile_all(tmp_path_factory.mktemp("compiled"))
    return {(one.function, one.architecture): one for one in compiled}


def test_every_variant_compiles_for_every_architecture(found: dict[tuple[str, str], Resources]) -> None:
    expected = {(variant.function, name) for variant in variants() for name in resources.ARCHITECTURES}
    assert found.keys() == expected


def test_nothing_is_spilled_and_registers_leave_room_for_two_blocks(found: dict[tuple[str, str], Resources]) -> None:
    assert [one for one in found.values() if one.spills or one.stack or one.registers > 128] == []


def promised(variant: Variant) -> tuple[int, int]:
    """Return the vector loads and the multiply-adds of one row of the source."""
    K, stride = variant.kernel_size, variant.stride
    pixels = 2 if variant.kernel == "grad_kernels" and (K > 7 or stride > 1) else 4
    # A pixel of the source is loaded once for all pixels of the strip.
    loads, adds = (pixels - 1) * stride + K, pixels * K * variant.vector
    if variant.kernel == "grad_kernels":
        # The upper gradient is loaded once for all rows of taps, or once a row where a group is wider than its threads:
        # the text has both.
        return loads + 2 * pixels, adds
    # The text of a row that meets both strips of a pair, by as many loads, and of one that meets the upper or lower; a
    # folded sum is then multiplied by a scale and added to a bias, which are loaded once.
    more = (2, 2 * pixels * variant.vector) if variant.kernel == "folded" else (0, 0)
    return 3 * loads + more[0], (2 + 1 + 1) * adds + more[1]


@pytest.mark.parametrize("variant", [v for v in variants() if v.kind == "strips"], ids=lambda v: v.function)
def test_loads_for_a_multiply_add(variant: Variant, found: dict[tuple[str, str], Resources]) -> None:
    one = found[variant.function, "sm_80"]
    assert (one.vector_loads, one.multiply_adds) == promised(variant)


@pytest.mark.parametrize("variant", [v for v in variants() if v.kind == "matrix"], ids=lambda v: v.function)
def test_products_of_the_matrix_unit(variant: Variant, found: dict[tuple[str, str], Resources]) -> None:
    one = found[variant.function, "sm_80"]
    # Two blocks of a row of the input, each loaded for one product, for K + 1 rows; all that for groups of 16 channels,
    # which load the gradient once, and again for wider ones, which load it for every row.
    rows = variant.kernel_size + 1
    assert (one.matrix_products, one.vector_loads) == (2 * 2 * rows, (2 * rows + 2) + (2 + 2) * rows)
    assert one.registers <= 80  # three blocks of 256 threads


def test_the_compiler_sees_what_lies_in_shared_memory(found: dict[tuple[str, str], Resources]) -> None:
    assert [one.function for one in found.values() if one.generic_loads] == []


def test_one_variant_is_made_by_its_definitions(tmp_path: Path) -> None:
    variant = Variant("forward", "bfloat16", 7, 8, 1)
    ran = resources.entry(variant, tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert f".entry {variant.function}(" in (tmp_path / "one.ptx").read_text()
