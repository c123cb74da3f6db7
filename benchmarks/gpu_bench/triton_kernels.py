"""A small Triton kernel for each direction, over channels_last memory: what a user of Triton would write in an hour.

A program holds some positions of one group; a row of taps is unrolled (all of them make half a megabyte of code);
float32 accumulators; sizes are arguments, 32-bit indices. No reuse but what the caches give.
"""

# Triton reads annotations and names of its own: no `from __future__ import annotations` here.
import torch
import triton
import triton.language as tl

from gpu_bench.model import Shape
from gpu_bench.operands import Operands, Steps

POSITIONS = 64  # of one program


@triton.jit
def _place(index, side):
    return index // (side * side), index // side % side, index % side


@triton.jit
def _forward(x, w, y, count, C, G, side, out, K: tl.constexpr, S: tl.constexpr, P: tl.constexpr, GC: tl.constexpr,
             LANES: tl.constexpr, N: tl.constexpr):  # fmt: skip
    p = tl.program_id(0) * N + tl.arange(0, N)
    g, lane = tl.program_id(1), tl.arange(0, LANES)
    b, i, j = _place(p, out)
    c, live = g * GC + lane[None, :], (lane < GC)[None, :]
    total = tl.zeros((N, LANES), tl.float32)
    for u in range(K):
        for v in tl.static_range(K):
            r, q = i * S + u - P, j * S + v - P
            inside = (p < count) & (r >= 0) & (r < side) & (q >= 0) & (q < side)
            values = tl.load(x + ((b * side + r) * side + q)[:, None] * C + c, inside[:, None] & live, 0)
            weights = tl.load(w + (p * G + g) * (K * K) + u * K + v, inside, 0)
            total += weights[:, None].to(tl.float32) * values.to(tl.float32)
    tl.store(y + p[:, None] * C + c, total.to(y.dtype.element_ty), (p < count)[:, None] & live)


@triton.jit
def _grad_input(dy, w, dx, count, C, G, side, out, K: tl.constexpr, S: tl.constexpr, P: tl.constexpr,
                GC: tl.constexpr, LANES: tl.constexpr, N: tl.constexpr):  # fmt: skip
    p = tl.program_id(0) * N + tl.arange(0, N)
    g, lane = tl.program_id(1), tl.arange(0, LANES)
    b, r, q = _place(p, side)
    c, live = g * GC + lane[None, :], (lane < GC)[None, :]
    total = tl.zeros((N, LANES), tl.float32)
    for u in range(K):
        for v in tl.static_range(K):
            i, j = r + P - u, q + P - v  # times the stride
            inside = (p < count) & (i >= 0) & (i < out * S) & (j >= 0) & (j < out * S) & (i % S == 0) & (j % S == 0)
            at = (b * out + i // S) * out + j // S
            values = tl.load(dy + at[:, None] * C + c, inside[:, None] & live, 0)
            weights = tl.load(w + (at * G + g) * (K * K) + u * K + v, inside, 0)
            total += weights[:, None].to(tl.float32) * values.to(tl.float32)
    tl.store(dx + p[:, None] * C + c, total.to(dx.dtype.element_ty), (p < count)[:, None] & live)


@triton.jit
def _grad_kernels(dy, x, dw, count, C, G, side, out, K: tl.constexpr, S: tl.constexpr, P: tl.constexpr,
                  GC: tl.constexpr, LANES: tl.constexpr, N: tl.constexpr):  # fmt: skip
    p = tl.program_id(0) * N + tl.arange(0, N)
    g, lane = tl.program_id(1), tl.arange(0, LANES)
    b, i, j = _place(p, out)
    c, live = g * GC + lane[None, :], (lane < GC)[None, :]
    upper = tl.load(dy + p[:, None] * C + c, (p < count)[:, None] & live, 0).to(tl.float32)
    for u in range(K):
        for v in tl.static_range(K):
            r, q = i * S + u - P, j * S + v - P
            inside = (p < count) & (r >= 0) & (r < side) & (q >= 0) & (q < side)
            values = tl.load(x + ((b * side + r) * side + q)[:, None] * C + c, inside[:, None] & live, 0)
            total = tl.sum(upper * values.to(tl.float32), 1)
            tl.store(dw + (p * G + g) * (K * K) + u * K + v, total.to(dw.dtype.element_ty), p < count)


KERNELS = {"forward": _forward, "grad_input": _grad_input, "grad_kernels": _grad_kernels}


def constants(shape: Shape) -> dict[str, int]:
    """Return what a program is compiled for."""
    lanes = triton.next_power_of_2(shape.group_channels)
    window = {"K": shape.kernel_size, "S": shape.stride, "P": shape.padding}
    return {**window, "GC": shape.group_channels, "LANES": lanes, "N": POSITIONS}


def steps(shape: Shape, given: Operands) -> Steps:
    """Return the three directions over the operands where they lie."""
    fixed = constants(shape)

    def step(name: str, first: torch.Tensor, second: torch.Tensor, like: torch.Tensor, side: int):  # type: ignore[no-untyped-def]
        count = shape.batch * side**2

        def run() -> torch.Tensor:
            result = torch.empty_like(like)  # the strides of `like`: dense in its own order
            sizes = (count, shape.channels, shape.groups, shape.size, shape.out)
            KERNELS[name][(triton.cdiv(count, POSITIONS), shape.groups)](first, second, result, *sizes, **fixed)
            return result

        return run

    return {
        "forward": step("forward", given.x, given.kernels, given.grad, shape.out),
        "grad_input": step("grad_input", given.grad, given.kernels, given.x, shape.size),
        "grad_kernels": step("grad_kernels", given.grad, given.x, given.kernels, shape.out),
    }
