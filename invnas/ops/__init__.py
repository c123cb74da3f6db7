"""The involution operator: one definition, any backend."""

from invnas.ops.dispatch import backend_of, why_not
from invnas.ops.folded import involution2d_folded
from invnas.ops.involution import involution2d, window_products

__all__ = ["backend_of", "involution2d", "involution2d_folded", "why_not", "window_products"]
