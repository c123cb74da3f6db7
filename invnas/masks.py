"""Masks, as every part means them: a class index for each pixel, and one value for pixels that count nowhere."""

from __future__ import annotations

#: A pixel of this value is in no loss and no figure: nobody knows its class, or it lies beyond the picture.
IGNORED = 255

#: So many classes at most: an index and `IGNORED` fit into a byte, as masks lie in files.
AT_MOST = 255
