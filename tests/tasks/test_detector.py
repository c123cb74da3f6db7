"""Detectors that learn and are measured: torchvision's losses over our layers."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from loose_torchvision import missing, nms, roi_align, unmeasured

if reason := missing() or unmeasured():
    pytest.skip(reason, allow_module_level=True)

from torchvision.models.detection.image_list import ImageList

from invnas import (
    Bottleneck,
    Convolution,
    ConvolutionFPN,
    DenseNet,
    HybridNet,
    Involution,
    InvolutionFPN,
    PlainStem,
    Preprocessing,
    RCNNHeads,
    Recipe,
    RetinaHead,
    SemanticFPN,
    Stage,
)
from invnas.architecture import Architecture
from invnas.errors import InvalidArchitecture, TrialFailed
from invnas.export import export
from invnas.export.detections import rules_alone
from invnas.export.misfit import made_up
from invnas.export.nodes import RAW, session
from invnas.nn import build
from invnas.postprocessing import Postprocessing, anchor_levels
from invnas.run import Run
from invnas.tasks.detection import Detection
from invnas.tasks.detection.assembly import anchors_of, detector_of
from invnas.tasks.detection.head import Boxes
from invnas.tasks.detection.module import Detector
from invnas.tasks.detection.precision import Precision
from invnas.tasks.segmentation.head import PixelScores

INV = Involution(3, 4, 2)
NECK = ConvolutionFPN(8, extra_levels=1, pooled=True)
RETINA = RetinaHead(8, 1, 9)
FASTER = RCNNHeads(box_width=32, proposals=50)
MASK = RCNNHeads(INV, INV, 32, 3, 50, 5)
HEADS = [pytest.param(RETINA, id="RetinaNet"), pytest.param(FASTER, id="Faster"), pytest.param(MASK, id="Mask")]
SIZE = (3, 32, 32)


def architecture_of(head: Any, neck: Any = NECK) -> Architecture:
    block = Bottleneck(Convolution(3), expansion=2)
    backbone = HybridNet(PlainStem(8, 3, 2, False), tuple(Stage(8, (block,), stride) for stride in (1, 2)))
    return Architecture(DenseNet(backbone, neck, head))


def network_of(head: Any, neck: Any = NECK, task: Any = Boxes(2)) -> Any:  # noqa: B008
    return build(architecture_of(head, neck), SIZE, task)


def detector(head: Any, seed: int = 0) -> Detector:
    torch.manual_seed(seed)
    return Detector(network_of(head), SIZE, 2, Recipe(epochs=1))


def scene(*objects: tuple[int, int, int, int, int]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """A picture with a bright rectangle for each object, in a colour of its class, and its target."""
    image, masks = torch.zeros(SIZE), torch.zeros((len(objects), *SIZE[1:]), dtype=torch.bool)
    for mask, (label, left, top, right, bottom) in zip(masks, objects, strict=True):
        image[label, top:bottom, left:right] = 1.0
        mask[top:bottom, left:right] = True
    boxes = torch.tensor([one[1:] for one in objects], dtype=torch.float32).reshape(-1, 4)
    return image, {
        "boxes": boxes,
        "labels": torch.tensor([one[0] for one in objects], dtype=torch.int64),
        "masks": masks,
    }


def batch(*scenes: tuple[torch.Tensor, dict[str, torch.Tensor]]) -> tuple[torch.Tensor, list[dict[str, torch.Tensor]]]:
    return torch.stack([image for image, _ in scenes]), [target for _, target in scenes]


TWO = batch(scene((0, 2, 4, 18, 20), (1, 20, 20, 31, 31)), scene((1, 8, 8, 24, 24)))


@pytest.mark.parametrize("aligned", [True, False])
def test_the_stand_in_for_roi_align_is_a_mean_of_samples_between_pixels(aligned: bool) -> None:
    torch.manual_seed(0)
    maps = torch.rand(2, 3, 9, 7, dtype=torch.float64, requires_grad=True)
    regions = torch.tensor([[0, 1.0, 2.0, 20.0, 30.0], [1, 5.0, 0.0, 27.0, 9.0], [1, 20.0, 30.0, 28.0, 36.0]]).double()
    found = roi_align(maps, regions, 0.25, 3, 2, 2, aligned)
    # A mean of samples between pixels, one by one.
    for region, value in zip(regions, found, strict=True):
        shift = 0.5 if aligned else 0.0
        left, top, right, bottom = (region[1:] * 0.25 - shift).tolist()
        tall, wide = (bottom - top, right - left) if aligned else (max(1, bottom - top), max(1, right - left))
        for row in range(3):
            for column in range(2):
                ys = [top + (row + (i + 0.5) / 2) * tall / 3 for i in range(2)]
                xs = [left + (column + (i + 0.5) / 2) * wide / 2 for i in range(2)]
                mean = sum(_at(maps[int(region[0])], y, x) for y in ys for x in xs) / 4
                torch.testing.assert_close(value[:, row, column], mean)


def _at(one: torch.Tensor, y: float, x: float) -> torch.Tensor:
    y, x = min(max(y, 0.0), one.shape[1] - 1), min(max(x, 0.0), one.shape[2] - 1)
    top, left = int(y), int(x)
    low, right = min(top + 1, one.shape[1] - 1), min(left + 1, one.shape[2] - 1)
    upper = one[:, top, left] * (1 - (x - left)) + one[:, top, right] * (x - left)
    lower = one[:, low, left] * (1 - (x - left)) + one[:, low, right] * (x - left)
    return upper * (1 - (y - top)) + lower * (y - top)


def test_the_stand_in_for_nms_keeps_the_best_of_what_overlaps() -> None:
    boxes = torch.tensor([[0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 30, 30], [0, 5, 10, 15]]).float()
    assert nms(boxes, torch.tensor([0.5, 0.9, 0.1, 0.6]), 0.5).tolist() == [1, 3, 2]
    assert nms(boxes[:0], torch.zeros(0), 0.5).tolist() == []


@pytest.mark.parametrize(
    ("shapes", "size", "number", "sizes"),
    [
        ([(200, 320), (100, 160), (50, 80), (25, 40), (13, 20)], (800, 1280), 3, [[32], [64], [128], [256], [488]]),
        ([(16, 16), (8, 8), (4, 4)], (32, 32), 3, [[8], [16], [32]]),
        ([(16, 16), (8, 8)], (32, 32), 9, [[8, 10.08, 12.7], [16, 20.16, 25.4]]),
        ([(1, 1)], (8, 8), 3, [[8]]),
    ],
)
def test_anchors_grow_with_the_levels_and_fit_into_the_image(shapes: Any, size: Any, number: int, sizes: Any) -> None:
    anchors = anchors_of(shapes, size, number)
    assert [[round(one, 2) for one in level] for level in anchors.sizes] == sizes
    assert anchors.num_anchors_per_location() == [number] * len(shapes)


@pytest.mark.parametrize("number", [3, 9, 15])
@pytest.mark.parametrize(
    ("shapes", "size"),
    [
        ([(200, 320), (100, 160), (50, 80), (25, 40), (13, 20)], (800, 1280)),
        ([(16, 12), (8, 6), (4, 3)], (31, 23)),
        ([(1, 1)], (8, 8)),
    ],
)
def test_anchors_without_torchvision_are_those_of_it(shapes: Any, size: Any, number: int) -> None:
    images = ImageList(torch.zeros(1, 3, *size), [size])
    (truth,) = anchors_of(shapes, size, number)(images, [torch.zeros(1, 1, *shape) for shape in shapes])
    rules = Postprocessing(size, 2, anchor_levels(shapes, size, number))
    assert np.array_equal(rules.anchors(), truth.numpy())
    assert rules.counts == [number * rows * columns for rows, columns in shapes]


@pytest.mark.parametrize("classes", [1, 2, 40])
def test_an_exported_file_finds_what_torchvision_finds(classes: int) -> None:
    network = network_of(RETINA, task=Boxes(classes)).eval()
    rules: Any = Detection().postprocessing(network, SIZE)
    whole: Any = detector_of(network, SIZE)
    image = torch.zeros(1, *SIZE)
    (anchors,) = whole.anchor_generator(ImageList(image, [SIZE[1:]]), list(network.levels(image)))
    numbers = made_up(rules)
    said = session(rules_alone(rules))(**{RAW: numbers})
    split = [part.split(rules.counts, 1) for part in torch.from_numpy(numbers).split([classes, 4], 2)]
    outputs = dict(zip(("cls_logits", "bbox_regression"), split, strict=True))
    truth = whole.postprocess_detections(outputs, [anchors.split(rules.counts)] * 3, [SIZE[1:]] * 3)
    assert [len(one["scores"]) for one in truth] == said["number"].tolist()
    assert 5 < len(truth[1]["scores"]) < len(truth[0]["scores"])
    assert len(truth[2]["scores"]) == 0
    for i, one in enumerate(truth):
        for name in ("boxes", "scores", "labels"):
            found = torch.from_numpy(said[name][i, : len(one["scores"])])
            torch.testing.assert_close(found, one[name], atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("head", HEADS)
def test_a_detector_has_the_weights_of_its_network_alone_and_learns_with_all(head: Any) -> None:
    module = detector(head)
    assert {name.removeprefix("network.") for name in module.state_dict()} == set(module.network.state_dict())
    for part in module.network.modules():  # a residual block starts as its shortcut, where nothing would flow
        if isinstance(part, torch.nn.BatchNorm2d):
            torch.nn.init.ones_(part.weight)
    module.train()
    module.loss_of(*TWO).backward()
    without = [name for name, one in module.network.named_parameters() if one.grad is None]
    assert without == []


@pytest.mark.parametrize("head", HEADS)
def test_a_detector_learns_and_tells_what_it_sees(head: Any) -> None:
    module = detector(head)
    optimizer = torch.optim.Adam(module.parameters(), 0.01)
    module.train()
    losses = []
    for _ in range(120):
        optimizer.zero_grad()
        loss = module.loss_of(*TWO)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])
    module.eval()
    with torch.no_grad():
        module.measure(module(TWO[0]), TWO[1])
    values = module.measured()
    assert values["map50"] > 0.8
    assert set(values) == {"map", "map50", "mask_map"}
    assert (values["mask_map"] > 0.0) == (head is MASK)
    assert len(module.class_values()) == 2


def test_a_detector_that_has_learned_finds_the_same_in_onnx(tmp_path: Path) -> None:
    module = detector(RETINA)
    optimizer = torch.optim.Adam(module.parameters(), 0.01)
    module.train()
    for _ in range(40):
        optimizer.zero_grad()
        module.loss_of(*TWO).backward()
        optimizer.step()
    module.eval()
    how = Preprocessing(SIZE[1:], 3, 1.0, (0.0,) * 3, (1.0,) * 3)
    export(
        module.network, architecture_of(RETINA), SIZE, 2, tmp_path / "out", ("onnx",), {}, ("red", "green"),
        "detection", how, True,
    )  # fmt: skip
    with torch.no_grad():
        truth = module(TWO[0])
    batch_said = session(tmp_path / "out" / "model_with_postprocessing.onnx")(images=TWO[0].numpy())
    photo = session(tmp_path / "out" / "model_with_preprocessing.onnx")
    assert min(len(one["scores"]) for one in truth) > 3
    for i, one in enumerate(truth):
        image = (255 * TWO[0][i]).to(torch.uint8).permute(1, 2, 0).numpy()
        said = photo(image=np.pad(image, ((0, 0), (10, 10), (0, 0))))  # the network sees the middle
        assert batch_said["number"][i] == len(said["scores"]) == len(one["scores"])
        moved = one["boxes"] + torch.tensor([10.0, 0.0, 10.0, 0.0])
        for name, there in (("boxes", moved), ("scores", one["scores"]), ("labels", one["labels"])):
            found = torch.from_numpy(batch_said[name][i, : len(there)])
            torch.testing.assert_close(found, one[name], atol=1e-3, rtol=1e-4)
            torch.testing.assert_close(torch.from_numpy(said[name]), there, atol=1e-3, rtol=1e-4)
        assert list(said["names"]) == [("red", "green")[label] for label in one["labels"]]


@pytest.mark.parametrize("head", HEADS)
def test_images_without_objects_are_learned_from(head: Any) -> None:
    module = detector(head)
    module.train()
    for images, targets in (batch(scene(), scene()), batch(scene(), scene((0, 2, 4, 18, 20)))):
        loss = module.loss_of(images, targets)
        loss.backward()
        assert torch.isfinite(loss)
        assert all(torch.isfinite(one.grad).all() for one in module.parameters() if one.grad is not None)


@pytest.mark.parametrize("head", HEADS)
def test_the_mode_of_the_network_is_whose_who_sets_it(head: Any) -> None:
    module = detector(head)
    assert module.network.training
    module.eval()
    with torch.no_grad():
        found = module(TWO[0])
        module.network.stages.train()
        module(TWO[0])
    assert [set(one) - {"masks"} for one in found] == [{"boxes", "labels", "scores"}] * 2
    assert all(0 <= int(label) < 2 for one in found for label in one["labels"])
    assert module.network.stages.training
    assert not module.network.stem.training


def test_anchors_and_outputs_are_in_one_order() -> None:
    for head in (RETINA, FASTER):
        network = network_of(head).eval()
        whole: Any = detector_of(network, SIZE)
        x = torch.rand(2, *SIZE)
        with torch.no_grad():
            levels, flat = list(whole.backbone(x).values()), network(x)
            if head is RETINA:
                found = whole.head(levels)
                scores, offsets = found["cls_logits"], found["bbox_regression"]
            else:
                rpn = importlib.import_module("torchvision.models.detection.rpn")
                scores, offsets = rpn.concat_box_prediction_layers(*whole.rpn.head(levels))
                scores, offsets = scores.reshape(2, -1, 1), offsets.reshape(2, -1, 4)
        torch.testing.assert_close(torch.cat([scores, offsets], 2), flat)


@pytest.mark.parametrize("neck", [ConvolutionFPN(8), InvolutionFPN(8, group_channels=4, reduction_ratio=2)])
def test_a_head_that_torchvision_does_not_know_is_refused(neck: Any) -> None:
    with pytest.raises(InvalidArchitecture, match="end in a RetinaHead or in RCNNHeads"):
        detector_of(network_of(SemanticFPN(8), neck, PixelScores(2)), SIZE)


def test_a_mask_head_wants_masks() -> None:
    module = detector(MASK)
    bare = [{name: one[name] for name in ("boxes", "labels")} for one in TWO[1]]
    with pytest.raises(TrialFailed, match=r"have no `masks`: take RCNNHeads\(mask=None\)"):
        module.loss_of(TWO[0], bare)


def found(*boxes: tuple[float, ...], label: int = 0) -> dict[str, torch.Tensor]:
    numbers = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 5)
    masks = torch.zeros(len(boxes), 1, 20, 20)
    for mask, (left, top, right, bottom) in zip(masks, numbers[:, :4].int().tolist(), strict=True):
        mask[0, top:bottom, left:right] = 0.9
    labels = torch.full((len(boxes),), label)
    return {"boxes": numbers[:, :4], "scores": numbers[:, 4], "labels": labels, "masks": masks}


def truth(*boxes: tuple[float, ...], label: int = 0) -> dict[str, torch.Tensor]:
    told = found(*((*box, 1.0) for box in boxes), label=label)
    return {"boxes": told["boxes"], "labels": told["labels"], "masks": told["masks"][:, 0] > 0}


HALF = 51 / 101  # recalls of 0, 0.01, ..., 0.5 of 101 have a precision of 1


@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize(
    ("detections", "objects", "map", "map50"),
    [
        ([found((0, 0, 10, 10, 0.9))], [truth((0, 0, 10, 10))], 1.0, 1.0),
        ([found((0, 0, 10, 6, 0.9))], [truth((0, 0, 10, 10))], 0.3, 1.0),  # overlaps by 0.6
        ([found((0, 0, 5, 5, 0.9), (15, 15, 20, 20, 0.8))], [truth((0, 0, 5, 5), (10, 0, 15, 5))], HALF, HALF),
        ([found((15, 15, 20, 20, 0.9), (0, 0, 5, 5, 0.8))], [truth((0, 0, 5, 5))], 0.5, 0.5),
        ([found((0, 0, 5, 5, 0.9), label=1)], [truth((0, 0, 5, 5))], 0.0, 0.0),
        ([found()], [truth((0, 0, 5, 5))], 0.0, 0.0),
        ([found((0, 0, 5, 5, 0.9))], [truth()], 0.0, 0.0),
        ([found((0, 0, 5, 5, 0.9)), found()], [truth((0, 0, 5, 5)), truth((0, 0, 5, 5))], HALF, HALF),
        ([found((0, 0, 5, 5, 0.9)), found(label=1)], [truth((0, 0, 5, 5)), truth((0, 0, 5, 5), label=1)], 0.5, 0.5),
    ],
)
def test_average_precision_is_what_is_counted_by_hand(
    detections: Any, objects: Any, map: float, map50: float, masks: bool
) -> None:
    precision = Precision(3, masks)
    for _ in range(2):  # it begins anew
        for one, wanted in zip(detections, objects, strict=True):
            precision.update([one], [wanted])
        assert precision.compute() == {"map": pytest.approx(map, abs=1e-6), "map50": pytest.approx(map50, abs=1e-6)}
    assert precision.by_class[2] is None
    assert Precision(3, masks).compute() == {"map": 0.0, "map50": 0.0}


def test_a_search_from_the_command_line(call: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    space = tmp_path / "space.py"
    space.write_text(
        "from invnas import *\n"
        "block = Bottleneck(Convolution(3), expansion=2)\n"
        "backbone = HybridNet(PlainStem(8, 3, 2, False), [Stage(8, [block], s) for s in (1, 2)])\n"
        "operator = Choice(Convolution(3), Involution(3, 4, 2))\n"
        "heads = RCNNHeads(operator, operator, 16, proposals=20, mask_proposals=5)\n"
        "space = DenseNet(backbone, ConvolutionFPN(8), heads)\n"
    )
    data = {"task": "detection", "image_size": 32, "images": 12, "classes": 2, "batch_size": 4}
    words = [f"--data.init_args.{name}={value}" for name, value in data.items()]
    code, _, err = call(
        "search", "--task", "detection", "--space", str(space), "--run_dir", str(tmp_path / "run"), "--trials", "1",
        "--data.class_path", "invnas.data.Scenes", *words, "--recipe.epochs", "1", "--objectives", "[map, macs]",
    )  # fmt: skip
    assert code == 0, err
    assert len(Run.open(tmp_path / "run").trials()) == 1
    assert "map50" in (tmp_path / "run" / "test.json").read_text()
