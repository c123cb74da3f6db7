"""Involution in a folded network, with what follows it, and on a CPU with what makes its kernels."""

from __future__ import annotations

import torch
from torch import nn

import invnas.ops.cpu as cpu
from invnas.nn.fused import FusedConv2d, at_once
from invnas.nn.involution import Involution2d, LocalAttention2d
from invnas.ops.dispatch import forced
from invnas.ops.folded import involution2d_folded
from invnas.ops.layout import dense_map, empty_map

Tensor = torch.Tensor

_PRECISE = (torch.float32, torch.float64)


class FoldedInvolution2d(nn.Module):
    """Involution or local attention with the batch norm and the ReLU after it, for inference.

    Args:
        layer: What makes the operands.
        scale: (C,), what each channel of the result is multiplied by.
        bias: (C,), what is then added.
        low: Least value of the result, -inf for none.
        high: Largest value of the result, inf for none.

    Shapes:
        (B, C, H, W) -> (B, C, ceil(H / stride), ceil(W / stride)).
    """

    scale: Tensor
    bias: Tensor

    def __init__(
        self, layer: Involution2d | LocalAttention2d, scale: Tensor, bias: Tensor, low: float, high: float
    ) -> None:
        super().__init__()
        self.layer, self.low, self.high = layer, low, high
        self.register_buffer("scale", scale)
        self.register_buffer("bias", bias)
        self.train(layer.training)

    def forward(self, x: Tensor) -> Tensor:
        """Return clamp(involution * scale + bias, low, high)."""
        if type(self.layer) is Involution2d and at_once(x, self.scale, _PRECISE) and (steps := self._steps()):
            return self._at_once(x, *steps)
        kernel_size, stride, dilation, padding = self.layer.geometry
        return involution2d_folded(
            *self.layer.operands(x),
            self.scale,
            self.bias,
            self.low,
            self.high,
            kernel_size=kernel_size,
            stride=stride,
            dilation=dilation,
            padding=padding,
        )

    def _steps(self) -> tuple[FusedConv2d | None, FusedConv2d] | None:
        """Return the linear layers that the kernels are made by, or None where they are made in another way.

        Looked at in each call: a hook may have been hung on a layer since the last one.
        """
        layer = self.layer
        assert isinstance(layer, Involution2d)
        if forced == "shift" or cpu.why_not() or layer.softmax or not _pointwise(layer.span, None):
            return None
        if layer.linear:
            return None, layer.span  # type: ignore[return-value]
        folded_away = type(layer.norm) is type(layer.relu) is nn.Identity
        return (layer.reduce, layer.span) if folded_away and _pointwise(layer.reduce, nn.ReLU) else None  # type: ignore[return-value]

    def _at_once(self, x: Tensor, reduce: FusedConv2d | None, span: FusedConv2d) -> Tensor:
        """Return the same where the kernels are made within the loops that use them."""
        assert isinstance(self.layer, Involution2d)
        dense = dense_map(x)
        averages = self.layer.averages(dense)
        output = empty_map(x, *averages.shape[2:])
        layers = (None if reduce is None else cpu.Linear(*reduce.matrix()), cpu.Linear(*span.matrix()))
        cpu.spanned(dense, averages, layers, (self.scale, self.bias, self.low, self.high), output, self.layer.geometry)
        return output

    def extra_repr(self) -> str:
        """Return what the result is kept between."""
        return f"low={self.low}, high={self.high}"


def _pointwise(layer: nn.Module, activation: type[nn.Module] | None) -> bool:
    """Whether a layer is a linear map of each pixel and this activation, and nobody waits for its result."""
    return (
        type(layer) is FusedConv2d
        and layer.activation is activation
        and layer.kernel_size == (1, 1)
        and layer.bias is not None
        and not (layer._forward_hooks or layer._forward_pre_hooks)
    )
