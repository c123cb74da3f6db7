"""Networks: from architecture values to torch modules."""

from invnas.nn.involution import Involution2d, LocalAttention2d
from invnas.nn.network import build

__all__ = ["Involution2d", "LocalAttention2d", "build"]
