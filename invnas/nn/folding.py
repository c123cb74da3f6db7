"""A trained network in its form for inference: batch norm in the layer before it, after involution in its operator.

Only what stands in a plain nn.Sequential is known to follow each other, and only layers that are exactly what they say
are changed: one with a hook, a parametrisation or a forward of its own stays as it is. A layer is replaced where it
stands, never changed, for it may also stand elsewhere, before another batch norm or none. What is folded away leaves an
nn.Identity, so that names and places within a Sequential stay.
"""

from __future__ import annotations

import copy
import math
from collections import OrderedDict
from typing import Any, NamedTuple

import torch
from torch import nn

from invnas.errors import InvnasError
from invnas.nn.blocks import BuiltBlock
from invnas.nn.folded_involution import FoldedInvolution2d
from invnas.nn.fused import ACTIVATIONS, FusedConv2d
from invnas.nn.involution import Involution2d, LocalAttention2d
from invnas.nn.strided import plain

Tensor = torch.Tensor

_PRECISE = (torch.float32, torch.float64)
_LIMITS = {nn.ReLU: (0.0, math.inf), nn.ReLU6: (0.0, 6.0)}
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def fold(network: nn.Module) -> nn.Module:
    """Return a copy of a trained network for inference: the same function in fewer, larger steps.

    Batch norm goes into the convolution before it, also within the generator of `Involution2d`; batch norm, ReLU and
    ReLU6 after `Involution2d` and `LocalAttention2d` go into their operator. Everything else stays: batch norm without
    running statistics, layers with hooks or parametrisations, layers in half precision, and what does not stand in a
    plain nn.Sequential. A convolution also takes the activation after it and the sum at the end of a block. Numbers are
    folded in float64. The copy is in eval mode, its parameters ask for no gradients,
    and folding it again changes nothing.

    Args:
        network: Any module, on any device; it is left as it is.

    Returns:
        A module of the same inputs and outputs. Of float32 its results differ by less than 1e-5 of the largest.

    Raises:
        InvnasError: If the network cannot be copied.

    >>> import invnas
    >>> network = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU())
    >>> invnas.fold(network)
    Sequential(
      (0): FusedConv2d(3, 8, kernel_size=(3, 3), stride=(1, 1), activation=ReLU)
      (1): Identity()
      (2): Identity()
    )
    """
    with torch.inference_mode(False), torch.no_grad():  # torch counts no changes of what is made in inference mode
        try:
            folded = copy.deepcopy(network)
        except Exception as error:  # a user's own module may hold what cannot be copied
            raise InvnasError(f"the network cannot be copied to be folded: {type(error).__name__}: {error}") from error
        folded = folded.eval().requires_grad_(False)
        plain(folded)
        for module in list(folded.modules()):
            if type(module).forward is nn.Sequential.forward and "forward" not in vars(module):
                _fold_sequence(module)  # type: ignore[arg-type]
            elif type(module) is Involution2d:
                _fold_generator(module)
        _fuse(folded)
    return folded


class FoldedBlock(nn.Module):
    """A block whose last convolution takes the sum with the shortcut and the ReLU, for inference.

    Args:
        block: What is folded.
        leave: The last convolution of its path.

    Shapes:
        Those of the block.
    """

    def __init__(self, block: BuiltBlock, leave: nn.Conv2d) -> None:
        super().__init__()
        self.path = nn.Sequential(OrderedDict((role, getattr(block, role)) for role in block.path[:-1]))
        self.leave = FusedConv2d(leave, nn.ReLU if block.rectified else None)
        self.shortcut = block.shortcut
        self.train(block.training)

    def forward(self, x: Tensor) -> Tensor:
        """Return f(x) plus the shortcut of x, after a ReLU where the block ends in one."""
        assert self.shortcut is not None
        y: Tensor = self.leave(self.path(x), self.shortcut(x))
        return y


class _Affine(NamedTuple):
    """What a batch norm with fixed statistics is: x * scale + bias for each channel, in float64."""

    scale: Tensor
    bias: Tensor


def _fold_sequence(sequence: nn.Sequential) -> None:
    place: str | None = None  # of the last layer that is not folded away
    for name, module in list(sequence._modules.items()):  # a layer that stands twice is here twice
        assert module is not None
        if place is not None and (merged := _merged(getattr(sequence, place), module)):
            setattr(sequence, place, merged)
            setattr(sequence, name, nn.Identity())
        elif not _is(module, nn.Identity):
            place = name


def _fold_generator(layer: Involution2d) -> None:
    steps = ("span",) if layer.linear else ("reduce", "norm", "relu", "span")
    sequence = nn.Sequential(OrderedDict((name, getattr(layer, name)) for name in steps))
    _fold_sequence(sequence)
    for name, module in sequence.named_children():
        setattr(layer, name, module)


def _fuse(network: nn.Module) -> None:
    """Replace what `fused` does in one step: blocks that end in a convolution, then the convolutions that are left."""
    made: dict[nn.Module, nn.Module] = {}  # a layer that stands twice is replaced by one
    for module in list(network.modules()):
        for name, child in module._modules.items():
            if child is not None and (last := _last_convolution(child)):
                module._modules[name] = made.setdefault(child, FoldedBlock(child, last))  # type: ignore[arg-type]
    for module in list(network.modules()):
        for name, child in module._modules.items():
            if child is not None and _is(child, nn.Conv2d):
                module._modules[name] = made.setdefault(child, FusedConv2d(child))  # type: ignore[arg-type]


def _last_convolution(block: nn.Module) -> nn.Conv2d | None:
    """Return the convolution that a block adds its shortcut to, where nothing else stands between."""
    if not isinstance(block, BuiltBlock) or not _is(block, BuiltBlock) or block.shortcut is None:
        return None
    leave = getattr(block, block.path[-1])
    first, *others = leave if _is(leave, nn.Sequential) else [leave]
    alone = _is(first, nn.Conv2d) and all(_is(other, nn.Identity) for other in others)
    return first if alone else None


def _merged(first: nn.Module, second: nn.Module) -> nn.Module | None:
    """Return one layer that does what two do, one after the other, or None where there is none."""
    if not _of_one_kind(first, second):
        return None
    if _is(second, *ACTIVATIONS):
        if _is(first, nn.Conv2d):
            return FusedConv2d(first, type(second))  # type: ignore[arg-type]
        limits = _LIMITS.get(type(second))
        return _involution(first, None, *limits) if limits else None
    affine = _affine(second) if _is(second, nn.BatchNorm2d) else None  # type: ignore[arg-type]
    if affine is None:
        return None
    return _convolution(first, affine) if _is(first, nn.Conv2d) else _involution(first, affine)  # type: ignore[arg-type]


def _is(module: nn.Module, *kinds: type) -> bool:
    """Whether a module is exactly of a kind: nothing was hung on it, and no parametrisation made it a subclass."""
    return type(module) in kinds and "forward" not in vars(module) and not any(vars(module)[name] for name in _HOOKS)


def _of_one_kind(*modules: nn.Module) -> bool:
    """Whether all numbers of some modules are of one precise dtype, on one device."""
    tensors = (tensor for module in modules for tensor in (*module.parameters(), *module.buffers()))
    kinds = {(tensor.dtype, tensor.device) for tensor in tensors if tensor.dtype != torch.int64}  # a count of batches
    return len(kinds) == 1 and next(iter(kinds))[0] in _PRECISE


def _affine(norm: nn.BatchNorm2d) -> _Affine | None:
    """Return what a batch norm multiplies by and adds, or None where its images decide on that."""
    if norm.training or norm.running_mean is None or norm.running_var is None:
        return None
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight.double()
    bias = -norm.running_mean.double() * scale
    return _Affine(scale, bias if norm.bias is None else bias + norm.bias.double())


def _convolution(layer: nn.Conv2d, affine: _Affine) -> nn.Conv2d | None:
    bias = affine.bias if layer.bias is None else affine.bias + layer.bias.double() * affine.scale
    found = _rounded(layer.weight.dtype, layer.weight.double() * affine.scale.view(-1, 1, 1, 1), bias)
    if found is None:
        return None
    merged = copy.deepcopy(layer)
    merged.weight, merged.bias = (nn.Parameter(values, requires_grad=False) for values in found)
    return merged


def _involution(
    layer: Any, affine: _Affine | None, low: float = -math.inf, high: float = math.inf
) -> FoldedInvolution2d | None:
    """Return an involution with an affine map or limits after it, or None where it is none or has limits already."""
    scale, bias = affine or (1.0, 0.0)
    if _is(layer, FoldedInvolution2d) and (layer.low, layer.high) == (-math.inf, math.inf):
        values, layer = (layer.scale.double() * scale, layer.bias.double() * scale + bias), layer.layer
    elif _is(layer, Involution2d, LocalAttention2d):
        one = next(layer.parameters()).new_ones(layer.channels, dtype=torch.float64)
        values = one * scale, one * bias
    else:
        return None
    found = _rounded(next(layer.parameters()).dtype, *values)
    return FoldedInvolution2d(layer, found[0], found[1], low, high) if found else None


def _rounded(dtype: torch.dtype, *values: Tensor) -> list[Tensor] | None:
    """Return numbers in a dtype, or None where one of them is not finite in it: a variance of zero without epsilon."""
    found = [value.to(dtype) for value in values]
    return found if all(value.is_meta or bool(value.isfinite().all()) for value in found) else None
