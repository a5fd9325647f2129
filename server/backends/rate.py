"""Counts over a sliding window of time. Pure: the time is an argument."""

from __future__ import annotations

from collections import deque

BUCKET_S = 0.25
SHORTEST_SPAN_S = 0.5
"""A rate over a shorter time would be noise."""


class RateWindow:
    """Events per second over the last `window_s` seconds, at most `window_s / BUCKET_S + 1` numbers held."""

    def __init__(self, window_s: float = 4.0) -> None:
        self._window_s = window_s
        self._buckets: deque[tuple[float, int]] = deque()  # (start of the bucket, events in it)
        self._since_s = 0.0

    def add(self, n_events: int, now_s: float) -> None:
        """Count events that happened now."""
        self._drop_old(now_s)
        if not self._buckets:
            self._since_s = now_s
        if self._buckets and now_s - self._buckets[-1][0] < BUCKET_S:
            start_s, n_before = self._buckets.pop()
            self._buckets.append((start_s, n_before + n_events))
        else:
            self._buckets.append((now_s, n_events))

    def per_second(self, now_s: float) -> float:
        """The rate since the window, or the present burst when that is shorter, began."""
        self._drop_old(now_s)
        if not self._buckets:
            return 0.0
        span_s = min(now_s - self._since_s, self._window_s)
        return sum(n for _, n in self._buckets) / max(span_s, SHORTEST_SPAN_S)

    def _drop_old(self, now_s: float) -> None:
        while self._buckets and self._buckets[0][0] <= now_s - self._window_s:
            self._buckets.popleft()
