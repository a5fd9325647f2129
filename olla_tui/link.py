"""How the terminal's link does: bytes a second, and whether it is slow, from how long writes had to wait."""

from __future__ import annotations

import math
from collections import deque
from typing import Protocol

WINDOW_S = 5.0
"""Over which waiting is added up."""
SLOW_SHARE = 0.1
"""Share of the window in which writes waited, from which on a link is slow."""
NOTICEABLE_S = 0.01
"""A wait below this is the scheduler's, not the link's."""
STAYS_S = 60.0
"""For which a link counts as slow after its last wait; twice as long each time that it was slow again."""
MAX_STAYS_S = 960.0


class LinkRate(Protocol):
    """What goes to the terminal: how much, and whether it is kept low."""

    def bytes_per_s(self) -> float:
        """Bytes a second over the last seconds."""
        ...

    def is_slow(self) -> bool:
        """Whether the terminal takes what it is sent too slowly."""
        ...

    def spare(self, on: bool) -> None:
        """Send only the cells that change from now on, or all that is drawn."""
        ...

    def forget(self) -> None:
        """The terminal may show anything."""
        ...


class LinkWatch:
    """Judges a link by its waits. It stays slow for a while: what spares it also hides how slow it is."""

    def __init__(self) -> None:
        self._waits: deque[tuple[float, float]] = deque()  # (end, length), both in seconds
        self._slow_until_s = -math.inf
        self._stays_s = STAYS_S
        self._is_slow = False

    def waited(self, length_s: float, now_s: float) -> None:
        """A write has waited for so long until now."""
        if length_s < NOTICEABLE_S:
            return
        self._forget(now_s)
        self._waits.append((now_s, length_s))
        self._judge(now_s, 0.0)

    def is_slow(self, now_s: float, waiting_s: float = 0.0) -> bool:
        """Whether the link is slow.

        Args:
            waiting_s: for how long a write has been waiting that is not over.
        """
        self._forget(now_s)
        self._judge(now_s, waiting_s)
        return self._is_slow

    def _judge(self, now_s: float, waiting_s: float) -> None:
        total_s = sum(min(length_s, WINDOW_S) for _, length_s in self._waits) + waiting_s
        if total_s >= SLOW_SHARE * WINDOW_S:
            self._slow_until_s = now_s + self._stays_s
            self._is_slow = True
        elif self._is_slow and now_s >= self._slow_until_s:
            self._is_slow = False
            self._stays_s = min(2 * self._stays_s, MAX_STAYS_S)

    def _forget(self, now_s: float) -> None:
        while self._waits and self._waits[0][0] < now_s - WINDOW_S:
            self._waits.popleft()
