"""A table as text, and as HTML for a notebook: what values show of themselves."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

#: Rows that are shown; the others are counted.
ROWS = 20

Cells = Sequence[str]


def as_text(title: str, head: Cells, rows: Sequence[Cells]) -> str:
    """Return a table in columns, numbers right, under its title."""
    shown = [head, *rows[:ROWS]]
    widths = [max(len(row[place]) for row in shown) for place in range(len(head))]
    lines = [title] if title else []
    lines += ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in shown]
    return "\n".join([*lines, *_more(rows)])


def as_html(title: str, head: Cells, rows: Sequence[Cells], notes: Sequence[str] = ()) -> str:
    """Return a table without a style of its own: a notebook has one."""
    cells = ["".join(f"<td>{escape(cell)}</td>" for cell in row) for row in rows[:ROWS]]
    body = "".join(f"<tr>{row}</tr>" for row in cells)
    names = "".join(f"<th>{escape(name)}</th>" for name in head)
    below = "".join(f"<p>{escape(note)}</p>" for note in (*_more(rows), *notes))
    table = f"<table><thead><tr>{names}</tr></thead><tbody>{body}</tbody></table>" if rows else ""
    return f"<p><b>{escape(title)}</b></p>{table}{below}"


def _more(rows: Sequence[Cells]) -> list[str]:
    return [f"and {len(rows) - ROWS} more"] if len(rows) > ROWS else []
