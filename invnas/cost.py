"""What a network costs, exactly and without running it: counted on the meta device, operator by operator.

A part that was priced once (same value, same channels, same map) is never priced again, so a fresh architecture made
of known blocks costs microseconds. Convolutions, matrix products and involution have formulas (those of
torch.utils.flop_counter; anyone may register one for an operator of their own); element-wise operators, norms,
pooling and views count zero multiply-adds by convention; any other operator is refused by name, never counted as
zero. The convention "published" counts as the involution paper does.
"""

from __future__ import annotations

import math
import statistics
import time
import weakref
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from invnas.architecture import OPERATORS, Architecture, Bottleneck, HybridNet
from invnas.errors import BadInput, InvnasError, UnpricedOperator, nearest
from invnas.measurement import CONVENTIONS, Cost, Segment, total
from invnas.nn.blocks import Piece, operator, pieces
from invnas.nn.network import Part, Shape, build, parts

_FREE = frozenset(
    """
    abs adaptive_avg_pool2d _adaptive_avg_pool2d add add_ addcdiv addcmul alias amax amin arange as_strided
    avg_pool2d bernoulli_ bitwise_not cat ceil channel_shuffle chunk clamp_ clamp clamp_min clamp_min_ clone
    constant_pad_nd contiguous copy_ cos detach_ detach div_ div elu empty empty_like eq erf exp expand fill_
    flatten flip floor full full_like ge gelu glu gt hardsigmoid_ hardsigmoid hardswish_ hardswish hardtanh_
    hardtanh index_select le leaky_relu_ leaky_relu lift_fresh log log2 _log_softmax logical_not lt max max_pool2d
    max_pool2d_with_indices maximum mean min minimum mish mul mul_ native_batch_norm _native_batch_norm_legit
    _native_batch_norm_legit_no_training native_channel_shuffle native_dropout native_group_norm native_layer_norm
    ne neg new_empty new_zeros ones ones_like permute pixel_shuffle pixel_unshuffle pow _prelu_kernel reciprocal
    reflection_pad2d relu_ relu repeat replication_pad2d reshape roll rsqrt rsub _safe_softmax scalar_tensor select
    sigmoid sigmoid_ sign silu silu_ sin slice _softmax softplus split split_with_sizes sqrt squeeze stack std sub_
    sub sum t tanh_ tanh _to_copy transpose unbind unfold _unsafe_view unsqueeze_ unsqueeze upsample_bilinear2d
    upsample_nearest2d var var_mean view where zero_ zeros zeros_like
    """.split()
)


_NORMS = frozenset({"native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training"})

# Operators that the convention "published" counts, per element that enters; a global average pool runs as `mean`.
_PUBLISHED = {
    **dict.fromkeys(_NORMS, 2),
    **dict.fromkeys(("relu", "relu_"), 1),
    **dict.fromkeys(("avg_pool2d", "mean", "adaptive_avg_pool2d", "_adaptive_avg_pool2d"), 1),
    **dict.fromkeys(("max_pool2d", "max_pool2d_with_indices"), 1),
}


class _Skeleton(TorchDispatchMode):
    """Skips what writes in place: initial values mean nothing on the meta device, and cost half the time there."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        in_place = func.overloadpacket.__name__.endswith("_") and isinstance(args[0], torch.Tensor)
        return args[0] if in_place else func(*args, **(kwargs or {}))


class _Meter(TorchDispatchMode):
    """Counts operations by a convention and follows which feature maps are alive."""

    def __init__(self, module: nn.Module, convention: str) -> None:
        super().__init__()
        self._published = convention == "published"
        self.macs = 0
        self.peak = 0
        self._alive = 0
        # A view of a weight is a weight: only feature maps are counted.
        weights = (*module.parameters(), *module.buffers())
        self._known = {weight.untyped_storage()._cdata for weight in weights}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        packet = func.overloadpacket
        # torch computes the shapes of a batch norm on the meta device through ten Python operators.
        is_norm = func.namespace == "aten" and packet.__name__ in _NORMS
        result = (torch.empty_like(args[0]), None, None) if is_norm else func(*args, **(kwargs or {}))
        if packet in flop_registry:
            self.macs += flop_registry[packet](*args, **(kwargs or {}), out_val=result) // 2
        elif func.namespace not in ("aten", "prims") or packet.__name__ not in _FREE:
            raise UnpricedOperator(
                f"nobody stated the multiply-adds of the operator `{packet}`; register a formula with "
                "torch.utils.flop_counter.register_flop_formula"
            )
        if self._published:
            self.macs += _beyond_macs(packet, args, result)
        for tensor in result if isinstance(result, tuple | list) else (result,):
            if isinstance(tensor, torch.Tensor):
                self.hold(tensor)
        return result

    def hold(self, tensor: torch.Tensor) -> None:
        """Count the memory of a tensor until nobody holds it."""
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._known:
            return
        self._known.add(key)
        self._alive += storage.nbytes()
        self.peak = max(self.peak, self._alive)
        weakref.finalize(storage, self._release, key, storage.nbytes())

    def _release(self, key: int, nbytes: int) -> None:
        self._known.discard(key)
        self._alive -= nbytes


def _beyond_macs(packet: Any, args: Any, result: Any) -> int:
    """Return what the convention "published" counts of an operator besides its multiply-adds."""
    if packet is torch.ops.aten.convolution:
        return 0 if args[2] is None else int(result.numel())
    per_element = _PUBLISHED.get(packet.__name__, 0)
    return per_element * int(args[0].numel()) if per_element else 0


def _price(module: nn.Module, shape: Shape, convention: str = "macs") -> tuple[Cost, tuple[int, ...]]:
    """Return the cost of a module on the meta device for one map, and the shape that leaves."""
    parameters = sum(parameter.numel() for parameter in module.parameters())
    meter = _Meter(module, convention)
    with torch.no_grad(), meter:
        image = torch.empty((1, *shape), device="meta")
        output = module(image)
    if not isinstance(output, torch.Tensor):
        raise BadInput(f"{type(module).__name__} must return one tensor, but returned {type(output).__name__}")
    return Cost(meter.macs, parameters, meter.peak), tuple(output.shape[1:])


@lru_cache(maxsize=100_000)
def _price_part(part: Part | Piece, shape: Shape, convention: str = "macs") -> tuple[Cost, tuple[int, ...]]:
    # The pieces lack the last ReLU, which has no multiply-adds but is counted by the other convention.
    if isinstance(part, Part) and isinstance(part.value, Bottleneck) and convention == "macs":
        return _price_bottleneck(part, shape)
    name = type(part.value).__name__
    if isinstance(part, Piece) and part.value is not None and not isinstance(part.value, OPERATORS):
        _check_own(part, shape, name)
    cost, out = _price_built(part.build, shape, name, convention)
    if convention == "published" and isinstance(part, Part) and part.role == "head":
        cost = replace(cost, macs=math.prod(shape))  # the pooling, without the linear layer
    if out[:1] != (part.out_channels,):
        raise BadInput(
            f"{name} must turn {part.in_channels} channels into {part.out_channels}, but makes the shape {out}"
        )
    return cost, out


def _check_own(part: Piece, shape: Shape, name: str) -> None:
    # Alone, so that the sentence names the operator and not the norm or the sum after it.
    _, out = _price_built(lambda: operator(part.value, part.in_channels, part.stride), shape, name)
    wanted = (shape[0], *(math.ceil(side / part.stride) for side in shape[1:]))
    if out != wanted:
        raise BadInput(f"{name} with stride {part.stride} must turn {shape} into {wanted}, but makes the shape {out}")


def _price_built(
    make: Callable[[], nn.Module], shape: Shape, name: str, convention: str = "macs"
) -> tuple[Cost, tuple[int, ...]]:
    try:
        with torch.device("meta"), _Skeleton():
            module = make().eval()
        return _price(module, shape, convention)
    except InvnasError:
        raise
    except Exception as error:  # most often from a user's own module
        reason = str(error).partition("\n")[0]
        raise BadInput(f"{name} cannot run on an input of shape {shape}: {type(error).__name__}: {reason}") from error


def _price_bottleneck(part: Part, shape: Shape) -> tuple[Cost, tuple[int, ...]]:
    # Piece by piece: a space has thousands of blocks, but a few hundred pieces.
    main, shortcut = pieces(part.value, part.in_channels, part.out_channels, part.stride)
    entering = _bytes(shape)
    macs = parameters = peak = 0
    here: Any = shape
    for piece in main:
        price, after = _price_part(piece, here)
        # The block's input waits for the shortcut; the first piece has counted it already.
        waiting = 0 if piece is main[0] else entering
        macs, parameters, peak = (
            macs + price.macs,
            parameters + price.parameters,
            max(peak, waiting + price.activation_bytes),
        )
        here = after
    if shortcut is not None:
        price, _ = _price_part(shortcut, shape)
        macs, parameters, peak = (
            macs + price.macs,
            parameters + price.parameters,
            max(peak, _bytes(here) + price.activation_bytes),
        )
    # The sum never holds more than the last step did: the shortcut's norm, or else the main path's last 1 x 1.
    return Cost(macs, parameters, peak), here


def _bytes(shape: tuple[int, ...]) -> int:
    return 4 * math.prod(shape)


@lru_cache(maxsize=10_000)
def _price_whole(architecture: Architecture, input_shape: Shape, classes: int) -> Cost:
    name = type(architecture.network).__name__
    cost, out = _price_built(lambda: build(architecture, input_shape, classes), input_shape, name)
    if out != (classes,):
        raise BadInput(f"the network must return one score for each of {classes} classes, but returns the shape {out}")
    return cost


def segments(
    architecture: Architecture, input_shape: Shape, classes: int, convention: str = "macs"
) -> tuple[Segment, ...]:
    """Return what the stem, each stage and the head cost; arguments and errors are those of `cost`."""
    if convention not in CONVENTIONS:
        raise BadInput(f"unknown convention '{convention}'; {nearest(convention, CONVENTIONS)}")
    architecture.check()
    if not isinstance(architecture.network, HybridNet):
        if convention != "macs":
            raise BadInput(
                f"the convention '{convention}' leaves out the final linear layer of a HybridNet, but the network is "
                f"{type(architecture.network).__name__}; nearest: 'macs'"
            )
        return (Segment("network", _price_whole(architecture, input_shape, classes), (classes,)),)
    groups = parts(architecture.network, input_shape[0], classes)
    names = ["stem", *(f"stage {s + 1}" for s in range(len(groups) - 2)), "head"]
    shape: Any = tuple(input_shape)
    found = []
    for name, group in zip(names, groups, strict=True):
        prices = []
        for part in group:
            price, shape = _price_part(part, shape, convention)
            prices.append(price)
        found.append(Segment(name, total(prices), shape))
    return tuple(found)


def cost(architecture: Architecture, input_shape: Shape, classes: int, convention: str = "macs") -> Cost:
    """Return multiply-adds, parameters and peak activation bytes of an architecture, exact, for one image.

    Args:
        architecture: What to price; nothing is allocated or run.
        input_shape: (channels, height, width) of one image.
        classes: Number of classes.
        convention: What `macs` counts, a key of `CONVENTIONS`.

    Raises:
        InvalidArchitecture: If it breaks a rule.
        UnpricedOperator: If it runs an operator without a formula, named in the text.
        BadInput: If a user's own module returns a wrong shape, or the convention is not for this network.
    """
    return total([segment.cost for segment in segments(architecture, input_shape, classes, convention)])


def pricer(input_shape: Shape, classes: int) -> Callable[[Architecture], Cost]:
    """Return `cost` for one kind of image, as a search wants it."""
    return lambda architecture: cost(architecture, input_shape, classes)


def latency_ms(network: nn.Module, input_shape: Shape, *, runs: int = 20, device: str = "cpu") -> float:
    """Return the median milliseconds of a forward pass of one image in inference, after three warm-up runs."""
    network = network.eval().to(device)
    image = torch.randn(1, *input_shape, device=device).contiguous(memory_format=torch.channels_last)
    times = []
    with torch.inference_mode():
        for _ in range(runs + 3):
            if device != "cpu":
                torch.cuda.synchronize()
            start = time.perf_counter()
            network(image)
            if device != "cpu":
                torch.cuda.synchronize()
            times.append((time.perf_counter() - start) * 1000)
    return statistics.median(times[3:])
