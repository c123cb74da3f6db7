"""Convolution, sum and activation in one step, for inference: what `fold` puts in the place of layers.

In float32 on x86-64 the step is one call of oneDNN with weights laid out for it once. torch's own path takes 1 x 1
convolutions of small batches to a matrix product that is half as fast on some processors, lays weights out anew at
every call, and reads and writes the map once more for a sum and once for an activation. Everywhere else, and in
whatever is traced, compiled or exported, it is plain operators.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.modules.module import _has_any_global_hook

Tensor = torch.Tensor

#: What may follow a convolution, by the module that says so: its name for oneDNN, with its numbers, and in torch.
ACTIVATIONS: dict[type[nn.Module], tuple[str, tuple[float, ...], Callable[..., Tensor]]] = {
    nn.ReLU: ("relu", (), F.relu),
    nn.ReLU6: ("hardtanh", (0.0, 6.0), F.relu6),
    nn.Hardswish: ("hardswish", (), F.hardswish),
}

_X86 = platform.machine() in ("x86_64", "AMD64")


class FusedConv2d(nn.Conv2d):
    """A convolution, plus a map where one is given, then an activation, without gradients.

    Args:
        layer: The convolution whose weights and numbers it shares.
        activation: A key of `ACTIVATIONS`, or None.

    Shapes:
        (B, C, H, W), and (B, C', H', W') for what is added, -> (B, C', H', W').
    """

    def __init__(self, layer: nn.Conv2d, activation: type[nn.Module] | None = None) -> None:
        nn.Module.__init__(self)
        self.__dict__.update({name: value for name, value in vars(layer).items() if name not in vars(self)})
        self._parameters.update(layer._parameters)
        self.training, self.activation = layer.training, activation
        self._packed: tuple[Any, Tensor] | None = None
        self._matrix: tuple[Any, Tensor] | None = None

    def forward(self, x: Tensor, added: Tensor | None = None) -> Tensor:
        """Return activation(convolution of x + added)."""
        if at_once(x, self.weight) and _onednn() and self.padding_mode == "zeros" and not isinstance(self.padding, str):
            return self._in_onednn(x, added)
        y = super().forward(x)
        y = y if added is None else y + added
        return y if self.activation is None else ACTIVATIONS[self.activation][2](y, inplace=True)

    def _in_onednn(self, x: Tensor, added: Tensor | None) -> Tensor:
        ops, numbers = torch.ops.mkldnn, (self.padding, self.stride, self.dilation, self.groups)
        if not self.weight.is_contiguous() and self.weight.is_contiguous(memory_format=torch.channels_last):
            x = x.contiguous(memory_format=torch.channels_last)  # as torch does for such weights
        name, scalars, function = ACTIVATIONS[self.activation] if self.activation else ("none", (), None)
        weight = self._laid_out(x)
        if added is None:
            y: Tensor = ops._convolution_pointwise(x, weight, self.bias, *numbers, name, scalars, "")
            return y
        relu = "relu" if name == "relu" else None  # all that oneDNN's binding takes after a sum
        y = ops._convolution_pointwise.binary(x, added, weight, self.bias, *numbers, "add", 1.0, relu, [], "")
        return y if relu or function is None else function(y, inplace=True)

    def _laid_out(self, x: Tensor) -> Tensor:
        """Return the weights as oneDNN wants them for maps of this size."""
        weight = self.weight
        key = (x.shape, weight.data_ptr(), None if weight.is_inference() else weight._version)
        if self._packed is None or self._packed[0] != key:
            numbers = (self.padding, self.stride, self.dilation, self.groups)
            self._packed = key, torch.ops.mkldnn._reorder_convolution_weight(weight.detach(), *numbers, list(x.shape))
        return self._packed[1]

    def matrix(self) -> tuple[Tensor, Tensor]:
        """Return the weights of a 1 x 1 convolution as (C, C'), laid out once, and the bias."""
        assert self.bias is not None
        weight = self.weight
        key = (weight.data_ptr(), None if weight.is_inference() else weight._version)
        if self._matrix is None or self._matrix[0] != key:
            self._matrix = key, weight.detach().flatten(1).t().contiguous()
        return self._matrix[1], self.bias

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_packed": None, "_matrix": None}  # neither copied nor saved

    def extra_repr(self) -> str:
        """Return the numbers of the layer."""
        after = f", activation={self.activation.__name__}" if self.activation else ""
        return super().extra_repr() + after


def at_once(x: Tensor, weight: Tensor, dtypes: tuple[torch.dtype, ...] = (torch.float32,)) -> bool:
    """Whether several steps may be one: real numbers in memory, nobody who watches single steps, and no gradients."""
    return bool(
        not torch.compiler.is_compiling()
        and not torch._C._is_tracing()
        and type(x) is Tensor
        and x.device.type == weight.device.type == "cpu"
        and x.dtype == weight.dtype
        and x.dtype in dtypes
        and x.dim() == 4
        and x.numel() > 0
        and not torch._C._len_torch_dispatch_stack()
        and not _has_any_global_hook()
        and not torch.is_autocast_enabled("cpu")
        and not (torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad))
    )


def _onednn() -> bool:
    return bool(_X86 and torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled)
