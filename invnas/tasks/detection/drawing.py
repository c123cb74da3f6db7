"""Pictures of objects: boxes in the colour of their class, and masks where there are some."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import nn

from invnas.facts import DataFacts
from invnas.masks import palette
from invnas.tasks.detection import LEGEND, SHOWN
from invnas.tasks.sheet import IMAGES, colours, enlarged, pasted

#: Pixels of the shorter side that small images are enlarged to; how much of a mask's colour lies over the image.
_LEAST, _OVER = 144, 0.4


class Thing(NamedTuple):
    """An object as it is drawn.

    Attributes:
        box: Left, top, right and bottom in pixels.
        label: Number of its class.
        score: None where it is the truth.
        mask: (height, width) of the image, bool; None where it has none.
    """

    box: tuple[float, ...]
    label: int
    score: float | None = None
    mask: np.ndarray | None = None


def outlined(image: Image.Image, things: Iterable[Thing], names: Sequence[str] = ()) -> Image.Image:
    """Return an image with its objects, the last on top; where there are names, with class and score at each box."""
    things = list(things)
    pixels = np.asarray(image.convert("RGB")).astype(np.float32)
    for thing in things:
        if thing.mask is not None:
            pixels[thing.mask] = (1 - _OVER) * pixels[thing.mask] + _OVER * np.array(_colour(thing.label))
    found = Image.fromarray(pixels.round().astype(np.uint8))
    pen = ImageDraw.Draw(found)
    line = max(1, round(min(found.size) / 80))
    for thing in reversed(things):  # the surest come first, and are drawn last
        left, top, right, bottom = thing.box
        width = max(1, min(line, int(min(right - left, bottom - top)) // 4))  # what is within a small box is seen, too
        box = (left, top, max(left, right - 1), max(top, bottom - 1))
        pen.rectangle(box, outline=_colour(thing.label), width=width)
        if names:
            _sign(pen, thing, names, max(10, min(found.size) // 30))
    return found


def picture(network: nn.Module, images: torch.Tensor, targets: Any, facts: DataFacts) -> Image.Image:
    """Return two rows: images with their objects, and with what a network finds in them.

    Args:
        network: Of a DenseNet with a RetinaHead or with RCNNHeads, in eval mode.
        images: (B, C, H, W), as the network sees them; the first six are drawn.
        targets: For each image a dict with "boxes", "labels" and perhaps "masks".
        facts: What is known of the images; their mean and deviation bring the colours back.
    """
    from invnas.tasks.detection.assembly import found_in

    images = images[:IMAGES].float().cpu()
    weight = next(network.parameters(), images)
    found = found_in(network, images.to(weight.device, weight.dtype))
    rows = [
        [_with(one, pixels) for one, pixels in zip(told, colours(images, facts), strict=False)]
        for told in (targets, found)
    ]
    return pasted(rows)


def _with(told: dict[str, torch.Tensor], pixels: np.ndarray) -> np.ndarray:
    large = enlarged(pixels, _LEAST)
    times = large.shape[0] // pixels.shape[0]
    return np.asarray(outlined(Image.fromarray(large), _things(told, times)))


def _things(told: dict[str, torch.Tensor], times: int) -> Iterator[Thing]:
    scores = told["scores"].tolist() if "scores" in told else [None] * len(told["labels"])
    masks = told.get("masks")
    for i, score in enumerate(scores):
        if score is not None and score < SHOWN:
            continue
        mask = None
        if masks is not None:
            one = masks[i].detach().float().cpu().reshape(masks.shape[-2:]).numpy() >= 0.5
            mask = np.repeat(np.repeat(one, times, 0), times, 1)
        box = tuple(times * side for side in told["boxes"][i].tolist())
        yield Thing(box, int(told["labels"][i]), score, mask)


def _sign(pen: ImageDraw.ImageDraw, thing: Thing, names: Sequence[str], size: int) -> None:
    words = names[thing.label] + ("" if thing.score is None else f" {thing.score:.2f}")
    left, top = thing.box[:2]
    box = pen.textbbox((left, top), words, font_size=size)
    top = max(0.0, top - (box[3] - top))  # above the box, or within where there is no room
    pen.rectangle(pen.textbbox((left, top), words, font_size=size), fill=_colour(thing.label))
    dark = sum(_colour(thing.label)) < 384
    pen.text((left, top), words, fill="white" if dark else "black", font_size=size)


def _colour(label: int) -> tuple[int, int, int]:
    at, table = 3 * ((LEGEND.first + label) % 255), palette()
    return table[at], table[at + 1], table[at + 2]
