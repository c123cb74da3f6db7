"""Masks, as every part means them: a class index for each pixel, and one value for pixels that count nowhere."""

from __future__ import annotations

#: A pixel of this value is in no loss and no figure: nobody knows its class, or it lies beyond the picture.
IGNORED = 255

#: So many classes at most: an index and `IGNORED` fit into a byte, as masks lie in files.
AT_MOST = 255


def palette() -> list[int]:
    """Return red, green and blue of each value of a mask, one after the other, as images of Pascal VOC have them.

    >>> palette()[:9], palette()[-3:]
    ([0, 0, 0, 128, 0, 0, 0, 128, 0], [224, 224, 192])
    """
    found = []
    for value in range(256):
        for channel in range(3):
            bits = ((value >> (3 * place + channel) & 1) << (7 - place) for place in range(3))
            found.append(sum(bits))
    return found
