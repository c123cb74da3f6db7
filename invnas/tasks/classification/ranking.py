"""How well scores rank: the area under the ROC curve of each class against the rest, in bounded memory."""

from __future__ import annotations

import torch

#: Log-odds between which scores are told apart; below and above they tie.
_LOW, _HIGH = -64.0, 64.0
#: Counters of all classes together (32 MB with those of the others), and of one: at least, at most.
_ALL, _LEAST, _MOST = 2**22, 2**10, 2**16


class AreaUnderRoc:
    """Macro average over classes of the area under the ROC curve, one class against the rest.

    Scores of a class fall into parts of the log-odds of its softmax probability, each 0.002 wide with up to 64 classes,
    0.03 with a thousand; two images in one part count as a tie, half right. What is kept are the counts of the parts,
    32 MB at most up to 4,096 classes, however many images there are.

    Args:
        classes: Number of classes.
    """

    def __init__(self, classes: int) -> None:
        self.classes, self._parts = classes, min(max(_ALL // classes, _LEAST), _MOST)
        # Images by class, part, and whether they are of the class; made where the images are.
        self._counts: torch.Tensor | None = None

    def update(self, outputs: torch.Tensor, targets: torch.Tensor) -> None:
        """Add a batch: scores before softmax (B, classes) and classes (B,) int64."""
        outputs = outputs.float()
        top = outputs.argmax(dim=1, keepdim=True)
        above = outputs - outputs.gather(1, top)  # of the top class, 0
        shares = above.exp()
        # The others of the top class are summed themselves: what a sum with it leaves of them would be rounded away.
        rest = (shares.sum(dim=1, keepdim=True) - shares).scatter(
            1, top, shares.scatter(1, top, 0.0).sum(dim=1, keepdim=True)
        )
        odds = above - rest.log()
        part = ((odds - _LOW) * (self._parts / (_HIGH - _LOW))).nan_to_num(0.0, self._parts, 0.0)
        place = part.clamp(0, self._parts - 1).long() + self._parts * torch.arange(self.classes, device=outputs.device)
        place = place.scatter_add(1, targets[:, None], torch.full_like(targets[:, None], self.classes * self._parts))
        if self._counts is None:
            self._counts = torch.zeros(2 * self.classes * self._parts, dtype=torch.int32, device=outputs.device)
        self._counts.index_add_(0, place.flatten(), torch.ones_like(place, dtype=torch.int32).flatten())

    def compute(self) -> float:
        """Return the area over the batches since the last call, in [0, 1].

        A class of which there are no images, or no others, ranks nothing and is left out; where that is so of all,
        the area is that of a guess, 0.5.
        """
        if self._counts is None:
            return 0.5
        others, own = self._counts.cpu().double().view(2, self.classes, self._parts)
        self._counts = None
        below = others.cumsum(dim=1) - others / 2
        pairs = own.sum(dim=1) * others.sum(dim=1)
        areas = (own * below).sum(dim=1)[pairs > 0] / pairs[pairs > 0]
        return float(areas.mean()) if len(areas) else 0.5
