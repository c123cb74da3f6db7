"""Where the anchors of a network stand, and what makes boxes of its numbers; without torchvision."""

from __future__ import annotations

import torch
from torch import nn

from invnas.nn.detection import RetinaLayers
from invnas.nn.network import Network
from invnas.postprocessing import Postprocessing, anchor_levels


def level_shapes(network: Network, input_shape: tuple[int, int, int]) -> list[tuple[int, int]]:
    """Return (height, width) of each level of a network's pyramid for images of this shape, finest first."""
    was, weight = network.training, next(network.parameters())
    with torch.no_grad():
        levels = network.eval().levels(torch.zeros((1, *input_shape), dtype=weight.dtype, device=weight.device))
    network.train(was)
    return [(level.shape[2], level.shape[3]) for level in levels]


def postprocessing_of(network: nn.Module, input_shape: tuple[int, int, int]) -> Postprocessing | None:
    """Return what makes detections of the numbers of a detector of one stage; None where there are two stages."""
    layers = network.head.layers if isinstance(network, Network) and hasattr(network.head, "layers") else None
    if not isinstance(layers, RetinaLayers):
        return None
    assert isinstance(network, Network)
    _, *size = input_shape
    levels = anchor_levels(level_shapes(network, input_shape), size, layers.anchors)
    return Postprocessing((size[0], size[1]), layers.classes, levels)
