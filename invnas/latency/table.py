"""What of a network takes time, in numbers: the table of a block is worked out once, that of a network is their sum.

A latency is nearly linear in these numbers: each has seconds of its own (for a multiply-add of a 1 x 1 convolution, for
one of an involution, for a byte, for a node), which differ from runtime to runtime and machine to machine.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import numpy as np

from invnas.architecture import Architecture
from invnas.blocks import BLOCKS
from invnas.cost import cost, price_part, segments
from invnas.dense import DenseNet, backbone_of
from invnas.head import Head, as_head
from invnas.hybrid import DeepStem, HybridNet, PlainStem
from invnas.nn.blocks import Piece, pieces
from invnas.nn.network import Part, parts
from invnas.operators import Convolution, DepthwiseConvolution, Involution, LocalAttention

Shape = tuple[int, ...]

#: The columns of a table.
COLUMNS = (
    "network", "nodes", "pointwise_macs", "pointwise_padded", "dense_macs", "dense_padded", "thin_macs", "grouped_macs",
    "grouped_columns", "grouped_columns_unfilled", "depthwise_macs", "involutions", "involution_macs",
    "involution_kernels", "span_macs", "averaged", "attentions", "attention_macs", "other_macs", "map_bytes",
    "weight_bytes",
)  # fmt: skip
_AT = {name: place for place, name in enumerate(COLUMNS)}
#: Channels that a processor computes at once: what is fewer is filled up.
_LANES = 16


def tabulator(input_shape: tuple[int, int, int], head: Head | int) -> Callable[[Architecture], np.ndarray]:
    """Return what makes the table (len(COLUMNS),) of an architecture for one kind of image and head."""
    ends = as_head(head)

    def table(architecture: Architecture) -> np.ndarray:
        network = backbone_of(architecture.network)
        found = _zeros(network=1.0)
        if not isinstance(network, HybridNet):
            whole = cost(architecture, input_shape, ends)
            found += _zeros(other_macs=whole.macs, map_bytes=whole.activation_bytes, weight_bytes=4 * whole.parameters)
            return found
        shape: Shape = input_shape
        for group in parts(network, input_shape[0]):
            for part in group:
                rows, shape = _of_part(part, shape)
                found = found + rows
        return found + _beyond(architecture, input_shape, ends)

    return table


def _beyond(architecture: Architecture, input_shape: tuple[int, int, int], head: Head) -> np.ndarray:
    """Return the table of the neck and the heads of a network for dense prediction."""
    network = architecture.network
    if not isinstance(network, DenseNet):
        return _zeros()
    behind = segments(architecture, input_shape, head)[1 + len(network.backbone.stages) :]
    prices = [one.cost for one in behind]
    macs, weights = (float(sum(one[name] for one in prices)) for name in ("macs", "parameters"))
    return _zeros(other_macs=macs, map_bytes=max(one.activation_bytes for one in prices), weight_bytes=4 * weights)


def _zeros(**values: float) -> np.ndarray:
    found = np.zeros(len(COLUMNS))
    for name, value in values.items():
        found[_AT[name]] = value
    return found


@lru_cache(maxsize=100_000)
def _of_part(part: Part, shape: Shape) -> tuple[np.ndarray, Shape]:
    """Return the table of a stem or block for a map (channels, height, width), and the shape that leaves."""
    after = price_part(part, shape).shape
    if isinstance(part.value, BLOCKS):
        main, shortcut = pieces(part.value, part.in_channels, part.out_channels, part.stride)
        found = _chain(main, shape)
        if shortcut is not None:
            found = found + _of_piece(shortcut, shape)[0] + _moved(after, 3, 1)  # the sum reads two maps, writes one
        return found, after
    if isinstance(part.value, PlainStem | DeepStem):
        found = _chain(list(_stem(part.value, shape[0])), shape)
        return (found + _moved(after, 5, 1) if part.value.pool else found), after
    price = price_part(part, shape)
    macs = _zeros(other_macs=price.macs, weight_bytes=4 * price.parameters)
    return macs + _moved(shape, 1, 1) + _moved(after, 1, 0), after


def _stem(value: PlainStem | DeepStem, channels: int) -> Iterator[Piece]:
    if isinstance(value, PlainStem):
        yield Piece("enter", channels, value.width, value.stride, kernel_size=value.kernel_size)
        return
    half = value.width // 2
    yield Piece("enter", channels, half, value.stride, kernel_size=3)
    yield Piece("spatial", half, half, 1, value.spatial)
    yield Piece("enter", half, value.width, kernel_size=3)


def _chain(main: list[Piece], shape: Shape) -> np.ndarray:
    found = _zeros()
    for piece in main:
        rows, shape = _of_piece(piece, shape)
        found = found + rows
    return found


def _moved(shape: Shape, times: int, nodes: int) -> np.ndarray:
    return _zeros(map_bytes=4.0 * times * math.prod(shape), nodes=nodes)


@lru_cache(maxsize=100_000)
def _of_piece(piece: Piece, shape: Shape) -> tuple[np.ndarray, Shape]:
    if piece.role == "identity":
        return _zeros(), shape
    price = price_part(piece, shape)
    after, macs = price.shape, float(price.macs)
    found = _zeros(weight_bytes=4.0 * price.parameters) + _moved(shape, 1, 1) + _moved(after, 1, 0)
    value: Any = piece.value
    positions, channels = math.prod(after[1:]), after[0]
    match value:
        case Involution():
            found = found + _zeros(averaged=math.prod(shape) if piece.stride > 1 else 0)
            return found + _involution(value, macs, channels, positions), after
        case LocalAttention():
            products = 2.0 * channels * value.kernel_size**2 * positions
            made = _convolution(macs - products, 1, channels, channels, positions)
            found = found + _zeros(averaged=math.prod(shape) if piece.stride > 1 else 0)
            return found + made + _zeros(attentions=1, attention_macs=products, nodes=4), after
        case DepthwiseConvolution():
            return found + _zeros(depthwise_macs=macs), after
        case Convolution():
            if value.groups == 1:
                return found + _convolution(macs, value.kernel_size, channels, channels, positions), after
            columns = float(channels * value.kernel_size**2 * positions)  # what a product of matrices is made of
            thin = columns if channels // value.groups < _LANES else 0.0
            return found + _zeros(grouped_macs=macs, grouped_columns=columns, grouped_columns_unfilled=thin), after
    if piece.role in ("spatial", "gate"):
        return found + _zeros(other_macs=macs, nodes=4 * (piece.role == "gate")), after
    return found + _convolution(macs, piece.kernel_size, shape[0], channels, positions), after


def _involution(value: Involution, macs: float, channels: int, positions: int) -> np.ndarray:
    kernels = float(channels // value.group_channels * value.kernel_size**2 * positions)
    local = float(channels * value.kernel_size**2 * positions)
    hidden = channels // value.reduction_ratio if value.reduction_ratio else channels
    span = kernels * hidden
    found = _zeros(involutions=1, involution_macs=local, involution_kernels=kernels, span_macs=span, nodes=2)
    reduce = macs - local - span
    return found + _convolution(reduce, value.patch_size, channels, hidden, positions) if reduce else found


def _convolution(macs: float, kernel_size: int, entering: int, leaving: int, positions: int) -> np.ndarray:
    if entering < _LANES // 2:
        return _zeros(thin_macs=macs)
    full = macs * _filled(entering) / entering * _filled(leaving) / leaving
    if kernel_size == 1:
        return _zeros(pointwise_macs=macs, pointwise_padded=full)
    return _zeros(dense_macs=macs, dense_padded=full)


def _filled(channels: int) -> int:
    return -(-channels // _LANES) * _LANES
