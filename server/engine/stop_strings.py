"""Where a stop text ends an answer. Pure.

A stop text counts as found at the character that completes it, as if characters came one at a time. So the
cut does not depend on how the text is cut into tokens: the match that ends first wins, and of those the
longest.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec


class StopMatch(msgspec.Struct, frozen=True):
    """A stop text at `start` of the searched text."""

    start: int
    text: str


def find_stop(text: str, stops: Sequence[str]) -> StopMatch | None:
    """The stop text that is completed first in `text`, or None. Empty stop texts never match."""
    best: StopMatch | None = None
    for stop in stops:
        start = text.find(stop) if stop else -1
        if start < 0:
            continue
        end = start + len(stop)
        if best is None or (end, start) < (best.start + len(best.text), best.start):
            best = StopMatch(start, stop)
    return best


def n_open(text: str, stops: Sequence[str]) -> int:
    """Characters at the end of `text` that may be the beginning of a stop text."""
    longest = 0
    for stop in stops:
        for n in range(min(len(stop) - 1, len(text)), longest, -1):
            if text.endswith(stop[:n]):
                longest = n
                break
    return longest
