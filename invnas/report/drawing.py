"""A drawing of an architecture as SVG, without any package: stem, stages, blocks coloured by their operator.

The values invnas ships are drawn as what they are; a user's own value is drawn as a box with its fields and parts.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, is_dataclass
from html import escape
from itertools import groupby
from typing import Any

from invnas.architecture import Architecture
from invnas.blocks import BLOCKS, BasicBlock, Bottleneck, InvertedResidual, PointwiseBlock
from invnas.choice import children
from invnas.dense import NECKS, DenseNet, backbone_of
from invnas.detectors import RCNNHeads
from invnas.hybrid import DeepStem, HybridNet, PlainStem, Stage
from invnas.operators import Convolution, DepthwiseConvolution, Involution, LocalAttention, kind_of
from invnas.report.units import LOOKS, SOFT

WIDTH = 380
_ROW = 26
_GAP = 7
_INSET = 10
_FONT = "font-family=\"system-ui, 'Segoe UI', 'Helvetica Neue', 'Liberation Sans', Arial, sans-serif\""


def operator_label(operator: Any) -> str:
    """Return a short name: inv 7×7 g8 r2, conv 3×3 g4, or the type and fields of the user's own.

    >>> operator_label(Involution(7, 8, 2)), operator_label(Convolution(3))
    ('inv 7×7 g8 r2', 'conv 3×3')
    >>> operator_label(Involution(7, 8, None, patch_size=3, softmax=True))
    'inv 7×7 g8 linear p3 softmax'
    """
    if isinstance(operator, Involution):
        return " ".join(("inv", _window(operator), f"g{operator.group_channels}", *_generator(operator)))
    if isinstance(operator, LocalAttention):
        end = "" if operator.softmax else " no softmax"
        return f"attention {_window(operator)} g{operator.group_channels}{end}"
    if isinstance(operator, Convolution):
        return f"conv {_window(operator)}" + (f" g{operator.groups}" if operator.groups > 1 else "")
    if isinstance(operator, DepthwiseConvolution):
        return f"depthwise {_window(operator)}"
    if isinstance(operator, BasicBlock):
        return f"basic {_window(operator)}"
    return " ".join((type(operator).__name__, _scalars(operator))).strip()


def block_label(block: Any) -> str:
    """Return a short name of a block: its spatial operator, with what widens and gates it.

    >>> block_label(InvertedResidual(DepthwiseConvolution(3), 6, squeeze_ratio=4))
    'depthwise 3×3 e6 se4'
    """
    match block:
        case InvertedResidual():
            gate = "" if block.squeeze_ratio is None else f" se{block.squeeze_ratio}"
            return f"{operator_label(block.spatial)} e{block.expansion}{gate}"
        case PointwiseBlock():
            return "conv 1×1"
    return operator_label(getattr(block, "spatial", block))


def summary(architecture: Architecture) -> list[str]:
    """Return a few short lines that say what a network is: one per stem and stage."""
    network = backbone_of(architecture.network)
    if not isinstance(network, HybridNet):
        labels = [operator_label(operator) for _, operator in architecture.operators]
        return [operator_label(network), *([_runs(labels)] if labels else [])]
    lines = [f"stem: {_size(network.stem)}, {' + '.join(text for text, _ in _stem_cells(network.stem))}"]
    for i, stage in enumerate(network.stages):
        labels = [block_label(block) for block in stage.blocks]
        lines.append(f"stage {i + 1}: {_size(stage)}, {_runs(labels) or 'no block'}")
    if isinstance(architecture.network, DenseNet):
        for name, part in _ends(architecture.network):
            said = [_size(part), *(text for text, _ in _dense_cells(part))]
            lines.append(f"{name}: {', '.join(text for text in said if text)}")
    return lines


def drawing_of(architecture: Architecture) -> str:
    """Return one `<svg>` element, which is also a complete SVG file; all text in it is escaped."""
    canvas = _Canvas()
    network = backbone_of(architecture.network)
    if isinstance(network, HybridNet):
        _network(canvas, network, architecture.network)
    else:
        _generic(canvas, "", network, 0)
    return canvas.svg(f"Drawing of architecture {architecture.fingerprint}")


def _width(letter: str) -> float:
    """Return a generous width of a letter as a share of its size: no font is measured here."""
    if unicodedata.east_asian_width(letter) in "WF":
        return 1.05
    return 0.95 if letter in "WMmw@%…" else 0.74 if letter.isupper() else 0.6


def _shortened(text: str, room: float) -> str:
    """Return a text that fits, cut at its end where it must be."""
    if sum(map(_width, text)) <= room:
        return text
    kept, left = 0, room - _width("…")
    while kept < len(text) and (left := left - _width(text[kept])) >= 0:
        kept += 1
    return text[:kept] + "…"


@dataclass
class _Canvas:
    """Shapes so far, and how far down they reach."""

    y: float = 1.0
    shapes: str = ""

    def text(self, x: float, y: float, text: str, room: float, size: int = 12, style: str = "") -> None:
        short = _shortened(text, room / size)
        title = f"<title>{escape(text)}</title>" if short != text else ""
        self.shapes += f'<text x="{x:g}" y="{y:g}" font-size="{size}" {style}>{title}{escape(short)}</text>'

    def box(self, x: float, y: float, width: float, height: float, style: str) -> None:
        self.shapes += f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="4" {style}/>'

    def row(self, x: float, width: float, cells: list[tuple[str, str]], note: str = "") -> None:
        """Draw cells of text in one row; the widest is the one with a colour, a note stands to the right."""
        room = width - (40 if note else 0)
        weights = [2.2 if colour else 1.0 for _, colour in cells]
        left = x
        for (text, colour), weight in zip(cells, weights, strict=True):
            extent = (room - 4 * (len(cells) - 1)) * weight / sum(weights)
            paint = f'fill="{colour}"' if colour else 'fill="#f1f3f4" stroke="#dadce0"'
            self.box(left, self.y, extent, _ROW, paint)
            style = f'text-anchor="middle" fill="{"#fff" if colour else "#202124"}"'
            weighted = style + (' font-weight="600"' if colour else "")
            self.text(left + extent / 2, self.y + 17, text, extent - 6, 12 if colour else 11, weighted)
            left += extent + 4
        if note:
            self.text(x + width, self.y + 17, note, 40, 12, f'text-anchor="end" fill="{SOFT}"')
        self.y += _ROW + 4

    def svg(self, label: str) -> str:
        height = self.y + 1
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}" width="{WIDTH}" '
            f'height="{height:g}" role="img" aria-label="{escape(label)}" {_FONT}>{self.shapes}</svg>'
        )


def _network(canvas: _Canvas, network: HybridNet, whole: HybridNet | DenseNet) -> None:
    _plain(canvas, "image")
    _arrow(canvas)
    frame = _Frame(canvas, "stem", _size(network.stem))
    canvas.row(_INSET, WIDTH - 2 * _INSET, _stem_cells(network.stem))
    frame.close()
    channels = getattr(network.stem, "width", 0)
    for i, stage in enumerate(network.stages):
        _arrow(canvas)
        _stage(canvas, f"stage {i + 1}", stage, channels)
        channels = stage.width
    if not isinstance(whole, DenseNet):
        _arrow(canvas)
        _plain(canvas, "global average pool → linear")
        return
    for name, part in _ends(whole):
        _arrow(canvas)
        frame = _Frame(canvas, name, _size(part))
        for label, colour in _dense_cells(part):
            canvas.row(_INSET, WIDTH - 2 * _INSET, [(label, colour)])
        frame.close()


def _ends(network: DenseNet) -> list[tuple[str, Any]]:
    """Return the neck, where there is one, and the head."""
    return [(name, part) for name, part in (("neck", network.neck), ("head", network.head)) if part is not None]


def _dense_cells(part: Any) -> list[tuple[str, str]]:
    """Return what a neck or head is, with its colour: of a pyramid the operator on its levels, of heads a row each."""
    if isinstance(part, NECKS):
        taken = "all" if part.levels is None else f"{part.levels}"
        extra = f" + {part.extra_levels}" if part.extra_levels else ""
        return [(f"FPN of {taken}{extra} levels: {operator_label(part.spatial)}", _colour(part.spatial))]
    if isinstance(part, RCNNHeads):
        operators = [("RPN", part.rpn)] + ([] if part.mask is None else [("mask", part.mask)])
        rpn, *mask = [(f"{name}: {operator_label(one)}", _colour(one)) for name, one in operators]
        return [rpn, (f"box: linear {part.box_width}, {part.proposals:,} proposals", ""), *mask]
    return [(type(part).__name__, _colour(part))]


def _stage(canvas: _Canvas, name: str, stage: Stage, channels: int) -> None:
    frame = _Frame(canvas, name, _size(stage))
    widths = (channels, *[stage.width] * len(stage.blocks))
    # Only the middle of an inverted residual depends on what enters: all others are equal wherever they stand.
    entered = [(b, widths[i] if isinstance(b, InvertedResidual) else 0) for i, b in enumerate(stage.blocks)]
    for (block, entering), times in _folded(entered):
        note = f"× {times}" if times > 1 else ""
        if isinstance(block, BLOCKS):
            canvas.row(_INSET, WIDTH - 2 * _INSET, _block_cells(block, entering, stage.width), note)
        else:
            _generic(canvas, note, block, 1)
    if not stage.blocks:
        canvas.row(_INSET, WIDTH - 2 * _INSET, [("no block", "")])
    frame.close()


def _block_cells(block: Any, channels: int, width: int) -> list[tuple[str, str]]:
    last = (f"1×1 → {width}", "")
    match block:
        case Bottleneck():
            spatial = operator_label(block.spatial), _colour(block.spatial)
            return [(f"1×1 → {width // block.expansion}", ""), spatial, last]
        case InvertedResidual():
            middle, spatial = channels * block.expansion, (operator_label(block.spatial), _colour(block.spatial))
            first = [(f"1×1 → {middle}", "")] if block.expansion > 1 else []
            gate = [] if block.squeeze_ratio is None else [(f"gate {middle // block.squeeze_ratio}", "")]
            return [*first, spatial, *gate, last]
        case BasicBlock():
            return [(f"conv {_window(block)} → {width}", _colour(block))] * 2
    return [last]


def _size(part: Any) -> str:
    width, stride = getattr(part, "width", None), getattr(part, "stride", 1)
    return ", ".join([f"{width} channels"] * (width is not None) + [f"stride {stride}"] * (stride != 1))


def _stem_cells(stem: Any) -> list[tuple[str, str]]:
    pool = [("max pool 3×3 /2", "")] if getattr(stem, "pool", False) is True else []
    if isinstance(stem, PlainStem):
        return [(f"conv {_window(stem)} → {stem.width}", LOOKS["convolution"].colour), *pool]
    if isinstance(stem, DeepStem):
        first, last = (f"3×3 → {stem.width // 2}", ""), (f"3×3 → {stem.width}", "")
        return [
            first,
            (operator_label(stem.spatial), _colour(stem.spatial)),
            last,
            *([("pool /2", "")] if pool else []),
        ]
    return [(operator_label(stem), _colour(stem))]


class _Frame:
    """A titled frame around the rows that are drawn until it is closed."""

    def __init__(self, canvas: _Canvas, title: str, detail: str) -> None:
        self.canvas, self.top = canvas, canvas.y
        style = 'font-weight="600" fill="#202124"'
        canvas.text(_INSET, canvas.y + 17, title, WIDTH / 2, 12, style)
        canvas.text(WIDTH - _INSET, canvas.y + 17, detail, WIDTH / 2, 11, f'text-anchor="end" fill="{SOFT}"')
        canvas.y += 25

    def close(self) -> None:
        self.canvas.y += 4
        self.canvas.box(1, self.top, WIDTH - 2, self.canvas.y - self.top, 'fill="none" stroke="#bdc1c6"')


def _plain(canvas: _Canvas, text: str) -> None:
    canvas.text(WIDTH / 2, canvas.y + 12, text, WIDTH, 12, f'text-anchor="middle" fill="{SOFT}"')
    canvas.y += 17


def _arrow(canvas: _Canvas) -> None:
    x, y = WIDTH / 2, canvas.y + 2
    canvas.shapes += f'<path d="M{x:g} {y:g}v9m-4 -4l4 4l4 -4" fill="none" stroke="{SOFT}"/>'
    canvas.y += _GAP + 8


def _generic(canvas: _Canvas, note: str, value: Any, depth: int) -> None:
    """Draw any value: its type and plain fields in a row, its parts below it and further to the right."""
    x = _INSET * (depth + 1) if depth < 12 else _INSET * 13
    label = operator_label(value) if is_dataclass(value) else str(value)
    canvas.row(x, WIDTH - _INSET - x, [(label, _colour(value))], note)
    for part, times in _parts(value):
        _generic(canvas, f"× {times}" if times > 1 else "", part, depth + 1)


def _parts(value: Any) -> Iterator[tuple[Any, int]]:
    """Yield the dataclasses right inside a value, equal neighbours as one."""
    for _, part in children(value):
        if isinstance(part, tuple | list):
            yield from ((item, times) for item, times in _folded(part) if is_dataclass(item))
        elif is_dataclass(part):
            yield part, 1


def _folded(items: Any) -> Iterator[tuple[Any, int]]:
    for item, run in groupby(items):
        yield item, len(list(run))


def _runs(labels: list[str]) -> str:
    return ", ".join(f"{times} × {label}" if times > 1 else label for label, times in _folded(labels))


def _colour(value: Any) -> str:
    return LOOKS[kind_of(value)].colour if is_dataclass(value) else ""


def _generator(involution: Involution) -> Iterator[str]:
    yield "linear" if involution.reduction_ratio is None else f"r{involution.reduction_ratio}"
    if involution.patch_size > 1:
        yield f"p{involution.patch_size}"
    if involution.softmax:
        yield "softmax"


def _window(value: Any) -> str:
    return f"{value.kernel_size}×{value.kernel_size}"


def _scalars(value: Any) -> str:
    """Return the fields that are numbers or text (or tuples of them) as name=value."""
    shown = []
    for name, part in children(value):
        items = part if isinstance(part, tuple | list) else (part,)
        if not any(is_dataclass(item) or isinstance(item, tuple | list) for item in items):
            shown.append(f"{name}={','.join(map(str, items))}")
    return " ".join(shown)
