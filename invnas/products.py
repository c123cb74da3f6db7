"""Products that are summed, in whatever operators they are written: multiply-adds that no formula of an operator knows.

The rule. A *product* is a multiplication of two tensors, element by element (also a quotient, a square or another whole
power, a GLU); a multiplication by a number is none. Products count as multiply-adds, each once, when they are summed:

- by an operator that sums along an axis or over a window (`sum`, `mean`, average pooling, folding), or
- by an addition to other products: `acc = acc + w * x` in a loop, `a * b + c * d`, `addcmul`.

Between the product and the sum may stand whatever moves, copies, pads, masks, scales or shifts numbers (views, `cat`,
`pad`, `where`, adding a bias, batch norm). Sums of squares inside an operator count as well: `var`, `std`, a Euclidean
norm; the norm layers of torch do not, by convention.

A product that is not summed is free, as activations are: a gate (squeeze and excite, swish, layer scale), and its
addition to one map: an affine map, or a residual addition `x + gate * f(x)`. A sum that takes in what was computed from
it is such a residual addition each time. Maps that enter a block are no products, whatever made them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch

#: Operators that sum what enters, along an axis or over a window.
SUMS = frozenset("sum mean avg_pool2d adaptive_avg_pool2d _adaptive_avg_pool2d avg_pool3d col2im".split())

#: Operators that sum the squares of what enters.
SQUARES = frozenset("var std var_mean linalg_vector_norm norm".split())

_MULTIPLICATIONS = frozenset("mul mul_ div div_".split())
_ADDITIONS = frozenset("add add_ sub sub_ rsub".split())
_THREE = frozenset("addcmul addcmul_ addcdiv addcdiv_".split())

# Operators after which a product is still one; views share the memory of what enters and need no entry.
_KEEP = (
    frozenset(
        """
    _to_copy _unsafe_view cat channel_shuffle clone constant_pad_nd contiguous copy_ flip gather im2col index
    index_select masked_fill masked_fill_ native_batch_norm _native_batch_norm_legit native_dropout
    _native_batch_norm_legit_no_training native_channel_shuffle native_group_norm native_layer_norm neg neg_
    pixel_shuffle pixel_unshuffle reflection_pad2d repeat replication_pad2d reshape roll stack upsample_bilinear2d
    upsample_nearest2d where
    """.split()
    )
    | _MULTIPLICATIONS
    | _ADDITIONS
    | {"lerp"}
)


@dataclass
class _Pool:
    """Products of one multiplication that no sum has taken yet."""

    left: int


@dataclass(frozen=True)
class _Trace:
    """What a tensor holds: products, or sums of products when there are no pools; `residual`: added to one map."""

    pools: tuple[_Pool, ...] = ()
    residual: bool = False

    def take(self, number: int) -> int:
        """Take so many products at most; return how many there were."""
        taken = 0
        for pool in self.pools:
            some = min(pool.left, number - taken)
            pool.left -= some
            taken += some
        return taken


class Products:
    """Follows products through a forward pass on the meta device, by the memory that holds them.

    Args:
        weights: Keys (see `memory`) of the memory of weights and buffers.
    """

    def __init__(self, weights: frozenset[int]) -> None:
        self._weights = weights
        self._traces: dict[int, _Trace] = {}
        # What was computed from what, as bits: each result has a bit, and those of all that it was computed from.
        self._ancestors: dict[int, int] = {}
        self._bits: dict[int, int] = {}
        self._bit = 1
        self._numbers: set[int] = set()

    def forget(self, key: int) -> None:
        """Forget memory that nobody holds any more."""
        for known in (self._traces, self._ancestors, self._bits):
            known.pop(key, None)
        self._numbers.discard(key)

    def summed(self, func: Any, args: Any, kwargs: Any, result: Any) -> int:
        """Follow one call of an operator of ATen and return how many multiply-adds it completes."""
        inputs = list(_tensors((*args, *kwargs.values())))
        count, trace = self._effect(func.overloadpacket.__name__, args, inputs, result)
        written = func._schema.is_mutable
        entered = {memory(tensor) for tensor in inputs}
        ancestors = 0
        for key in entered:
            ancestors |= self._ancestors.get(key, 0)
        for tensor in _tensors((result,)):
            if written or memory(tensor) not in entered:  # otherwise it is a view
                is_number = tensor.dim() == 0 and not any(map(self._is_factor, inputs))
                self._remember(tensor, trace, ancestors, is_number)
        return count

    def _remember(self, tensor: torch.Tensor, trace: _Trace | None, ancestors: int, is_number: bool) -> None:
        key = memory(tensor)
        self._bit <<= 1
        self._bits[key], self._ancestors[key] = self._bit, ancestors | self._bit
        if is_number:
            self._numbers.add(key)
        if tensor.numel() * tensor.element_size() < tensor.untyped_storage().nbytes():
            trace = _together([trace, self._traces.get(key)])  # the rest of the memory holds what it held
        if trace is None:
            self._traces.pop(key, None)
        else:
            self._traces[key] = trace

    def _effect(self, name: str, args: Any, inputs: list[torch.Tensor], result: Any) -> tuple[int, _Trace | None]:
        """Return how many multiply-adds an operator completes, and what its result holds."""
        is_product = name in _MULTIPLICATIONS and all(map(self._is_factor, args[:2]))
        if is_product or _is_power(name, args):
            return 0, _products(result)
        if name == "lerp" and self._is_factor(args[2]):  # args[0] + args[2] * (args[1] - args[0])
            return 0, replace(_products(result), residual=True)
        if name in _THREE:
            return self._sum_of(args[0], self._trace(args[0]), result, _products(result), inputs[1:3])
        if name in _ADDITIONS and isinstance(args[1], torch.Tensor):
            return self._sum_of(args[0], self._trace(args[0]), args[1], self._trace(args[1]), [args[1]])
        if name in SUMS or name in SQUARES:
            trace, number = self._trace(args[0]), args[0].numel()
            taken = trace.take(number) if trace else 0
            return taken + number * _is_euclidean(name, args), _Trace() if taken else None
        if name in _KEEP:
            return 0, _together(map(self._trace, inputs))
        return 0, None

    def _sum_of(
        self, a: torch.Tensor, of_a: _Trace | None, b: torch.Tensor, of_b: _Trace | None, sources: list[torch.Tensor]
    ) -> tuple[int, _Trace | None]:
        """Return what an addition of `b`, computed from `sources`, to `a` completes, and what it leaves."""
        if of_a is None and of_b is None:
            return 0, None
        from_a = any(self._is_from(one, a) for one in sources)
        from_b = any(self._is_from(a, one) for one in sources)
        if of_a is not None and of_b is not None:
            base = of_a if from_a else of_b
            # A sum or a residual that takes in what was computed from it is one map; a bare product is none.
            if not (from_a or from_b) or (base.pools and not base.residual):
                return of_a.take(a.numel()) + of_b.take(b.numel()), _Trace()
        both = _together((of_a, of_b))
        if not (from_a or from_b) or both is None:
            return 0, both
        return 0, replace(both, residual=True) if both.pools else None

    def _is_from(self, result: torch.Tensor, source: torch.Tensor) -> bool:
        """Tell whether a tensor was computed from another one, as that is now; a tensor is from itself."""
        return bool(self._ancestors.get(memory(result), 0) & self._bits.get(memory(source), 0))

    def _trace(self, value: Any) -> _Trace | None:
        return self._traces.get(memory(value)) if isinstance(value, torch.Tensor) else None

    def _is_factor(self, value: Any) -> bool:
        """Tell whether a value is data of the network, and not a mere number."""
        if not isinstance(value, torch.Tensor):
            return False
        key = memory(value)
        return value.dim() > 0 or key in self._weights or (key in self._bits and key not in self._numbers)


def memory(tensor: torch.Tensor) -> int:
    """Return a key of the memory a tensor lies in, which it shares with its views."""
    return int(tensor.untyped_storage()._cdata)


def _products(result: torch.Tensor) -> _Trace:
    return _Trace((_Pool(result.numel()),))


def _together(traces: Iterable[_Trace | None]) -> _Trace | None:
    found = [trace for trace in traces if trace is not None]
    pools = {id(pool): pool for trace in found for pool in trace.pools if pool.left}
    return _Trace(tuple(pools.values()), any(trace.residual for trace in found)) if found else None


def _is_power(name: str, args: Any) -> bool:
    if name in ("glu", "square", "square_"):
        return True
    # A tensor as the exponent, or a root, is an activation.
    return name in ("pow", "pow_") and isinstance(args[1], int | float) and args[1] >= 2 and args[1] == int(args[1])


def _is_euclidean(name: str, args: Any) -> bool:
    if name in ("linalg_vector_norm", "norm"):
        order = args[1] if len(args) > 1 else 2
        return order is None or order not in (0, 1, math.inf, -math.inf)
    return name in SQUARES


def _tensors(values: Iterable[Any]) -> Iterator[torch.Tensor]:
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, tuple | list):
            yield from _tensors(value)
