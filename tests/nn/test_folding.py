"""The folded network is the network: every architecture of the shipped spaces, and every layer that must stay."""

from __future__ import annotations

import copy
import math
import random
import warnings
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import parametrizations

import invnas
from invnas import zoo
from invnas.errors import InvnasError
from invnas.nn import FoldedInvolution2d, Involution2d, LocalAttention2d, build, fold
from invnas.space import load_space

Tensor = torch.Tensor
last = torch.channels_last
SPACES = {"hybrid_cifar": 32, "digits": 8, "ablation": 8, "hybrid_imagenet": 64, "mobile": 40, "invbench": 8}


def worn(network: nn.Module, images: Tensor, seed: int = 0) -> nn.Module:
    """Return a network whose batch norms have seen some images and trained a little, in eval mode.

    Kernels multiply what made them, so statistics that fit nothing would overflow within a few blocks.
    """
    generator = torch.Generator().manual_seed(seed)

    def between(low: float, high: float, like: Tensor) -> Tensor:
        drawn = torch.empty(like.shape, dtype=torch.float64).uniform_(low, high, generator=generator)
        return drawn.to(like)

    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    with torch.no_grad():
        for norm in norms:
            norm.momentum = 1.0
            if norm.affine:
                drawn = between(0.5, 1.2, norm.weight) if norm.weight.any() else between(0.05, 0.2, norm.weight)
                norm.weight.copy_(drawn * between(-1, 1, norm.weight).sign())
                norm.bias.copy_(between(-0.2, 0.2, norm.bias))
        network.train()(images)
        for norm in norms:
            if norm.running_mean is not None and norm.running_var is not None:
                norm.running_mean += between(-0.1, 0.1, norm.running_mean) * norm.running_var.sqrt()
                norm.running_var *= between(0.8, 1.25, norm.running_var)
    return network.eval()


def error(found: Tensor, wanted: Tensor) -> float:
    """Return the largest difference over the largest value."""
    return float((found.double() - wanted.double()).abs().max() / wanted.double().abs().max().clamp_min(1e-30))


def check(network: nn.Module, x: Tensor) -> nn.Module:
    """Check a network against its folded form in float32 and float64, and return the latter in float32."""
    before = copy.deepcopy(network.state_dict())
    folded = fold(network)
    assert not folded.training
    with torch.no_grad():
        found, wanted = folded(x), network(x)
        exact = copy.deepcopy(network).double()
        truth = exact(x.double())
        assert wanted.isfinite().all()
        # Involution multiplies what its input made with the input, so rounding doubles with every block: a network of
        # many errs by more than 1e-5 itself.
        assert error(found, wanted) < max(1e-5, 8 * error(wanted, truth))
        assert error(fold(exact)(x.double()), truth) < 1e-10
        assert torch.equal(fold(folded)(x), found)
    after = network.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    return folded


def count(network: nn.Module, *kinds: type) -> int:
    return sum(type(module) in kinds for module in network.modules())


@pytest.mark.parametrize("space", SPACES)
@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_every_architecture_of_a_space(space: str, seed: int) -> None:
    found, side = load_space(space), SPACES[space]
    channels = 1 if space in ("digits", "ablation", "invbench") else 3
    architecture = found.sample(random.Random(seed))[1]
    torch.manual_seed(seed)
    x = torch.randn(4, channels, side, side).contiguous(memory_format=last)
    folded = check(worn(build(architecture, (channels, side, side), 10), x, seed), x)
    # What invnas builds has no batch norm that could stay, and no ReLU after an involution.
    assert count(folded, nn.BatchNorm2d, Involution2d, LocalAttention2d) == count(folded, FoldedInvolution2d)


@pytest.mark.parametrize("name", ["rednet26", "resnet26"])
def test_networks_of_the_zoo(name: str) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 64, 64).contiguous(memory_format=last)
    network = worn(build(zoo.by_name(name), (3, 64, 64), 10), x)
    folded = check(network, x)
    assert count(folded, nn.BatchNorm2d) == 0
    assert count(folded, FoldedInvolution2d) == count(network, Involution2d)


LAYERS: dict[str, Callable[[], nn.Module]] = {
    "one channel": lambda: Involution2d(1, 3, group_channels=1, reduction_ratio=1),
    "groups of one channel": lambda: Involution2d(4, 3, group_channels=1),
    "one group": lambda: Involution2d(4, 5, group_channels=4),
    "a larger window than the map": lambda: Involution2d(8, 9, group_channels=4),
    "stride 2": lambda: Involution2d(8, 3, 2, group_channels=4),
    "one linear map": lambda: Involution2d(8, 3, group_channels=4, reduction_ratio=None),
    "a patch": lambda: Involution2d(8, 3, group_channels=4, patch_size=3),
    "softmax": lambda: Involution2d(8, 3, 2, group_channels=4, softmax=True),
    "attention": lambda: LocalAttention2d(8, 3, group_channels=4),
    "attention, stride 2, products": lambda: LocalAttention2d(8, 5, 2, group_channels=2, softmax=False),
}


@pytest.mark.parametrize("side", [1, 2, 5])
@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS.keys())
def test_involution_with_what_may_follow_it(layer: Callable[[], nn.Module], side: int) -> None:
    torch.manual_seed(0)
    for after in ("", "norm", "relu", "norm relu", "norm relu6", "norm hardswish", "norm norm"):
        first = layer()
        made = {
            "norm": nn.BatchNorm2d(first.channels),
            "relu": nn.ReLU(),
            "relu6": nn.ReLU6(),
            "hardswish": nn.Hardswish(),
        }
        network = nn.Sequential(first, *(copy.deepcopy(made[name]) for name in after.split()))
        x = torch.randn(3, first.channels, side, side)
        folded = check(worn(network, x), x)
        assert count(folded, FoldedInvolution2d) == bool(after)
        assert count(folded, nn.BatchNorm2d, nn.ReLU, nn.ReLU6) == 0
        assert count(folded, nn.Hardswish) == ("hardswish" in after)


@pytest.mark.parametrize(
    "convolution",
    [
        nn.Conv2d(4, 6, 1, bias=False),
        nn.Conv2d(4, 6, 3, 2, 1),
        nn.Conv2d(4, 8, 3, padding=2, dilation=2, groups=2),
        nn.Conv2d(4, 4, 3, padding="same", groups=4, padding_mode="reflect"),
    ],
    ids=str,
)
@pytest.mark.parametrize("affine", [True, False])
def test_a_convolution_takes_the_batch_norms_after_it(convolution: nn.Conv2d, affine: bool) -> None:
    torch.manual_seed(0)
    norms = [nn.BatchNorm2d(convolution.out_channels, affine=affine) for _ in range(2)]
    network = nn.Sequential(copy.deepcopy(convolution), norms[0], nn.Identity(), norms[1], nn.ReLU())
    x = torch.randn(3, 4, 6, 5)
    folded = check(worn(network, x), x)
    assert count(folded, nn.BatchNorm2d) == 0
    assert [name for name, _ in folded.named_children()] == [name for name, _ in network.named_children()]


def stays(network: nn.Module, x: Tensor, norms: int) -> nn.Module:
    """Check that a network still has so many batch norms when it is folded, and computes the same."""
    folded = check(worn(network, x), x)
    assert count(folded, nn.BatchNorm2d) == norms
    return folded


X = torch.randn(3, 4, 5, 6, generator=torch.Generator().manual_seed(0))


def test_a_batch_norm_without_statistics_stays() -> None:
    stays(nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4, track_running_stats=False)), X, 1)
    layer = Involution2d(4, 3, group_channels=2)
    layer.norm = nn.BatchNorm2d(1, track_running_stats=False)
    stays(nn.Sequential(layer, nn.BatchNorm2d(4)), X, 1)


def test_a_batch_norm_that_trains_in_eval_mode_stays() -> None:
    class Training(nn.Sequential):
        def train(self, mode: bool = True) -> Training:
            return super().train()

    network = worn(nn.Sequential(Training(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4))), X)
    assert count(fold(network), nn.BatchNorm2d) == 1


def test_a_batch_norm_that_follows_no_convolution_stays() -> None:
    between = nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU(), nn.BatchNorm2d(4))
    stays(nn.Sequential(nn.BatchNorm2d(4), between, nn.BatchNorm2d(4)), X, 3)
    stays(nn.Sequential(Involution2d(4, 3, group_channels=2), nn.ReLU(), nn.BatchNorm2d(4)), X, 1)


def test_a_subclass_and_another_forward_stay() -> None:
    class Centred(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x - 1)

    class Backwards(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            return self[0](self[1](x))

    stays(nn.Sequential(Centred(4, 4, 1), nn.BatchNorm2d(4)), X, 1)
    stays(Backwards(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)), X, 1)
    changed = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4))
    changed[1].forward = changed[1].eval().forward
    assert type(fold(changed)[1]) is nn.BatchNorm2d


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize(
    "first", [nn.Conv2d(4, 4, 1), Involution2d(4, 3, group_channels=2)], ids=["conv", "involution"]
)
def test_a_layer_with_a_hook_stays(first: nn.Module, which: int) -> None:
    for hang in ("register_forward_hook", "register_forward_pre_hook"):
        network, seen = nn.Sequential(copy.deepcopy(first), nn.BatchNorm2d(4)), []
        network = worn(network, X)
        getattr(network[which], hang)(lambda *args, seen=seen: seen.append(args[0]))
        folded = fold(network)
        assert type(folded[1]) is nn.BatchNorm2d
        folded(X)
        assert seen == [folded[which]]


def test_parametrised_and_pruned_layers_stay() -> None:
    for made in (parametrizations.weight_norm(nn.Conv2d(4, 4, 1)), parametrizations.spectral_norm(nn.Conv2d(4, 4, 1))):
        network = worn(nn.Sequential(made, nn.BatchNorm2d(4)), X)
        folded = fold(network)
        assert count(folded, nn.BatchNorm2d) == 1
        assert torch.equal(folded(X), network(X))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        old = nn.Sequential(nn.utils.weight_norm(nn.Conv2d(4, 4, 1)), nn.BatchNorm2d(4)).eval()
    with torch.no_grad():
        old(X)
    folded = fold(old)
    assert count(folded, nn.BatchNorm2d) == 1
    assert torch.equal(folded(X), old(X))


def test_a_shared_convolution_is_folded_where_it_stands_alone() -> None:
    shared, norm = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
    body = nn.Sequential(shared, norm)
    stays(nn.Sequential(shared, body, nn.ReLU(), shared, nn.BatchNorm2d(4), body, norm), X, 1)


def test_a_variance_of_zero_is_folded_with_epsilon_and_stays_without() -> None:
    network = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)).eval()
    network[1].running_var.zero_()
    network[1].running_mean.normal_()
    assert count(check(network, X), nn.BatchNorm2d) == 0
    network[1].eps = 0.0
    folded = fold(network)
    assert count(folded, nn.BatchNorm2d) == 1
    torch.testing.assert_close(folded(X), network(X), rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_stays(dtype: torch.dtype) -> None:
    network = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), Involution2d(4, 3, group_channels=2), nn.ReLU())
    network = network.eval().to(dtype)
    folded = fold(network)
    assert count(folded, FoldedInvolution2d) == 0
    assert torch.equal(folded(X.to(dtype)), network(X.to(dtype)))


def test_mixed_precision_stays() -> None:
    network = nn.Sequential(nn.Conv2d(4, 4, 1).double(), nn.BatchNorm2d(4)).eval()
    assert count(fold(network), nn.BatchNorm2d) == 1


def test_channels_last_memory_is_kept() -> None:
    network = nn.Sequential(nn.Conv2d(4, 8, 3), nn.BatchNorm2d(8)).to(memory_format=last).eval()
    assert fold(network)[0].weight.is_contiguous(memory_format=last)
    assert fold(network)(X).is_contiguous(memory_format=last)


def test_no_parameter_of_the_copy_asks_for_gradients_and_all_of_the_network_still_do() -> None:
    network = nn.Sequential(Involution2d(4, 3, group_channels=2), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))
    folded = fold(network)
    assert not any(parameter.requires_grad for parameter in folded.parameters())
    assert not folded(X).requires_grad
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert network.training


def test_a_folded_network_moves_and_saves_like_any_other(tmp_path: object) -> None:
    network = nn.Sequential(Involution2d(4, 3, group_channels=2), nn.BatchNorm2d(4), nn.ReLU())
    folded = fold(worn(network, X))
    again = fold(nn.Sequential(Involution2d(4, 3, group_channels=2), nn.BatchNorm2d(4), nn.ReLU()))
    again.load_state_dict(folded.state_dict())
    assert torch.equal(again(X), folded(X))
    assert error(copy.deepcopy(folded).double()(X.double()), folded(X)) < 1e-5
    assert folded.to("meta")(X.to("meta")).shape == X.shape


def test_a_network_on_the_meta_device_is_folded_too() -> None:
    with torch.device("meta"):
        network = build(zoo.by_name("rednet26"), (3, 32, 32), 10)
    folded = fold(network)
    assert count(folded, nn.BatchNorm2d) == 0
    assert folded(torch.empty(2, 3, 32, 32, device="meta")).shape == (2, 10)


def test_a_network_that_cannot_be_copied_is_refused_in_one_sentence() -> None:
    network = nn.Sequential(nn.Conv2d(4, 4, 1))
    network.lock = (n for n in range(3))
    with pytest.raises(InvnasError, match="the network cannot be copied to be folded: TypeError"):
        fold(network)


def test_fold_is_public() -> None:
    assert invnas.fold is fold
    assert "low=0.0, high=inf" in repr(fold(nn.Sequential(Involution2d(4, 3, group_channels=2), nn.ReLU())))
    assert math.inf == fold(nn.Sequential(Involution2d(4, 3, group_channels=2), nn.ReLU()))[0].high
