"""How many threads to compute with while others want the processors too. Pure.

The threads of a step meet at a barrier after each operation. With the processors to themselves, more of
them are faster; when another program takes one away, all wait for the thread that lost it, and fewer
threads, each with a processor of its own, can be more than twice as fast. Which is the case is found out
by trying: the next smaller or larger number for a few steps when steps vary more than they do in peace,
and once in a while in any case. Where the system tells what other programs take, nothing is tried while
they take next to nothing.
"""

from __future__ import annotations

import collections
import statistics
from collections.abc import Hashable
from typing import Final

import msgspec

PROBE_STEPS: Final = 4
"""Steps of a trial; the first one, which starts or ends threads, does not count."""

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

_HOPELESS: Final = 3.0
"""A trial of more threads ends with a step that takes so many times what steps took before."""

_WORSE: Final = 1.15
"""A trial of fewer threads ends with a step that takes so many times what steps took before."""

_PAUSE_PER_TRIAL: Final = 10.0
"""After a trial that brought nothing at least so many times as long passes before the next one: what large
models lose by it, whose steps are long, is a few percent then."""

_N_FOR_OUTLIER: Final = 4
"""Of so many steps the longest one is taken for an accident: it says nothing about the next ones."""

_MIN_PAUSE_S: Final = 0.25
_MAX_PAUSE_S: Final = 4.0
_MAX_SEEING_PAUSE_S: Final = 16.0
_CALM_PAUSE_S: Final = 30.0
"""Between trials after one that brought nothing: doubled each time up to the second, or the third where other
programs are seen to leave; the fourth in peace."""


BUSY_FROM: Final = 0.25
CALM_BELOW: Final = 0.125
"""Processors' worth of time that other programs take: fewer threads are tried from the first on, and below
the second all are used again."""


class _Trial(msgspec.Struct):
    """A number of threads that is being tried. `n_others`: steps of other kinds since it began."""

    index: int
    key: Hashable
    begun_s: float
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
        self._n_failed_fewer = 0  # trials of fewer threads in vain since one that was not
        self.n_max = self.n_threads = n_max

    def measured(
        self,
        key: Hashable,
        cost: float,
        now_s: float,
        *,
        is_steady: bool = True,
        n_others: float | None = None,
    ) -> None:
        """A step of a kind took `cost`. Sets `n_threads` for the next one.

        Args:
            is_steady: steps of this kind take equally long in peace. The others give no reason for a trial by
                being a little longer, and are not tried with fewer threads in peace: theirs are the longest
                steps.
            n_others: processors' worth of time that other programs take; None: not known.
        """
        if len(self._counts) == 1 or cost <= 0.0:
            return
        if self._tried_at_s is None:
            self._tried_at_s = now_s
        if n_others is not None and n_others < CALM_BELOW and (self._index or self._trial is not None):
            self._use_all(now_s)
        if self._trial is None:
            self._learn(key, cost)
            if n_others is None or n_others >= BUSY_FROM or self._index:
                self._trial = self._next_trial(key, now_s, is_steady)
        elif self._trial.key == key:
            self._trial.costs.append(cost)
            if len(self._trial.costs) >= PROBE_STEPS or self._is_hopeless(self._trial):
                self._conclude(self._trial, now_s, _MAX_PAUSE_S if n_others is None else _MAX_SEEING_PAUSE_S)
        else:
            self._trial.n_others += 1
            if self._trial.n_others >= PROBE_STEPS:
                self._trial, self._tried_at_s = None, now_s  # steps of its kind no longer come
        self.n_threads = self._counts[self._trial.index if self._trial else self._index]

    def _use_all(self, now_s: float) -> None:
        """Nobody else wants the processors any more."""
        if self._index:
            self._index = 0
            self._costs.clear()
            self._recent.clear()
        self._trial, self._tried_at_s = None, now_s

    def _learn(self, key: Hashable, cost: float) -> None:
        known = self._costs.get(key)
        self._costs[key] = cost if known is None else known + _SMOOTHING * (cost - known)
        recent = self._recent.get(key)
        if recent is None:
            recent = self._recent[key] = collections.deque(maxlen=_N_RECENT)
        recent.append(cost)

    def _is_hopeless(self, trial: _Trial) -> bool:
        """Whether the last step of a trial says already that it brings nothing."""
        if trial.index < self._index:
            return trial.costs[-1] > _HOPELESS * self._costs[trial.key]
        return len(trial.costs) > 1 and trial.costs[-1] > _WORSE * self._usual(trial.key)

    def _usual(self, key: Hashable) -> float:
        """What steps of a kind cost of late, without regard to a single one that took much longer."""
        recent = self._recent[key]
        if len(recent) < _N_FOR_OUTLIER:
            return self._costs[key]
        return min(self._costs[key], (sum(recent) - max(recent)) / (len(recent) - 1))

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
        n_fewer = len(self._counts) - 1 - self._index
        self._tries_fewer = n_fewer > 0 and (self._index == 0 or not self._tries_fewer)
        if not self._tries_fewer:
            return _Trial(self._index - 1, key, now_s)
        # One less may be as bad as none less: look further each time.
        return _Trial(self._index + 1 + self._n_failed_fewer % n_fewer, key, now_s)

    def _conclude(self, trial: _Trial, now_s: float, max_pause_s: float) -> None:
        """Stay with what was tried, or go back.

        With more threads it is now and then that a step waits long, which their middle would not show.
        """
        average = statistics.median if trial.index > self._index else statistics.fmean
        bound = _MIN_GAIN * self._usual(trial.key)
        if len(trial.costs) >= PROBE_STEPS and average(trial.costs[1:]) < bound:
            self._index = trial.index
            self._costs.clear()
            self._recent.clear()
            self._pause_s = _MIN_PAUSE_S
            self._n_failed_fewer = 0
        else:
            self._n_failed_fewer += trial.index > self._index
            lost_s = _PAUSE_PER_TRIAL * (now_s - trial.begun_s)
            self._pause_s = max(min(2 * self._pause_s, max_pause_s), min(lost_s, _MAX_SEEING_PAUSE_S))
        self._tried_at_s = now_s
        self._trial = None


def thread_counts(n_max: int) -> tuple[int, ...]:
    """Numbers of threads worth a trial, the most first: one less, three quarters, a half, a quarter, one."""
    counts = {n_max, n_max - 1, 3 * n_max // 4, n_max // 2, n_max // 4, 1}
    return tuple(sorted((n for n in counts if 1 <= n <= n_max), reverse=True)) or (1,)
