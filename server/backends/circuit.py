"""When a model that keeps crashing is left alone for a while. Pure: the time is an argument.

A crash while the model loads counts like any other, so what is known of a model outlasts its backend, which
ends with a load that fails.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from server.backends.mailbox import SessionEnd
from server.types.generation import LoadParams, ModelPaths

MAX_CRASHES: Final = 3
CRASH_WINDOW_S: Final = 300.0
OPEN_S: Final = 300.0

MAX_MODELS: Final = 256
"""Models that are remembered; the one that was loaded longest ago is forgotten first."""


class CrashCircuit:
    """Opens at the crash that makes it `max_crashes` within `window_s`, and closes `open_s` after it.

    Times are seconds on any one clock that does not run backwards.

    Attributes:
        last: how the worker ended last, as far as that was told.
    """

    def __init__(
        self, max_crashes: int = MAX_CRASHES, window_s: float = CRASH_WINDOW_S, open_s: float = OPEN_S
    ) -> None:
        self.max_crashes = max_crashes
        self.window_s = window_s
        self._open_s = open_s
        self._crashes: deque[float] = deque(maxlen=max_crashes)
        self._closes_at_s: float | None = None
        self.last: SessionEnd | None = None

    def record(self, now_s: float, end: SessionEnd | None = None) -> None:
        """A crash happened now."""
        self.last = end
        self._crashes.append(now_s)
        if len(self._crashes) == self.max_crashes and now_s - self._crashes[0] <= self.window_s:
            self._closes_at_s = now_s + self._open_s
            self._crashes.clear()

    def closes_in_s(self, now_s: float) -> float:
        """Seconds until the model may be started again; 0 when it may be now."""
        if self._closes_at_s is None:
            return 0.0
        return max(0.0, self._closes_at_s - now_s)


class CrashCircuits:
    """The circuits of all models of a server."""

    def __init__(self) -> None:
        self._circuits: dict[str, tuple[tuple[ModelPaths, LoadParams], CrashCircuit]] = {}

    def of(self, name: str, paths: ModelPaths, params: LoadParams) -> CrashCircuit:
        """The circuit of a model that is to be loaded; a new one when it was loaded otherwise before."""
        load = (paths, params)
        known = self._circuits.pop(name, None)
        if known is None or known[0] != load:
            known = (load, CrashCircuit())
        self._circuits[name] = known
        if len(self._circuits) > MAX_MODELS:
            del self._circuits[next(iter(self._circuits))]
        return known[1]

    def forget(self, name: str) -> None:
        """Somebody has unloaded the model: it may be started again."""
        self._circuits.pop(name, None)
