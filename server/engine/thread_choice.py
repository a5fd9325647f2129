"""How many threads to compute with while others want the processors too. Pure.

The threads of a step meet at a barrier after each operation. With the processors to themselves, more of
them are faster; when another program takes one away, all wait for the thread that lost it, and fewer
threads, each with a processor of its own, can be more than twice as fast. Which is the case is found out
by trying: the next smaller or larger number for a few steps when steps vary more than they do in peace,
and once in a while in any case.
"""

from __future__ import annotations

import collections
import statistics
from collections.abc import Hashable
from typing import Final

import msgspec

PROBE_STEPS: Final = 4
"""Steps of a trial; their middle counts, since the first one starts or ends threads."""

_SMOOTHING: Final = 0.2
_UNREST: Final = 1.9
"""Steps that take so many times the shortest of late are a sign that processors are shared."""

_UNSTEADY_UNREST: Final = 2.5
"""The same for kinds whose steps differ by themselves, as parts of prompts do: each has more before it."""

_N_RECENT: Final = 16
_N_UNSTEADY_RECENT: Final = 3
"""Steps of a kind among which the shortest of late is looked for."""

_MIN_GAIN: Final = 0.85
"""A trial must bring the time below this share of what it was."""

_MIN_PAUSE_S: Final = 0.25
_MAX_PAUSE_S: Final = 4.0
_CALM_PAUSE_S: Final = 30.0
"""Between trials after one that brought nothing: doubled each time up to the second, the third in peace."""


class _Trial(msgspec.Struct):
    """A number of threads that is being tried. `n_others`: steps of other kinds since it began."""

    index: int
    key: Hashable
    costs: list[float] = []
    n_others: int = 0


class ThreadChoice:
    """The number of threads for the next step, from how long steps took.

    Steps are compared with steps of the same kind only; a kind is any key, and a cost is in seconds for a
    step, or for a token of it, as long as all of a kind are alike.

    Attributes:
        n_max: with the processors to oneself.
        n_threads: for the next step.
    """

    def __init__(self, n_max: int, *, is_fixed: bool = False) -> None:
        self._counts = (n_max,) if is_fixed else thread_counts(n_max)
        self._index = 0
        self._costs: dict[Hashable, float] = {}
        self._recent: dict[Hashable, collections.deque[float]] = {}
        self._trial: _Trial | None = None
        self._pause_s = _MIN_PAUSE_S
        self._tried_at_s: float | None = None
        self._tries_fewer = True
        self.n_max = self.n_threads = n_max

    def measured(self, key: Hashable, cost: float, now_s: float, *, is_steady: bool = True) -> None:
        """A step of a kind took `cost`. Sets `n_threads` for the next one.

        `is_steady`: steps of this kind take equally long in peace. The others give no reason for a trial by
        being a little longer, and are not tried with fewer threads in peace: theirs are the longest steps.
        """
        if len(self._counts) == 1 or cost <= 0.0:
            return
        if self._tried_at_s is None:
            self._tried_at_s = now_s
        if self._trial is None:
            self._learn(key, cost)
            self._trial = self._next_trial(key, now_s, is_steady)
        elif self._trial.key == key:
            self._trial.costs.append(cost)
            if len(self._trial.costs) >= PROBE_STEPS:
                self._conclude(self._trial, now_s)
        else:
            self._trial.n_others += 1
            if self._trial.n_others >= PROBE_STEPS:
                self._trial, self._tried_at_s = None, now_s  # steps of its kind no longer come
        self.n_threads = self._counts[self._trial.index if self._trial else self._index]

    def _learn(self, key: Hashable, cost: float) -> None:
        known = self._costs.get(key)
        self._costs[key] = cost if known is None else known + _SMOOTHING * (cost - known)
        self._recent.setdefault(key, collections.deque(maxlen=_N_RECENT)).append(cost)

    def _next_trial(self, key: Hashable, now_s: float, is_steady: bool) -> _Trial | None:
        """A trial when one is due."""
        recent = list(self._recent[key])[-(_N_RECENT if is_steady else _N_UNSTEADY_RECENT) :]
        unrest = _UNREST if is_steady else _UNSTEADY_UNREST
        is_calm = self._index == 0 and self._costs[key] <= unrest * min(recent)
        if is_calm and not is_steady:
            return None
        pause_s = _CALM_PAUSE_S if is_calm else self._pause_s
        if self._tried_at_s is None or now_s - self._tried_at_s < pause_s:
            return None
        self._tries_fewer = not self._tries_fewer
        index = self._index + (1 if self._tries_fewer else -1)
        if not 0 <= index < len(self._counts):
            index = self._index + (-1 if self._tries_fewer else 1)
        return _Trial(index, key)

    def _conclude(self, trial: _Trial, now_s: float) -> None:
        """Stay with what was tried, or go back."""
        if statistics.median(trial.costs[1:]) < _MIN_GAIN * self._costs[trial.key]:
            self._index = trial.index
            self._costs.clear()
            self._recent.clear()
            self._pause_s = _MIN_PAUSE_S
        else:
            self._pause_s = min(2 * self._pause_s, _MAX_PAUSE_S)
        self._tried_at_s = now_s
        self._trial = None


def thread_counts(n_max: int) -> tuple[int, ...]:
    """Numbers of threads worth a trial, the most first: one less, three quarters, a half, a quarter, one."""
    counts = {n_max, n_max - 1, 3 * n_max // 4, n_max // 2, n_max // 4, 1}
    return tuple(sorted((n for n in counts if 1 <= n <= n_max), reverse=True)) or (1,)
