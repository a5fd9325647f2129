"""Which bytes of a blob are there, and who fetches which of the others.

Pure, and without locks: `BlobDownload` holds its own around every call.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable

Intervals = tuple[tuple[int, int], ...]
"""Half-open ranges of bytes, in order and apart from each other."""

MIN_STOLEN_BYTES = 1 << 20
"""A request for less takes longer to ask for than to fetch on any line that is worth having."""

RAMP_S = 0.2
"""Over how long the rate of a download's first streams is taken."""

IDLE_S = 5.0
"""A connection that brought nothing for so long is likely to have died: what is left of its part may be taken
over as a whole. Six times less than what makes it fail."""


class Coverage:
    """A set of bytes out of `total_bytes`, as ranges that do not touch."""

    def __init__(self, total_bytes: int, intervals: Iterable[tuple[int, int]] = ()) -> None:
        self.total_bytes = total_bytes
        self._starts: list[int] = []
        self._ends: list[int] = []
        self.n_bytes = 0
        for start, end in intervals:
            self.add(start, end)

    def add(self, start: int, end: int) -> None:
        """Put bytes in; those that are there already change nothing."""
        if start >= end:
            return
        first = bisect.bisect_left(self._ends, start)
        last = bisect.bisect_right(self._starts, end)
        if first < last:
            start, end = min(start, self._starts[first]), max(end, self._ends[last - 1])
        self.n_bytes += (end - start) - sum(self._ends[i] - self._starts[i] for i in range(first, last))
        self._starts[first:last] = [start]
        self._ends[first:last] = [end]

    @property
    def frontier(self) -> int:
        """How many bytes are there without a gap from the beginning."""
        return self._ends[0] if self._starts and self._starts[0] == 0 else 0

    @property
    def is_complete(self) -> bool:
        """Whether all bytes are there."""
        return self.n_bytes == self.total_bytes

    def intervals(self) -> Intervals:
        """The ranges, in order."""
        return tuple(zip(self._starts, self._ends, strict=True))


class Claim:
    """A range that one stream fetches from its beginning on.

    Attributes:
        position: next byte to fetch.
        end: one past the last; gets less when somebody takes a part over.
        reading_to: one past the last byte that is being read now.
        moved_at: when bytes came last, seconds of the plan's clock.
    """

    def __init__(self, start: int, end: int, now_s: float) -> None:
        self.position = self.reading_to = start
        self.end = end
        self.moved_at = now_s

    @property
    def left(self) -> int:
        """Bytes that are still to be fetched."""
        return max(self.end - self.position, 0)


class Ramp:
    """Whether more streams are of use than those that begin: once they were slow together. Pure."""

    def __init__(self, fast_bytes_per_s: int, now_s: float, n_bytes: int) -> None:
        self._fast_bytes_per_s = fast_bytes_per_s
        self._looked_at, self._n_bytes = now_s, n_bytes
        self._is_slow = False

    def look(self, n_bytes: int, now_s: float) -> bool:
        """Whether they have been slow, by how many bytes are there; counted from `RAMP_S` to `RAMP_S`."""
        taken_s = now_s - self._looked_at
        if taken_s >= RAMP_S:
            self._is_slow |= n_bytes - self._n_bytes < self._fast_bytes_per_s * taken_s
            self._looked_at, self._n_bytes = now_s, n_bytes
        return self._is_slow


class PartPlan:
    """Hands out the missing bytes in parts, in order; at the end the fast help the slow."""

    def __init__(self, coverage: Coverage, part_bytes: int, min_stolen_bytes: int = MIN_STOLEN_BYTES) -> None:
        self.coverage = coverage
        self._part_bytes = part_bytes
        self._min_stolen_bytes = min_stolen_bytes
        self._claims: list[Claim] = []

    def claim(self, now_s: float) -> Claim | None:
        """The next part to fetch; None when there is none now, because all are there or being fetched."""
        gap = self._first_gap()
        claim = Claim(*gap, now_s) if gap else self._stolen(now_s)
        if claim is not None:
            self._claims.append(claim)
        return claim

    def begin(self, claim: Claim, n_bytes: int) -> int:
        """Say that so many bytes are about to be read; returns how many the claim has left for it."""
        n_bytes = min(n_bytes, claim.left)
        claim.reading_to = claim.position + n_bytes
        return n_bytes

    def advance(self, claim: Claim, n_bytes: int, now_s: float) -> int:
        """Note that bytes at the claim's position were written; returns how many the claim has left."""
        self.coverage.add(claim.position, claim.position + n_bytes)
        claim.position += n_bytes
        claim.moved_at = now_s
        return claim.left

    def release(self, claim: Claim) -> None:
        """Give back what a claim has not fetched."""
        if claim in self._claims:
            self._claims.remove(claim)

    def extend(self, claim: Claim) -> None:
        """Let a claim fetch all that follows: for a server that sends a blob from its beginning alone."""
        claim.end = self.coverage.total_bytes

    def _first_gap(self) -> tuple[int, int] | None:
        """The first part that is neither there nor claimed."""
        taken = Coverage(self.coverage.total_bytes, self.coverage.intervals())
        for claim in self._claims:
            taken.add(claim.position, claim.end)
        if taken.is_complete:
            return None
        start = taken.frontier
        following = [first for first, _ in taken.intervals() if first > start]
        limit = min([*following, taken.total_bytes])
        # Parts begin at multiples of their length, so that the same ones are asked for after an interruption.
        return start, min((start // self._part_bytes + 1) * self._part_bytes, limit)

    def _stolen(self, now_s: float) -> Claim | None:
        """All of a part whose stream seems to be dead, or else half of the longest."""
        idle = [claim for claim in self._claims if claim.left and now_s - claim.moved_at >= IDLE_S]
        if idle:
            victim = max(idle, key=lambda claim: claim.left)
            middle = victim.position
        else:
            victim = max(self._claims, key=lambda claim: claim.left, default=Claim(0, 0, now_s))
            middle = max(victim.position + victim.left // 2, victim.reading_to)
            if victim.end - middle < self._min_stolen_bytes:
                return None
        claim = Claim(middle, victim.end, now_s)
        victim.end = middle
        return claim
