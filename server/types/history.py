"""What devices and requests did over time, for graphs and for looking back."""

from __future__ import annotations

from typing import Literal

import msgspec


class DeviceTrack(msgspec.Struct, frozen=True, kw_only=True):
    """A device over time: the peak of each slot, oldest first; None where nobody looked or it is silent."""

    name: str
    kind: Literal["gpu", "cpu"]
    memory_total_bytes: int
    utilization: tuple[float | None, ...] = ()
    memory_used_bytes: tuple[int | None, ...] = ()
    power_w: tuple[float | None, ...] = ()
    temperature_c: tuple[float | None, ...] = ()


class StatusHistory(msgspec.Struct, frozen=True, kw_only=True):
    """The server over a time window in slots of `period_s`; all tuples have a value for each slot.

    Attributes:
        end_s: Unix time at which the last slot ends, seconds.
        n_active, n_queued, tokens_per_s: the most of the slot.
        n_ended, n_failed: requests that came to their end within the slot; the failed are among the ended.
    """

    period_s: int
    end_s: float
    devices: tuple[DeviceTrack, ...] = ()
    n_active: tuple[int | None, ...] = ()
    n_queued: tuple[int | None, ...] = ()
    tokens_per_s: tuple[float | None, ...] = ()
    n_ended: tuple[int | None, ...] = ()
    n_failed: tuple[int | None, ...] = ()
