"""What one module costs on the meta device, operator by operator.

Convolutions, matrix products and involution have formulas (those of torch.utils.flop_counter; anyone may register one
for an operator of their own). Element-wise operators, norms, pooling and views count zero multiply-adds by convention,
but products that end in a sum count, whatever they are written with (`products.py` says the rule). Any other operator
is refused by name, never counted as zero.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry
from torch.utils.hooks import RemovableHandle

from invnas.errors import InvalidArchitecture, UnpricedOperator
from invnas.nn.layers import Doubling
from invnas.products import Products, memory

_FREE = frozenset(
    """
    abs adaptive_avg_pool2d _adaptive_avg_pool2d add add_ addcdiv addcdiv_ addcmul addcmul_ alias amax amin arange
    as_strided avg_pool2d bernoulli_ bitwise_not cat ceil channel_shuffle chunk clamp_ clamp clamp_min clamp_min_
    clone col2im constant_pad_nd contiguous copy_ cos detach_ detach div_ div elu empty empty_like eq erf exp expand
    fill_ flatten flip floor full full_like ge gelu glu gather gt hardsigmoid_ hardsigmoid hardswish_ hardswish
    hardtanh_ hardtanh im2col index index_select le leaky_relu_ leaky_relu lerp lift_fresh linalg_vector_norm log log2
    _log_softmax logical_not lt masked_fill masked_fill_ max max_pool2d max_pool2d_with_indices maximum mean min
    minimum mish mul mul_ native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training
    native_channel_shuffle native_dropout native_group_norm native_layer_norm ne neg neg_ norm new_empty new_zeros
    ones ones_like permute pixel_shuffle pixel_unshuffle pow pow_ _prelu_kernel reciprocal reflection_pad2d relu_ relu
    repeat replication_pad2d reshape roll rsqrt rsub _safe_softmax scalar_tensor select sigmoid sigmoid_ sign silu
    silu_ sin slice _softmax softplus split unsafe_split split_with_sizes sqrt squeeze stack std sub_ sub sum t tanh_
    tanh _to_copy transpose unbind unfold _unsafe_view unsqueeze_ unsqueeze upsample_bilinear2d upsample_nearest2d var
    var_mean view where zero_ zeros zeros_like
    """.split()
)

_NORMS = frozenset({"native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training"})

# Multiply-adds of matrix products that torch.utils.flop_counter leaves out, from the arguments.
_FORMULAS: Mapping[Any, Callable[..., int]] = {
    torch.ops.aten.dot: lambda a, b: int(a.numel()),
    torch.ops.aten.vdot: lambda a, b: int(a.numel()),
    torch.ops.aten.mv: lambda matrix, vector: int(matrix.numel()),
    torch.ops.aten.addmv: lambda bias, matrix, vector: int(matrix.numel()),
    torch.ops.aten.addbmm: lambda bias, a, b: int(a.numel() * b.shape[2]),
}

# Norms that torch writes with operators whose products would count.
_WRITTEN_NORMS = frozenset({torch.rms_norm, torch.nn.functional.rms_norm})

# Operators that the published conventions count, per element that enters; a global average pool runs as `mean`.
_PUBLISHED = {
    **dict.fromkeys(_NORMS, 2),
    **dict.fromkeys(("relu", "relu_"), 1),
    **dict.fromkeys(("avg_pool2d", "mean", "adaptive_avg_pool2d", "_adaptive_avg_pool2d"), 1),
    **dict.fromkeys(("max_pool2d", "max_pool2d_with_indices"), 1),
}

# The linear layer of a classifier is left out by the published conventions.
_LINEAR = frozenset({"addmm", "mm"})


class Price(NamedTuple):
    """What one module costs for one image.

    Attributes:
        macs: Multiply-adds, as the convention counts them.
        parameters: Trainable numbers.
        peak: Bytes of feature maps alive at once, with those that enter, float32.
        shape: What leaves, without the batch; of each map, where several leave.
    """

    macs: int
    parameters: int
    peak: int
    shape: Any


def metered(
    module: nn.Module,
    *shapes: Sequence[int],
    convention: str = "macs",
    head: bool = False,
    own: bool = True,
    several: bool = False,
    **given: Any,
) -> Price:
    """Return the price of a module on the meta device, called with one map of each shape.

    Args:
        module: On the meta device, in eval mode.
        shapes: (channels, height, width) of each map that enters.
        convention: What `macs` counts, a key of `CONVENTIONS`.
        head: Whether it is the head of a classifier.
        own: Whether a user's code may be in it; less has to be watched when there is none.
        several: Whether it returns several maps, and not one.
        given: What else it is called with, by name.

    Raises:
        UnpricedOperator: If it runs an operator without a formula, named in the text.
        InvalidArchitecture: If it returns something else than one tensor.
    """
    meter = _Meter(module, convention, head)
    with torch.no_grad(), meter, _Norms(meter) if own else nullcontext():
        maps = [torch.empty((1, *shape), device="meta") for shape in shapes]
        output = module(*maps, **given)
    parameters = sum(parameter.numel() for parameter in module.parameters())
    return Price(meter.macs, parameters, meter.peak, _shape_of(output, several, type(module).__name__))


def _shape_of(output: Any, several: bool, name: str) -> Any:
    if several and isinstance(output, list | tuple) and all(isinstance(one, torch.Tensor) for one in output):
        return tuple(tuple(one.shape[1:]) for one in output)
    if several or not isinstance(output, torch.Tensor):
        wanted = "a list of tensors" if several else "one tensor"
        raise InvalidArchitecture(f"{name} must return {wanted}, but returned {type(output).__name__}")
    return tuple(output.shape[1:])


class _Norms(TorchFunctionMode):
    """Tells a meter when a norm runs that is written with other operators: norms are free by convention."""

    def __init__(self, meter: _Meter) -> None:
        super().__init__()
        self._meter = meter

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func not in _WRITTEN_NORMS:
            return func(*args, **(kwargs or {}))
        self._meter.in_norm = True
        try:
            return func(*args, **(kwargs or {}))
        finally:
            self._meter.in_norm = False


class _Meter(TorchDispatchMode):
    """Counts operations by a convention and follows which feature maps are alive."""

    def __init__(self, module: nn.Module, convention: str, head: bool) -> None:
        super().__init__()
        self._published = convention != "macs"
        self._left_out = _LINEAR if self._published and head else frozenset()
        self._norms_count = convention != "published-segmentation"
        self._passed_over = False
        self._hooks = list(self._hooks_for(module)) if self._published else []
        self.macs = 0
        self.peak = 0
        self.in_norm = False
        self._alive = 0
        # A view of a weight is a weight: only feature maps are counted.
        weights = frozenset(memory(weight) for weight in (*module.parameters(), *module.buffers()))
        self._known = set(weights)
        self._products = Products(weights)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        packet = func.overloadpacket
        # torch computes the shapes of a batch norm on the meta device through ten Python operators.
        is_norm = func.namespace == "aten" and packet.__name__ in _NORMS
        result = (torch.empty_like(args[0]), None, None) if is_norm else func(*args, **(kwargs or {}))
        if packet.__name__ in self._left_out:
            pass
        elif packet in flop_registry:
            self.macs += flop_registry[packet](*args, **(kwargs or {}), out_val=result) // 2
        elif packet in _FORMULAS:
            self.macs += _FORMULAS[packet](*args)
        elif func.namespace not in ("aten", "prims") or packet.__name__ not in _FREE:
            raise UnpricedOperator(
                f"nobody stated the multiply-adds of the operator `{packet}`; register a formula with "
                "torch.utils.flop_counter.register_flop_formula"
            )
        summed = self._products.summed(func, args, kwargs or {}, result)
        if packet not in flop_registry and not self.in_norm:
            self.macs += summed
        if self._published and not self._passed_over and (self._norms_count or not is_norm):
            self.macs += _beyond_macs(packet, args, result)
        for tensor in result if isinstance(result, tuple | list) else (result,):
            if isinstance(tensor, torch.Tensor):
                self.hold(tensor)
        return result

    def __exit__(self, *raised: Any) -> None:
        for hook in self._hooks:  # a module is metered more than once
            hook.remove()
        super().__exit__(*raised)

    def _hooks_for(self, module: nn.Module) -> Iterator[RemovableHandle]:
        """Count nothing in what the published counter passed over.

        For segmentation count of the norms those that are never synchronised, and an operation for each output of a
        doubling.
        """

        def switched(name: str, on: bool) -> Callable[..., None]:
            return lambda *_: setattr(self, name, on)

        def doubled(_: Any, __: Any, output: torch.Tensor) -> None:
            self.macs += output.numel()

        marks = {"passed_over": "_passed_over", **({} if self._norms_count else {"never_synchronised": "_norms_count"})}
        for one in module.modules():
            for mark, name in marks.items():
                if getattr(one, mark, False):
                    yield one.register_forward_pre_hook(switched(name, True))
                    yield one.register_forward_hook(switched(name, False))
            if isinstance(one, Doubling) and not self._norms_count:
                yield one.register_forward_hook(doubled)

    def hold(self, tensor: torch.Tensor) -> None:
        """Count the memory of a tensor until nobody holds it."""
        storage, key = tensor.untyped_storage(), memory(tensor)
        if key in self._known:
            return
        self._known.add(key)
        self._alive += storage.nbytes()
        self.peak = max(self.peak, self._alive)
        weakref.finalize(storage, self._release, key, storage.nbytes())

    def _release(self, key: int, nbytes: int) -> None:
        self._known.discard(key)
        self._products.forget(key)
        self._alive -= nbytes


def _beyond_macs(packet: Any, args: Any, result: Any) -> int:
    """Return what the convention "published" counts of an operator besides its multiply-adds."""
    if packet is torch.ops.aten.convolution:
        return 0 if args[2] is None else int(result.numel())
    per_element = _PUBLISHED.get(packet.__name__, 0)
    return per_element * int(args[0].numel()) if per_element else 0
