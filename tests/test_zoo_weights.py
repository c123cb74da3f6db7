from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from invnas.errors import BadInput
from invnas.nn import build
from invnas.zoo import DEPTHS, rednet, resnet
from invnas.zoo_weights import load_published, our_names, published_name

# The published wiring, written again from its description: names of modules and the order of operations, with unfold.


class ConvBn(nn.Module):
    def __init__(self, inside: int, outside: int, size: int = 1, stride: int = 1, plain: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inside, outside, size, stride, size // 2, bias=plain)
        self.bn = None if plain else nn.BatchNorm2d(outside)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x) if self.bn is None else F.relu(self.bn(self.conv(x)))


class Unfolded(nn.Module):
    def __init__(self, channels: int, size: int, stride: int) -> None:
        super().__init__()
        self.size, self.stride, self.groups = size, stride, channels // 16
        self.conv1 = ConvBn(channels, channels // 4)
        self.conv2 = ConvBn(channels // 4, size * size * self.groups, plain=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, channels = x.shape[:2]
        pooled = F.avg_pool2d(x, self.stride) if self.stride > 1 else x
        kernels = self.conv2(self.conv1(pooled))
        height, width = kernels.shape[2:]
        patches = F.unfold(x, self.size, padding=self.size // 2, stride=self.stride)
        patches = patches.view(batch, self.groups, 16, self.size**2, height, width)
        kernels = kernels.view(batch, self.groups, 1, self.size**2, height, width)
        return (kernels * patches).sum(3).view(batch, channels, height, width)


class Block(nn.Module):
    def __init__(self, inside: int, outside: int, stride: int, first: bool) -> None:
        super().__init__()
        middle = outside // 4
        self.conv1, self.bn1 = nn.Conv2d(inside, middle, 1, bias=False), nn.BatchNorm2d(middle)
        self.conv2, self.bn2 = Unfolded(middle, 7, stride), nn.BatchNorm2d(middle)
        self.conv3, self.bn3 = nn.Conv2d(middle, outside, 1, bias=False), nn.BatchNorm2d(outside)
        shortcut = (nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside))
        self.downsample = nn.Sequential(*shortcut) if first else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class Published(nn.Module):
    def __init__(self, depth: int, stem_size: int, classes: int) -> None:
        super().__init__()
        stem = [ConvBn(3, 32, 3, 2), Unfolded(32, stem_size, 1), nn.BatchNorm2d(32), nn.ReLU(), ConvBn(32, 64, 3)]
        self.backbone = nn.ModuleDict({"stem": nn.Sequential(*stem)})
        inside = 64
        for stage, blocks in enumerate(DEPTHS[depth]):
            outside = 256 * 2**stage
            chain = [
                Block(outside if i else inside, outside, 2 if stage and not i else 1, i == 0) for i in range(blocks)
            ]
            self.backbone[f"layer{stage + 1}"] = nn.Sequential(*chain)
            inside = outside
        self.head = nn.ModuleDict({"fc": nn.Linear(2048, classes)})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.max_pool2d(self.backbone["stem"](x), 3, 2, 1)
        for stage in range(1, 5):
            x = self.backbone[f"layer{stage}"](x)
        return self.head["fc"](x.mean((2, 3)))


def original(depth: int = 26, stem_size: int = 3, classes: int = 10) -> Published:
    """Return the published wiring with random values everywhere, and norms that have seen random images."""
    torch.manual_seed(depth + stem_size)
    network = Published(depth, stem_size, classes)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
            module.momentum = 0.9  # without statistics that fit, kernels times maps overflow within a few blocks
        elif isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            nn.init.normal_(module.bias, std=0.2)
    with torch.no_grad():
        network(torch.randn(8, 3, 64, 64))
    return network.eval()


@pytest.mark.parametrize(
    ("depth", "stem_size", "size"),
    # The original fails where a stride meets an odd map: of the odd sizes, these meet none.
    [(26, 3, (64, 64)), (26, 7, (63, 95)), (50, 3, (64, 32))],
)
def test_a_checkpoint_gives_the_outputs_of_the_original_wiring(
    depth: int, stem_size: int, size: tuple[int, int]
) -> None:
    published = original(depth, stem_size)
    network = build(rednet(depth, stem_size), (3, *size), 10).eval()
    load_published(network, {"meta": {"epoch": 130}, "state_dict": published.state_dict()})
    images = torch.randn(2, 3, *size)
    with torch.no_grad():
        expected, found = published(images), network(images)
    assert expected.std(0).mean() > 0.01  # the images tell apart, so the comparison sees the whole network
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("depth", DEPTHS)
def test_every_depth_has_the_published_names(depth: int) -> None:
    with torch.device("meta"):
        theirs, ours = Published(depth, 3, 1000), build(rednet(depth), (3, 224, 224), 1000)
    shapes = {name: value.shape for name, value in theirs.state_dict().items()}
    assert {published_name(name): value.shape for name, value in ours.state_dict().items()} == shapes


@pytest.mark.parametrize("stem_size", [3, 7])
def test_our_names_are_the_way_back(stem_size: int) -> None:
    with torch.device("meta"):
        ours = list(build(rednet(50, stem_size), (3, 224, 224), 1000).state_dict())
    theirs = [published_name(name) for name in ours]
    assert our_names(theirs) == dict(zip(theirs, ours, strict=True))
    assert our_names(ours) == {name: name for name in ours}


def test_names_of_the_published_layout() -> None:
    names = [published_name(name) for name in build(rednet(26), (3, 32, 32), 10).state_dict()]
    assert {
        "backbone.stem.0.conv.weight",
        "backbone.stem.1.conv1.bn.running_var",
        "backbone.stem.1.conv2.conv.bias",
        "backbone.stem.2.weight",
        "backbone.stem.4.bn.num_batches_tracked",
        "backbone.layer1.0.downsample.1.bias",
        "backbone.layer3.3.conv2.conv1.conv.weight",
        "backbone.layer4.0.bn3.weight",
        "head.fc.bias",
    } <= set(names)


@cache
def state_of_26() -> dict[str, Any]:
    return original().state_dict()


def changed(**changes: Any) -> dict[str, Any]:
    state = {**state_of_26(), **{name.replace("__", "."): value for name, value in changes.items()}}
    return {name: value for name, value in state.items() if value is not None}


@pytest.mark.parametrize(
    ("state", "sentence"),
    [
        (
            changed(backbone__layer1__0__conv2__conv2__conv__bias=None, head__fc__bias=None),
            "the checkpoint lacks `backbone.layer1.0.conv2.conv2.conv.bias`, which the network needs (2 such tensors)",
        ),
        (
            changed(neck__weight=torch.zeros(1)),
            "the checkpoint holds `neck.weight`, which the network has not (1 such tensors)",
        ),
        (
            changed(head__fc__weight=torch.zeros(1000, 2048)),
            "`head.fc.weight` in the checkpoint has shape (1000, 2048), but `head.2.weight` needs (10, 2048)",
        ),
        (changed(head__fc__bias=3), "`head.fc.bias` in the checkpoint must be a tensor, but is int"),
        ({"state_dict": [1]}, "`state_dict` must map names to tensors, but holds list under `state_dict`"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused_and_nothing_is_loaded(state: dict[str, Any], sentence: str) -> None:
    network = build(rednet(26), (3, 32, 32), 10)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(BadInput) as error:
        load_published(network, state)
    assert str(error.value) == sentence
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_a_network_of_another_kind_is_refused() -> None:
    with pytest.raises(BadInput, match=r"the checkpoint lacks `backbone\."):
        load_published(build(rednet(38), (3, 32, 32), 10), changed())
    with pytest.raises(BadInput, match="the checkpoint lacks `"):
        load_published(build(resnet(26), (3, 32, 32), 10), changed())
