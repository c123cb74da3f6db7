"""Where strips lie in shared memory, so that the threads of a warp meet other banks of its 32."""

from __future__ import annotations

import functools


@functools.cache
def pad(size: int, word: int, lanes: int, group_lanes: int, taps: int, strip: int, strips: int, skipped: int) -> int:
    """Return the elements between strips of `strip` elements with the fewest bank conflicts among one warp."""

    def wavefronts(more: int) -> int:
        total = 0
        for offset in range(2):  # the taps move all threads alike; only the halves of a word differ
            banks: dict[int, set[int]] = {}
            for thread in range(32):
                place = thread // lanes
                at = (
                    (place + place // strips * skipped) * (strip + more) + thread % lanes // group_lanes * taps + offset
                )
                address = at * size // 4
                banks.setdefault(address % 32, set()).add(address)
            total += max(map(len, banks.values()))
        return total

    step = max(1, word // size)
    return min(range(0, 16 * step, step), key=lambda more: (wavefronts(more), more))
