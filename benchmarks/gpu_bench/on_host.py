"""What can be said without a GPU: values of every contestant at small sizes, and compilations by plan."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from gpu_bench.checking import errors, first_line, titled
from gpu_bench.contestants import CONTESTANTS
from gpu_bench.model import DTYPES, SHAPES, SMALL, Shape
from invnas.ops.cuda.plan import KERNELS, Variant, plan
from invnas.ops.geometry import Window

Row = dict[str, Any]


def rows(chosen: Sequence[str], shapes: Sequence[Shape] = SMALL, dtypes: Sequence[str] = DTYPES) -> Iterator[Row]:
    """Yield a row of errors for each shape, dtype and contestant; a failure is its reason."""
    for shape in shapes:
        for dtype in dtypes:
            for contestant in CONTESTANTS:
                if contestant.name not in chosen or dtype not in contestant.dtypes:
                    continue
                row = titled(contestant, shape, dtype)
                try:
                    row["errors"] = errors(contestant, shape, dtype, "cpu")
                except Exception as problem:  # whatever a rival breaks with is its row
                    row["reason"] = first_line(problem)
                yield row


def variants(shapes: Sequence[Shape], dtype: str) -> set[Variant]:
    """Return what our kernels compile for these calls."""
    return {
        plan(
            kernel,
            dtype,
            shape.batch,
            shape.channels,
            shape.groups,
            (shape.size, shape.size),
            (shape.out, shape.out),
            Window(*shape.geometry),
            16,
        ).variant
        for shape in shapes
        for kernel in KERNELS
    }


def compilations() -> Row:
    """Return the variants RedNet needs, those that a new batch size adds, and what the published mapping adds."""
    known = {dtype: variants(SHAPES, dtype) for dtype in DTYPES}
    more = {dtype: variants([replace(shape, batch=96) for shape in SHAPES], dtype) - known[dtype] for dtype in DTYPES}
    return {
        "variants": sum(len(found) for found in known.values()),
        "new_for_a_batch_of_96": sum(len(found) for found in more.values()),
        "published_mapping_for_a_batch_of_96": 3 * len(SHAPES),
    }
