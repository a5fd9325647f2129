"""How many bytes a second transfers may take, changeable while they run."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

_BURST_S = 0.25
"""What was not used is kept for so long: enough to make up for threads that were late."""

_SLICE_S = 0.1
"""Time that one piece of a limited transfer may stand for, so that its rate is even."""

_MIN_SLICE_BYTES = 1024
_LOOK_S = 0.25  # how often a thread that waits looks whether it is stopped


class Budget:
    """Bytes that may be taken now; fills with time. Pure."""

    def __init__(self, bytes_per_s: int, now_s: float) -> None:
        self.bytes_per_s = bytes_per_s
        self._n_bytes = 0.0
        self._filled_at = now_s

    def wait_s(self, now_s: float) -> float:
        """How long to wait until something may be taken, seconds; 0: not at all."""
        if not self.bytes_per_s:
            return 0.0
        earned = (now_s - self._filled_at) * self.bytes_per_s
        self._n_bytes = min(self._n_bytes + earned, self.bytes_per_s * _BURST_S)
        self._filled_at = now_s
        return 0.0 if self._n_bytes >= 0 else -self._n_bytes / self.bytes_per_s

    def take(self, n_bytes: int) -> None:
        """Take, be it more than there is: the next one waits for it."""
        self._n_bytes -= n_bytes


class RateLimit:
    """A budget for any number of threads; 0 bytes a second is no limit."""

    def __init__(self, bytes_per_s: int = 0) -> None:
        self._changed = threading.Condition()
        self._budget = Budget(bytes_per_s, time.monotonic())

    @property
    def bytes_per_s(self) -> int:
        """The limit now."""
        return self._budget.bytes_per_s

    def set(self, bytes_per_s: int) -> None:
        """Change the limit; those who wait go by the new one at once."""
        with self._changed:
            self._budget = Budget(bytes_per_s, time.monotonic())
            self._changed.notify_all()

    def slice_bytes(self, most_bytes: int) -> int:
        """How large a piece should be, so that the rate is even."""
        rate = self.bytes_per_s
        return min(most_bytes, max(int(rate * _SLICE_S), _MIN_SLICE_BYTES)) if rate else most_bytes

    def take(self, n_bytes: int, stopped: Callable[[], bool]) -> None:
        """Wait until there is budget, then take from it; at once if `stopped`."""
        with self._changed:
            while not stopped():
                wait_s = self._budget.wait_s(time.monotonic())
                if wait_s <= 0:
                    self._budget.take(n_bytes)
                    return
                self._changed.wait(min(wait_s, _LOOK_S))
