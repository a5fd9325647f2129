"""Bounded histories of measured values."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator


class Ring:
    """The newest samples of one value, at most `capacity` of them.

    Samples that come within one `period_s` share a slot that keeps their maximum, so a short peak never
    vanishes between two slots.
    """

    def __init__(self, capacity: int, period_s: float) -> None:
        self._values: deque[float] = deque(maxlen=capacity)
        self._period_s = period_s
        self._slot: int | None = None

    def add(self, value: float, now_s: float) -> bool:
        """Take a sample at `now_s`; True when it opened a new slot. A gap is filled with the last value."""
        slot = int(now_s / self._period_s)
        if self._slot is None or slot < self._slot:
            self._values.append(value)
            self._slot = slot
            return True
        if slot == self._slot:
            self._values[-1] = max(self._values[-1], value)
            return False
        n_missing = min(slot - self._slot - 1, self._values.maxlen or 0)
        self._values.extend([self._values[-1]] * n_missing)
        self._values.append(value)
        self._slot = slot
        return True

    def __len__(self) -> int:
        return len(self._values)

    def __iter__(self) -> Iterator[float]:
        return iter(self._values)

    @property
    def peak(self) -> float:
        """Largest sample that is kept, 0 without any."""
        return max(self._values, default=0.0)

    def window(self, n_slots: int, n_columns: int) -> list[float]:
        """The newest `n_slots` pooled by maximum into at most `n_columns` values, oldest first."""
        values = list(self._values)[-n_slots:]
        if n_columns <= 0:
            return []
        per_column = max(1, -(-n_slots // n_columns))
        # Buckets are aligned to the right edge so that the newest one may be the only one that changes.
        pooled: list[float] = []
        for end in range(len(values), 0, -per_column):
            pooled.append(max(values[max(0, end - per_column) : end]))
        return pooled[::-1][-n_columns:]
