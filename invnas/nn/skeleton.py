"""Modules on the meta device: they have shapes, and neither weights nor results."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from invnas.errors import InvalidArchitecture
from invnas.gate import user_code

Shape = tuple[int, int, int]


class _Uninitialised(TorchDispatchMode):
    """Skips what writes in place: initial values mean nothing on the meta device, and cost half the time there."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        in_place = func.overloadpacket.__name__.endswith("_") and isinstance(args[0], torch.Tensor)
        return args[0] if in_place else func(*args, **(kwargs or {}))


def skeleton(make: Callable[[], nn.Module]) -> nn.Module:
    """Return the module that `make` builds, on the meta device and in eval mode."""
    with torch.device("meta"), _Uninitialised():
        return make().eval()


def running(name: str, shape: tuple[Any, ...]) -> AbstractContextManager[None]:
    """Refuse one architecture for whatever a module raises that is built or run on an input of this shape."""
    return user_code(f"{name} on an input of shape {shape}", InvalidArchitecture)


def shape_after(make: Callable[[], nn.Module], shape: Shape, name: str) -> tuple[int, ...]:
    """Return the shape a module turns one map into, without running it.

    Raises:
        InvalidArchitecture: If it cannot be built or run; the sentence names it.
    """
    with running(name, shape), torch.no_grad():
        return tuple(skeleton(make)(torch.empty((1, *shape), device="meta")).shape[1:])
