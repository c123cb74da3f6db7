"""Convolution, sum and activation in one step, for inference: what `fold` puts in the place of layers.

In float32 on x86-64 the step is one call of oneDNN with weights laid out for it once. torch's own path takes 1 x 1
convolutions of small batches to a matrix product that is half as fast on some processors, lays weights out anew at
every call, and reads and writes the map once more for a sum and once for an activation. Everywhere else, and in
whatever is traced, compiled or exported, it is plain operators.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.autograd import forward_ad
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


class _LaidOut(NamedTuple):
    """Weights in another layout, and the weights themselves: what is held here is at an address of nobody else's."""

    values: Tensor
    weight: Tensor
    of: tuple[torch.Size | None, int, int]  # size of the map, address and version of the weights


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
        self._packed: _LaidOut | None = None
        self._matrix: _LaidOut | None = None

    def forward(self, x: Tensor, added: Tensor | None = None) -> Tensor:
        """Return activation(convolution of x + added)."""
        if at_once(x, self.weight) and self._in_one_call() and (_channels_last(x) or _channels_last(self.weight)):
            return self._in_onednn(x, added)
        y = super().forward(x)
        y = y if added is None else y + added
        return y if self.activation is None else ACTIVATIONS[self.activation][2](y, inplace=True)

    def _in_one_call(self) -> bool:
        return _onednn() and self.padding_mode == "zeros" and not isinstance(self.padding, str)

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
        weight, packed = self.weight, self._packed
        if weight.is_inference():
            return weight  # nobody counts what is written to it: oneDNN lays it out at each call
        if packed is None or packed.of != (x.shape, weight.data_ptr(), weight._version):
            numbers = (self.padding, self.stride, self.dilation, self.groups)
            values = torch.ops.mkldnn._reorder_convolution_weight(weight.detach(), *numbers, list(x.shape))
            self._packed = packed = _laid_out(weight, x.shape, values)
        return packed.values

    def matrix(self) -> tuple[Tensor, Tensor]:
        """Return the weights of a 1 x 1 convolution as (C, C'), laid out once, and the bias."""
        assert self.bias is not None
        weight, matrix = self.weight, self._matrix
        if weight.is_inference():
            return _transposed(weight), self.bias
        if matrix is None or matrix.of != (None, weight.data_ptr(), weight._version):
            self._matrix = matrix = _laid_out(weight, None, _transposed(weight))
        return matrix.values, self.bias

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_packed": None, "_matrix": None}  # neither copied nor saved

    def extra_repr(self) -> str:
        """Return the numbers of the layer."""
        after = f", activation={self.activation.__name__}" if self.activation else ""
        return super().extra_repr() + after


def _laid_out(weight: Tensor, size: torch.Size | None, values: Tensor) -> _LaidOut:
    return _LaidOut(values, weight.detach(), (size, weight.data_ptr(), weight._version))


def _transposed(weight: Tensor) -> Tensor:
    return weight.detach().flatten(1).t().contiguous()


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
        and torch._C._functorch.peek_interpreter_stack() is None  # torch.func: vmap, jvp
        and forward_ad._current_level < 0  # tangents pass through plain operators alone
        and not _has_any_global_hook()
        and not torch.is_autocast_enabled("cpu")
        and not (torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad))
    )


def _channels_last(tensor: Tensor) -> bool:
    """Whether torch sees a tensor of four sides as channels_last, and answers so: by its strides.

    oneDNN answers in channels_last whatever it is given, and who then writes `x.view(len(x), -1)` is refused.
    """
    batch, channel, _, column = tensor.stride()
    one_pixel = tensor.shape[2] * tensor.shape[3] == 1
    return 0 < channel < batch and (channel < column if one_pixel else channel <= column)


def _onednn() -> bool:
    return bool(_X86 and torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled)
