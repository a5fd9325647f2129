"""Fuzzy matching of names, as completion lists use it."""

from __future__ import annotations

from collections.abc import Iterable
from heapq import nsmallest

SEPARATORS = frozenset("/_-. ")


def rank(query: str, name: str) -> tuple[int, int, int] | None:
    """How well a name matches, smaller is better; None when its letters do not hold the query in order.

    Told apart by: the query stands whole in the last part of the name, anywhere in it, or scattered; then by
    the gaps between its letters; then by length. Case does not matter.
    """
    wanted, lower = query.lower(), name.lower()
    if not wanted:
        return (0, 0, len(name))
    if wanted in lower[lower.rfind("/") + 1 :]:
        begins = lower.rpartition("/")[2].startswith(wanted)
        return (0, 0 if begins else 1, len(name))
    if wanted in lower:
        return (1, 0, len(name))
    at, gaps = -1, 0
    for char in wanted:
        found = lower.find(char, at + 1)
        if found < 0:
            return None
        if found > at + 1 and not (found and lower[found - 1] in SEPARATORS):
            gaps += found - at - 1
        at = found
    return (2, gaps, len(name))


def best(query: str, names: Iterable[str], limit: int) -> list[str]:
    """The names that match best, the best first."""
    ranked = ((found, name) for name in names if (found := rank(query, name)) is not None)
    return [name for _, name in nsmallest(limit, ranked)]
