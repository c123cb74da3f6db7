"""From the layers of a network to a detector of torchvision, which owns no layer of its own.

torchvision matches boxes with objects, samples, computes losses, chooses regions and suppresses what overlaps. The
anchors stand on the levels of the network, in sizes that its images can hold.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torchvision.models.detection import FasterRCNN, MaskRCNN, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.retinanet import RetinaNetClassificationHead, RetinaNetHead, RetinaNetRegressionHead
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import MultiScaleRoIAlign

from invnas.detectors import ASPECT_RATIOS
from invnas.errors import InvalidArchitecture
from invnas.nn.detection import BOX_SIDE, MASK_SIDE, RCNNLayers, RetinaLayers
from invnas.nn.network import Network
from invnas.postprocessing import Postprocessing, anchor_sizes
from invnas.tasks.detection.anchors import level_shapes

#: Detections of an image that are kept, as COCO counts them.
DETECTIONS = Postprocessing.detections

#: Proposals of a box head while it learns, at most.
_SAMPLED = 512


def detector_of(network: nn.Module, input_shape: tuple[int, int, int]) -> nn.Module:
    """Return a detector of torchvision over the layers of a network; its weights are those of the network.

    It takes a list of images (C, H, W) of one size and, to learn, a list of targets: dicts of "boxes", "labels" and,
    where there is a mask head, "masks". It returns losses, or detections: dicts of "boxes", "labels", "scores" and
    "masks". A network with a RetinaHead counts labels from 0, one with RCNNHeads from 1.

    Raises:
        InvalidArchitecture: If the network has other heads.
    """
    layers = network.head.layers if isinstance(network, Network) and hasattr(network.head, "layers") else None
    if not isinstance(layers, RetinaLayers | RCNNLayers):
        raise InvalidArchitecture(
            "detection trains networks that end in a RetinaHead or in RCNNHeads, for torchvision knows the losses of "
            "these alone"
        )
    assert isinstance(network, Network)
    shapes = level_shapes(network, input_shape)
    anchors = anchors_of(shapes, input_shape[1:], layers.anchors)
    if isinstance(layers, RetinaLayers):
        return _retina(network, layers, anchors)
    return _rcnn(network, layers, anchors, len(shapes) - getattr(network.head.neck, "extra_levels", 0))


def found_in(network: nn.Module, images: torch.Tensor) -> Iterator[dict[str, torch.Tensor]]:
    """Yield what a network in eval mode finds in each of the images (B, C, H, W).

    "boxes" (n, 4) in pixels, "labels" (n,) from 0 on, "scores" (n,), the best first, and, of a network with a mask
    head, "masks" (n, 1, H, W), how much each pixel is believed to be of the object. One image after the other: masks
    of many fill the memory.
    """
    _, *shape = images.shape
    detector, first = detector_of(network, (shape[0], shape[1], shape[2])).eval(), first_label(network)
    for image in images:
        with torch.no_grad():
            (found,) = detector([image])
        yield {**found, "labels": found["labels"] - first}


def first_label(network: Any) -> int:
    """Return the label of the first class in the detector of a network: R-CNNs count background as a class."""
    return 1 if isinstance(network.head.layers, RCNNLayers) else 0


def anchors_of(shapes: Sequence[Any], size: Sequence[int], number: int) -> AnchorGenerator:
    """Return the anchors of levels of these heights and widths, for images of this size; see `anchor_sizes`."""
    sizes = anchor_sizes(shapes, size, number)
    return AnchorGenerator(sizes, (ASPECT_RATIOS,) * len(sizes))


def _retina(network: Network, layers: RetinaLayers, anchors: AnchorGenerator) -> nn.Module:
    detector = RetinaNet(
        _Levels(network),
        layers.classes,
        anchor_generator=anchors,
        head=_Retina(layers),
        score_thresh=Postprocessing.score_threshold,
        nms_thresh=Postprocessing.overlap,
        topk_candidates=Postprocessing.candidates,
        detections_per_img=DETECTIONS,
    )
    detector.transform = _AsIs()
    return detector


def _rcnn(network: Network, layers: RCNNLayers, anchors: AnchorGenerator, levels: int) -> nn.Module:
    names = [str(i) for i in range(levels)]  # coarser levels are for proposals alone
    how: dict[str, Any] = {
        "rpn_anchor_generator": anchors,
        "rpn_head": _Proposals(layers),
        "rpn_pre_nms_top_n_train": 2 * layers.proposals,
        "rpn_post_nms_top_n_train": 2 * layers.proposals,
        "rpn_pre_nms_top_n_test": layers.proposals,
        "rpn_post_nms_top_n_test": layers.proposals,
        "box_roi_pool": MultiScaleRoIAlign(names, BOX_SIDE, 2),
        "box_head": nn.Identity(),
        "box_predictor": _Boxes(layers),
        "box_batch_size_per_image": min(_SAMPLED, layers.proposals),
        "box_detections_per_img": DETECTIONS,
    }
    if layers.mask is None:
        detector = FasterRCNN(_Levels(network), **how)
    else:
        how["box_detections_per_img"] = min(DETECTIONS, layers.mask_proposals)
        masks = {"mask_roi_pool": MultiScaleRoIAlign(names, MASK_SIDE, 2), "mask_head": nn.Identity()}
        detector = MaskRCNN(_Levels(network), **how, **masks, mask_predictor=_Masks(layers.mask))
    detector.transform = _AsIs()
    return detector


class _AsIs(GeneralizedRCNNTransform):
    """Takes images as they are: the data source has scaled and normalised them."""

    def __init__(self) -> None:
        super().__init__(1, 1, [0.0], [1.0])

    def forward(self, images: list[torch.Tensor], targets: Any = None) -> tuple[ImageList, Any]:
        """Return the images as a batch, and the targets."""
        return ImageList(torch.stack(images), [tuple(image.shape[-2:]) for image in images]), targets


class _Levels(nn.Module):
    """The levels of a network, by name."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network, self.out_channels = network, 0  # torchvision wants it for heads that it makes itself

    def forward(self, x: torch.Tensor) -> OrderedDict[str, torch.Tensor]:
        """Return them, finest first."""
        levels = self.network.levels(x.contiguous(memory_format=torch.channels_last))
        return OrderedDict((str(i), level) for i, level in enumerate(levels))


class _Retina(RetinaNetHead):
    """Our layers where torchvision wants its own; its heads have the losses, and no layer."""

    def __init__(self, layers: RetinaLayers) -> None:
        nn.Module.__init__(self)
        self.layers = layers
        with torch.device("meta"):
            self.classification_head = RetinaNetClassificationHead(1, 1, layers.classes)
            self.regression_head = RetinaNetRegressionHead(1, 1)
        for head in (self.classification_head, self.regression_head):
            head._modules.clear()

    def forward(self, levels: list[torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return scores and offsets."""
        scores, offsets = self.layers.parts(levels)
        return {"cls_logits": scores, "bbox_regression": offsets}


class _Proposals(nn.Module):
    """Our region proposal network as torchvision calls one."""

    def __init__(self, layers: RCNNLayers) -> None:
        super().__init__()
        self.layers = layers.rpn

    def forward(self, levels: list[torch.Tensor]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Return the scores and the offsets of each level."""
        return self.layers.parts(levels)


class _Boxes(nn.Module):
    """Our box head as torchvision calls one."""

    def __init__(self, layers: RCNNLayers) -> None:
        super().__init__()
        self.layers = layers.box

    def forward(self, regions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return scores and offsets; torchvision counts offsets of the background, too, and never looks at them."""
        scores, offsets = self.layers.parts(regions)
        return scores, F.pad(offsets, (4, 0))


class _Masks(nn.Module):
    """Our mask head as torchvision calls one."""

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, regions: torch.Tensor) -> torch.Tensor:
        """Return scores; torchvision counts a map of the background, too, and never looks at it."""
        return F.pad(self.layers(regions), (0, 0, 0, 0, 1, 0))
