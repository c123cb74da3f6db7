"""Networks: from architecture values to torch modules."""

from invnas.nn.folded_involution import FoldedInvolution2d
from invnas.nn.folding import fold
from invnas.nn.involution import Involution2d, LocalAttention2d
from invnas.nn.network import build

__all__ = ["FoldedInvolution2d", "Involution2d", "LocalAttention2d", "build", "fold"]
