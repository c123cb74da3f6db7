"""Tables as text, and plots."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gpu_bench import model
from gpu_bench.contestants import OURS
from gpu_bench.targets import Figure, forward_and_backward

Row = dict[str, Any]


def line(row: Row) -> str:
    """Return one row: times with shares of the byte roofline on a GPU, errors elsewhere, or the reason."""
    start = f"{row['shape']:<18}{row['dtype']:<10}{row['contestant']:<22}"
    if "reason" in row:
        return f"{start}{row['reason']}"
    if "us" not in row:
        found = row["errors"]
        return start + "".join(f"{found[name]:>16.1e}" if name in found else " " * 16 for name in model.DIRECTIONS)
    text = start + _times(row, "us", "share")
    if "steady_us" in row:
        text += f"\n{'':<28}{'  in a CUDA graph':<22}" + _times(row, "steady_us", "steady_share")
    return f"{text}\n{'':<28}  no CUDA graph: {row['steady_reason']}" if "steady_reason" in row else text


def _times(row: Row, times: str, shares: str) -> str:
    cells = []
    for direction in model.DIRECTIONS:
        share = row.get(shares, {}).get(direction)
        part = "" if share is None else f"{100 * share:>4.0f} %"
        us = row[times].get(direction)
        cells.append(" " * 16 if us is None else f"{us:>10.1f}{part:>6}")
    return "".join(cells)


def heading(unit: str) -> str:
    """Return the line above the rows."""
    start = f"{'shape':<18}{'dtype':<10}{'contestant':<22}"
    return f"{unit}\n{start}" + "".join(f"{name:>16}" for name in model.DIRECTIONS)


def figure_line(figure: Figure) -> str:
    """Return one figure of the project's table."""
    value = "-" if figure.value is None else f"{figure.value:.2f}"
    must = "reported" if figure.target.must is None else f"{figure.target.must:g}"
    name = f"{figure.target.name}, {figure.of}"
    return f"{name:<86}{value:>8}  must {must}, aim {figure.target.aim:g}: {figure.verdict}"


def prediction_lines(rows: list[Row]) -> list[str]:
    """Return the byte model as a table."""
    head = f"{'shape':<18}{'dtype':<10}" + "".join(
        f"{f'{name} {what}':>21}" for name in ("forward", "backward") for what in ("bytes", "products", "expected")
    )
    lines = [head]
    for row in rows:
        cells = ("byte_floor_us", "arithmetic_floor_us", "expected_us")
        values = [row[name][cell] for name in ("forward", "backward") for cell in cells]
        lines.append(f"{row['shape']:<18}{row['dtype']:<10}" + "".join(f"{value:>21.1f}" for value in values))
    return lines


def plots(record: Row, stem: Path) -> list[Path]:
    """Draw our shares of the roofline, and everybody's time forward and backward in float32; return the files."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = [row for row in record["rows"] if "us" in row]
    made = []
    for name, draw in (("share", _draw_shares), ("rivals", _draw_rivals)):
        figure, axes = pyplot.subplots(figsize=(11, 4.5), layout="constrained")
        draw(axes, rows)
        axes.set_title(record["facts"]["gpu"], loc="left", fontsize=9)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(fontsize=8, ncols=3)
        made.append(stem.with_name(f"{stem.name}_{name}.png"))
        figure.savefig(made[-1], dpi=130)
        pyplot.close(figure)
    return made


def _bars(axes: Any, table: dict[str, dict[str, float]], shapes: list[str]) -> None:
    width = 0.8 / max(1, len(table))
    for k, (label, values) in enumerate(table.items()):
        places = [n - 0.4 + (k + 0.5) * width for n, shape in enumerate(shapes) if shape in values]
        axes.bar(places, [values[shape] for shape in shapes if shape in values], width, label=label)
    axes.set_xticks(range(len(shapes)), shapes, fontsize=8)


def _draw_shares(axes: Any, rows: list[Row]) -> None:
    ours = [row for row in rows if row["contestant"] == OURS]
    table: dict[str, dict[str, float]] = {}
    for row in ours:
        for direction in ("forward", "backward"):
            table.setdefault(f"{direction}, {row['dtype']}", {})[row["shape"]] = row["share"][direction]
    _bars(axes, table, list(dict.fromkeys(row["shape"] for row in ours)))
    axes.set_ylabel("share of the byte roofline")
    axes.axhline(model.FORWARD_SHARE.must or 0, color="0.6", linewidth=0.8)


def _draw_rivals(axes: Any, rows: list[Row]) -> None:
    table: dict[str, dict[str, float]] = {}
    for row in rows:
        us = forward_and_backward(row)
        if row["dtype"] == "float32" and us is not None:
            table.setdefault(row["contestant"], {})[row["shape"]] = us
    _bars(axes, table, list(dict.fromkeys(row["shape"] for row in rows)))
    axes.set_ylabel("forward and backward, float32, us")
    axes.set_yscale("log")
