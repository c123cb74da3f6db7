"""The involution operator: one definition, any backend."""

from invnas.ops.involution import backend_of, involution2d

__all__ = ["backend_of", "involution2d"]
