"""How far detections are from what the rules make of a network's numbers, as one number that a rounding moves little.

Two programs that round differently may order two equal scores, or judge an overlap of just 0.5, differently, and then
keep other boxes. So detections are not compared with those of another program, but with the rules themselves.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from invnas.postprocessing import LARGEST_GROWTH, Postprocessing

#: So much lower scores are looked at, too: more than a program may be off.
_NEAR = 2e-4

#: Candidates that are compared at a time: a young network has them all, of about one score.
_TOGETHER = 10_000

#: Candidates of a level that a check has at most; more than the rules keep.
_MANY = 1500

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class Found:
    """Detections of an image: `boxes` (n, 4), `scores` (n), `labels` (n)."""

    boxes: Array
    scores: Array
    labels: Array


def misfit(found: Found, numbers: Array, rules: Postprocessing) -> float:
    """Return by how much detections break the rules, in scores or in the longer side of the image.

    A detection is a candidate, in order, and overlaps none of its class that was found; a candidate that was not found
    overlaps a better one of its class that was, or there are enough better ones. Overlaps count as much as the smaller
    side of the boxes would have to move, about.

    Args:
        found: What was found in one image, in pixels of the network's input.
        numbers: (N, classes + 4), what the network said of it.
        rules: Which ones.
    """
    known, floor = _candidates(numbers.astype(np.float64), rules)
    if len(found.scores) == 0:
        return float(np.max(known.scores - rules.score_threshold, initial=0.0))
    if len(known.scores) == 0 or len(found.scores) > rules.detections:
        return 1.0
    scale = max(rules.size)
    nearest, itself = np.full(len(found.scores), np.inf), np.zeros(len(found.scores), np.int64)
    overlapped = np.empty(len(known.scores))
    for start in range(0, len(known.scores), _TOGETHER):
        part = slice(start, start + _TOGETHER)
        some = Found(known.boxes[part], known.scores[part], known.labels[part])
        apart = np.abs(found.boxes[:, None] - some.boxes[None]).max(2) / scale
        apart = np.maximum(apart, np.abs(found.scores[:, None] - some.scores[None]))
        apart[found.labels[:, None] != some.labels[None]] = 1.0
        closer = apart.min(1) < nearest
        itself[closer], nearest[closer] = start + apart.argmin(1)[closer], apart.min(1)[closer]
        overlapped[part] = np.maximum(
            some.scores[:, None] - found.scores[None], -_slack(some, found, rules) / scale
        ).min(1)
    broken = [nearest, rules.score_threshold - found.scores, (floor - known.scores)[itself]]
    broken.append(np.maximum.accumulate(found.scores[::-1])[::-1] - found.scores)
    among = _slack(found, found, rules) / scale
    np.fill_diagonal(among, -1.0)
    broken.append(among.max(1))
    # One that is missing has the best of its excuses: too low a score, a better one that it overlaps, enough others.
    excuses = [known.scores - rules.score_threshold, known.scores - floor, overlapped]
    if len(found.scores) == rules.detections:
        excuses.append(known.scores - found.scores.min())
    missing = np.setdiff1d(np.arange(len(known.scores)), itself)
    broken.append(np.min(excuses, 0)[missing])
    return float(np.max(np.concatenate(broken), initial=0.0))


def _candidates(numbers: Array, rules: Postprocessing) -> tuple[Found, Array]:
    """Return all that could be found, somewhat more than the rules allow, and the lowest score that its level takes."""
    with np.errstate(over="ignore"):
        scores = 1 / (1 + np.exp(-numbers[:, : rules.classes]))
    anchors, offsets = rules.anchors().astype(np.float64), numbers[:, rules.classes :]
    parts, start = [], 0
    for count in rules.counts:
        level = scores[start : start + count].ravel()
        floor = 0.0 if len(level) <= rules.candidates else np.partition(level, -rules.candidates)[-rules.candidates]
        pairs = np.flatnonzero(level > max(floor, rules.score_threshold) - _NEAR)
        parts.append((level[pairs], pairs % rules.classes, pairs // rules.classes + start, np.full(len(pairs), floor)))
        start += count
    score, label, anchor, floors = map(np.concatenate, zip(*parts, strict=True))
    corners, offset = anchors[anchor], offsets[anchor]
    sides = corners[:, 2:] - corners[:, :2]
    centre = corners[:, :2] + sides / 2 + offset[:, :2] * sides
    half = np.exp(np.minimum(offset[:, 2:], LARGEST_GROWTH)) * sides / 2
    height, width = rules.size
    boxes = np.concatenate([centre - half, centre + half], 1).clip(0, [width, height, width, height])
    return Found(boxes, score, label), floors


def _slack(some: Found, others: Found, rules: Postprocessing) -> Array:
    """Return by how many pixels boxes overlap those of their class too much, about; -inf for those of another class."""
    low = np.maximum(some.boxes[:, None, :2], others.boxes[None, :, :2])
    high = np.minimum(some.boxes[:, None, 2:], others.boxes[None, :, 2:])
    shared = (high - low).clip(min=0).prod(2)
    sides = [(one.boxes[:, 2:] - one.boxes[:, :2]).astype(np.float64) for one in (some, others)]
    areas = [one.prod(1) for one in sides]
    union = areas[0][:, None] + areas[1][None] - shared
    excess = np.divide(shared, union, out=np.zeros_like(union), where=union > 0) - rules.overlap
    smallest = np.minimum(sides[0].min(1)[:, None], sides[1].min(1)[None])
    pixels: Array = excess * smallest
    pixels[some.labels[:, None] != others.labels[None]] = -np.inf
    return pixels


def made_up(rules: Postprocessing) -> Array:
    """Return numbers (3, N, classes + 4) of three images: with many objects, with a few, with none."""
    generator = np.random.default_rng(0)
    numbers = np.full((3, sum(rules.counts), rules.classes + 4), -9.0, np.float32)
    numbers[:, :, rules.classes :] = generator.normal(0, 0.5, (*numbers.shape[:2], 4))
    wild = generator.random(numbers.shape[:2]) < 0.02
    numbers[wild, rules.classes + 2 :] = generator.choice([-1000.0, 1000.0], (int(wild.sum()), 2))
    start = 0
    for count in rules.counts:
        pairs = count * rules.classes
        for image, most in ((0, _MANY), (1, 12)):
            some = generator.choice(pairs, min(most, pairs), replace=False)
            anchors, labels = start + some // rules.classes, some % rules.classes
            numbers[image, anchors, labels] = generator.uniform(-6, 6, len(some))
        start += count
    return numbers
