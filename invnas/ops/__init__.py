"""The involution operator: one definition, any backend."""

from invnas.ops.involution import backend_of, involution2d, why_not, window_products

__all__ = ["backend_of", "involution2d", "why_not", "window_products"]
