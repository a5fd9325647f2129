"""When a model that keeps crashing is left alone for a while. Pure: the time is an argument."""

from __future__ import annotations

from collections import deque
from typing import Final

MAX_CRASHES: Final = 3
CRASH_WINDOW_S: Final = 300.0
OPEN_S: Final = 300.0


class CrashCircuit:
    """Opens at the crash that makes it `max_crashes` within `window_s`, and closes `open_s` after it.

    Times are seconds on any one clock that does not run backwards.
    """

    def __init__(
        self, max_crashes: int = MAX_CRASHES, window_s: float = CRASH_WINDOW_S, open_s: float = OPEN_S
    ) -> None:
        self.max_crashes = max_crashes
        self.window_s = window_s
        self._open_s = open_s
        self._crashes: deque[float] = deque(maxlen=max_crashes)
        self._closes_at_s: float | None = None

    def record(self, now_s: float) -> None:
        """A crash happened now."""
        self._crashes.append(now_s)
        if len(self._crashes) == self.max_crashes and now_s - self._crashes[0] <= self.window_s:
            self._closes_at_s = now_s + self._open_s
            self._crashes.clear()

    def closes_in_s(self, now_s: float) -> float:
        """Seconds until the model may be started again; 0 when it may be now."""
        if self._closes_at_s is None:
            return 0.0
        return max(0.0, self._closes_at_s - now_s)

    def reset(self) -> None:
        """Forget all crashes: the model was loaded anew."""
        self._crashes.clear()
        self._closes_at_s = None
