"""What a network costs, exactly and without running it: counted on the meta device, operator by operator.

A part that was priced once (same value, same channels, same map) is never priced again, so a fresh architecture made
of known blocks costs microseconds. What counts as a multiply-add is said in `meter.py`; the convention "published"
counts as the involution paper does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from torch import nn

from invnas.architecture import Architecture
from invnas.blocks import BLOCKS
from invnas.errors import BadInput, InvalidArchitecture, nearest
from invnas.head import FeatureMap, Head, as_head, check_output
from invnas.hybrid import HybridNet, Stage
from invnas.measurement import CONVENTIONS, Cost, Segment
from invnas.meter import Price, metered
from invnas.nn.blocks import Piece, operator, pieces
from invnas.nn.dense import Decoder, check_size, layers, levels_of, neck, parted
from invnas.nn.detection import ROI_ALIGN, Regions
from invnas.nn.network import Part, build
from invnas.nn.skeleton import Shape, running, skeleton
from invnas.operators import OPERATORS
from invnas.rules import image


class _Stretch(NamedTuple):
    """The price of the stem or of a stage.

    `first` is the peak while its first part runs, which holds the map that enters; `rest` that of the later parts,
    which hold it only when the head wants it too.
    """

    macs: int
    parameters: int
    first: int
    rest: int
    shape: tuple[int, ...]
    stride: int


@lru_cache(maxsize=100_000)
def price_part(part: Part | Piece, shape: Shape, convention: str = "macs") -> Price:
    """Return what a part or piece costs for a map (channels, height, width); the errors are those of `cost`."""
    # The pieces lack the last ReLU, which has no multiply-adds but is counted by the other convention.
    if isinstance(part, Part) and isinstance(part.value, BLOCKS) and convention == "macs":
        return _price_block(part, shape)
    name = type(part.value).__name__
    if isinstance(part, Piece):
        if part.value is None or isinstance(part.value, OPERATORS):
            with running(name, shape):
                return metered(_shipped(part), shape, convention=convention, own=False)
        _check_own(part, shape, name)
    price = _price_built(part.build, name, shape, convention=convention)
    if isinstance(part, Part):
        part.checked(price.shape)
    return price


def _check_own(part: Piece, shape: Shape, name: str) -> None:
    # Alone, so that the sentence names the operator and not the norm or the sum after it.
    out = _price_built(lambda: operator(part.value, part.in_channels, part.stride), name, shape).shape
    wanted = (shape[0], *(math.ceil(side / part.stride) for side in shape[1:]))
    if out != wanted:
        raise InvalidArchitecture(
            f"{name} with stride {part.stride} must turn {shape} into {wanted}, but makes the shape {out}"
        )


def _price_built(make: Callable[[], nn.Module], name: str, *shapes: Shape, **how: Any) -> Price:
    with running(name, shapes[0] if len(shapes) == 1 else shapes):
        return metered(skeleton(make), *shapes, **how)


@lru_cache(maxsize=10_000)
def _shipped(piece: Piece) -> nn.Module:
    # Building costs as much as metering, and one piece meets several maps; a user's own module might remember them.
    return skeleton(piece.build)


def _price_block(part: Part, shape: Shape) -> Price:
    # Piece by piece: a space has thousands of blocks, but a few hundred pieces.
    main, shortcut = pieces(part.value, part.in_channels, part.out_channels, part.stride)
    entering = _bytes(shape)
    macs = parameters = peak = 0
    here: Any = shape
    for piece in main:
        price = price_part(piece, here)
        # The block's input waits for the shortcut; the first piece has counted it already.
        waiting = 0 if piece is main[0] else entering
        macs, parameters, peak = macs + price.macs, parameters + price.parameters, max(peak, waiting + price.peak)
        here = price.shape
    if shortcut is not None:
        price = price_part(shortcut, shape)
        macs, parameters = macs + price.macs, parameters + price.parameters
        peak = max(peak, _bytes(here) + price.peak)
    # The sum never holds more than the last step did: the shortcut's norm, or else the main path's last convolution.
    return Price(macs, parameters, peak, here)


def _bytes(shape: tuple[int, ...]) -> int:
    return 4 * math.prod(shape)


@lru_cache(maxsize=100_000)
def _price_step(role: str, value: Any, width: int, stride: int, shape: Any, convention: str) -> tuple[Price, int]:
    """Return the price of a stem or block, and how many pixels of its map become one along each side."""
    part = Part(role, value, shape[0], width, stride)
    price = price_part(part, shape, convention)
    return price, part.stride_from(shape, part.checked(price.shape))


def _price_stem(stem: Any, shape: Shape, convention: str) -> _Stretch:
    (macs, parameters, peak, after), stride = _price_step("stem", stem, stem.width, 1, shape, convention)
    return _Stretch(macs, parameters, peak, 0, after, stride)


def _price_stage(stage: Stage, shape: tuple[int, ...], convention: str) -> _Stretch:
    width, step = stage.width, stage.stride
    macs = parameters = 0
    peaks, stride = [], 1
    blocks: Sequence[Any] = stage.blocks
    for block in blocks:
        price, factor = _price_step("block", block, width, step, shape, convention)
        macs, parameters, shape = macs + price.macs, parameters + price.parameters, price.shape
        peaks.append(price.peak)
        stride, step = stride * factor, 1
    return _Stretch(macs, parameters, peaks[0], max(peaks[1:], default=0), shape, stride)


@lru_cache(maxsize=10_000)
def _price_head(head: Head, maps: tuple[FeatureMap, ...], shapes: Any, input_shape: Shape, convention: str) -> Price:
    make = lambda: head.build(maps, input_shape)  # noqa: E731
    price = _price_built(make, type(head).__name__, *shapes, convention=convention, head=True)
    check_output(head, input_shape, price.shape)
    return price


@lru_cache(maxsize=10_000)
def _price_neck(value: Any, maps: tuple[FeatureMap, ...], shapes: Any, convention: str) -> Price:
    return _price_built(lambda: neck(value, maps), type(value).__name__, *shapes, convention=convention, several=True)


@lru_cache(maxsize=10_000)
def _price_layers(
    head: Decoder, levels: tuple[FeatureMap, ...], shapes: Any, input_shape: Shape, convention: str
) -> tuple[tuple[str, Price], ...]:
    name = type(head.layers).__name__
    with running(name, shapes):
        made = skeleton(lambda: layers(head.layers, levels, input_shape, **head.given))
    price = _price_built(lambda: made, name, *shapes, convention=convention, size=input_shape[1:])
    check_output(head, input_shape, price.shape)
    regions = [(one.name, _price_regions(one, shapes, convention)) for one in getattr(made, "regions", ())]
    own = price.parameters - sum(region.parameters for _, region in regions)
    return ("head", price._replace(parameters=own)), *regions


def _price_regions(regions: Regions, shapes: Any, convention: str) -> Price:
    """Return what layers cost that see so many regions, each by itself, while the levels wait."""
    shape = (shapes[0][0], regions.side, regions.side)
    one = _price_built(lambda: regions.module, regions.name, shape, convention=convention)
    # The published conventions pass over RoI align.
    macs = one.macs + (ROI_ALIGN * math.prod(shape) if convention == "macs" else 0)
    peak = sum(map(_bytes, shapes)) + regions.number * one.peak
    return Price(regions.number * macs, one.parameters, peak, (regions.number, *one.shape))


def _price_ends(
    head: Head, maps: tuple[FeatureMap, ...], shapes: Any, input_shape: Shape, convention: str
) -> list[tuple[str, Price]]:
    """Return the price of a head, after that of a neck where there is one."""
    if not isinstance(head, Decoder):
        return [("head", _price_head(head, maps, shapes, input_shape, convention))]
    check_size(maps, input_shape)
    if head.neck is None:
        return [*_price_layers(head, maps, shapes, input_shape, convention)]
    before = _price_neck(head.neck, maps, shapes, convention)
    after = _price_layers(head, levels_of(head.neck, maps), before.shape, input_shape, convention)
    # The maps that the neck has taken are alive until the network has its output.
    waiting = sum(map(_bytes, shapes))
    return [("neck", before), *((name, price._replace(peak=price.peak + waiting)) for name, price in after)]


@lru_cache(maxsize=10_000)
def _price_whole(architecture: Architecture, input_shape: Shape, head: Head) -> Price:
    name = type(architecture.network).__name__
    price = _price_built(lambda: build(architecture, input_shape, head), name, input_shape)
    check_output(head, input_shape, price.shape)
    return price


def _prices(network: HybridNet, input_shape: Shape, head: Head, convention: str) -> list[tuple[str, Price]]:
    """Return the prices of the stem, each stage and the head; maps the head waits for are part of the peaks."""
    stretches = [_price_stem(network.stem, input_shape, convention)]
    for stage in network.stages:
        stretches.append(_price_stage(stage, stretches[-1].shape, convention))
    maps, stride = [], 1
    for stretch in stretches:
        stride *= stretch.stride
        maps.append(FeatureMap(stretch.shape[0], stride))
    wanted = head.wanted(maps)
    prices, waiting, entering = [], 0, 0
    for i, (macs, parameters, first, rest, shape, _) in enumerate(stretches):
        price = Price(macs, parameters, waiting + max(first, entering + rest), shape)
        prices.append((f"stage {i}" if i else "stem", price))
        waiting += entering
        entering = _bytes(shape) if i in wanted else 0
    shapes = tuple(stretches[i].shape for i in wanted)
    return [*prices, *_price_ends(head, tuple(maps[i] for i in wanted), shapes, input_shape, convention)]


def segments(
    architecture: Architecture, input_shape: Shape, head: Head | int, convention: str = "macs"
) -> tuple[Segment, ...]:
    """Return what the stem, each stage and the head cost; arguments and errors are those of `cost`."""
    return tuple(
        # Of a pyramid the shape of the finest level stands for all.
        Segment(name, Cost.counted(price.macs, price.parameters, price.peak), _first(price.shape))
        for name, price in _named_prices(architecture, input_shape, head, convention)
    )


def _first(shape: Any) -> tuple[int, ...]:
    found: tuple[int, ...] = shape[0] if isinstance(shape[0], tuple) else shape
    return found


def _named_prices(
    architecture: Architecture, input_shape: Shape, head: Head | int, convention: str
) -> list[tuple[str, Price]]:
    if convention not in CONVENTIONS:
        raise BadInput(f"unknown convention '{convention}'; {nearest(convention, CONVENTIONS)}")
    architecture.check()
    network, head = parted(architecture.network, as_head(head))
    for problem in image(input_shape):
        raise BadInput(problem)
    shape = tuple(input_shape)
    if isinstance(network, HybridNet):
        return _prices(network, shape, head, convention)  # type: ignore[arg-type]
    if convention != "macs":
        raise BadInput(
            f"the convention '{convention}' leaves out the final linear layer of a HybridNet, but the network is "
            f"{type(network).__name__}; nearest: 'macs'"
        )
    return [("network", _price_whole(architecture, shape, head))]


def cost(architecture: Architecture, input_shape: Shape, head: Head | int, convention: str = "macs") -> Cost:
    """Return multiply-adds, parameters and peak activation bytes of an architecture, exact, for one image.

    Args:
        architecture: What to price; nothing is allocated or run.
        input_shape: (channels, height, width) of one image.
        head: What the network ends in; a number means one score for each of so many classes.
        convention: What `macs` counts, a key of `CONVENTIONS`.

    Raises:
        InvalidArchitecture: If it breaks a rule, or a user's own module cannot be built or returns a wrong shape.
        UnpricedOperator: If it runs an operator without a formula, named in the text.
        BadInput: If there is no such image or number of classes, or the convention is unknown or not for this network.
    """
    prices = [price for _, price in _named_prices(architecture, input_shape, head, convention)]
    return Cost.counted(
        sum(price.macs for price in prices),
        sum(price.parameters for price in prices),
        max(price.peak for price in prices),
    )


def pricer(input_shape: Shape, head: Head | int) -> Callable[[Architecture], Cost]:
    """Return `cost` for one kind of image and head, as a search wants it."""
    return lambda architecture: cost(architecture, input_shape, head)


def forget() -> None:
    """Forget every price, as a new process does."""
    for known in (price_part, _shipped, _price_step, _price_head, _price_neck, _price_layers, _price_whole):
        known.cache_clear()
