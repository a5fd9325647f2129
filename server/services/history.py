"""What the devices and the requests did in the last 24 hours: rings of bounded length, filled by one task."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from server.hardware.devices import DeviceSampler
from server.services.requests import RequestLog
from server.types.history import DeviceTrack, StatusHistory
from server.types.status import DeviceSnapshot

_log = logging.getLogger("olla")

SAMPLE_S: Final = 2.0

RINGS: Final = ((2, 300), (20, 360), (120, 720))
"""(seconds of a slot, slots): ten minutes, two hours, a day."""

MAX_DEVICES: Final = 32
MAX_WINDOW_S: Final = 86_400


class Sample(msgspec.Struct, frozen=True):
    """One look at the server.

    Attributes:
        n_ended, n_failed: since the sample before.
    """

    devices: tuple[DeviceSnapshot, ...]
    n_active: int = 0
    n_queued: int = 0
    tokens_per_s: float = 0.0
    n_ended: int = 0
    n_failed: int = 0


class _Slot:
    """Samples of one slot: peaks of what is a level, sums of what is a count."""

    def __init__(self, number: int, sample: Sample) -> None:
        self.number = number
        self.devices = list(sample.devices[:MAX_DEVICES])
        self.n_active, self.n_queued = sample.n_active, sample.n_queued
        self.tokens_per_s = sample.tokens_per_s
        self.n_ended, self.n_failed = sample.n_ended, sample.n_failed

    def add(self, sample: Sample) -> None:
        now = sample.devices[:MAX_DEVICES]
        if [device.name for device in now] == [device.name for device in self.devices]:
            self.devices = [_peak(old, new) for old, new in zip(self.devices, now, strict=True)]
        else:
            self.devices = list(now)
        self.n_active = max(self.n_active, sample.n_active)
        self.n_queued = max(self.n_queued, sample.n_queued)
        self.tokens_per_s = max(self.tokens_per_s, sample.tokens_per_s)
        self.n_ended += sample.n_ended
        self.n_failed += sample.n_failed


class HistoryRings:
    """The rings. Pure; times are Unix seconds and go forward, or a sample is left out."""

    def __init__(self, rings: Sequence[tuple[int, int]] = RINGS) -> None:
        self._rings = [(period_s, deque[_Slot](maxlen=n_slots)) for period_s, n_slots in rings]

    def add(self, sample: Sample, at_s: float) -> None:
        """Take a sample."""
        for period_s, slots in self._rings:
            number = int(at_s // period_s)
            if slots and number == slots[-1].number:
                slots[-1].add(sample)
            elif not slots or number > slots[-1].number:
                slots.append(_Slot(number, sample))

    def window(self, window_s: int, now_s: float) -> StatusHistory:
        """The last `window_s` seconds from the finest ring that reaches so far; None where nobody looked."""
        period_s, slots = next(
            (ring for ring in self._rings if ring[0] * (ring[1].maxlen or 0) >= window_s), self._rings[-1]
        )
        last = int(now_s // period_s)
        n_slots = max(1, min(-(-window_s // period_s), slots.maxlen or 1))
        by_number = {slot.number: slot for slot in slots}
        row = [by_number.get(number) for number in range(last - n_slots + 1, last + 1)]
        names = next((slot.devices for slot in reversed(row) if slot is not None), [])
        return StatusHistory(
            period_s=period_s,
            end_s=float((last + 1) * period_s),
            devices=tuple(_track(device, index, row) for index, device in enumerate(names)),
            n_active=tuple(None if slot is None else slot.n_active for slot in row),
            n_queued=tuple(None if slot is None else slot.n_queued for slot in row),
            tokens_per_s=tuple(None if slot is None else round(slot.tokens_per_s, 1) for slot in row),
            n_ended=tuple(None if slot is None else slot.n_ended for slot in row),
            n_failed=tuple(None if slot is None else slot.n_failed for slot in row),
        )


class HistoryKeeper:
    """Looks at the server every `SAMPLE_S` seconds, and tells open requests what energy they took."""

    def __init__(
        self,
        devices: DeviceSampler,
        requests: RequestLog,
        tokens_per_s: Callable[[], float],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._devices = devices
        self._requests = requests
        self._tokens_per_s = tokens_per_s
        self._clock = clock
        self._rings = HistoryRings()
        self._task: asyncio.Task[None] | None = None
        self._looked_s: float | None = None

    def start(self) -> None:
        """Begin to look; needs a running loop."""
        self._task = asyncio.create_task(self._look_forever(), name="history")

    async def close(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    def window(self, window_s: int) -> StatusHistory:
        """See `StatusService.history`."""
        return self._rings.window(max(1, min(window_s, MAX_WINDOW_S)), self._clock())

    async def look(self) -> None:
        """Take one sample."""
        devices, _ = await self._devices.sample()
        now_s = self._clock()
        n_ended, n_failed = self._requests.take_ended()
        sample = Sample(
            devices,
            self._requests.n_active(),
            self._requests.n_queued(),
            self._tokens_per_s(),
            n_ended,
            n_failed,
        )
        self._rings.add(sample, now_s)
        if self._looked_s is not None:
            passed_s = min(max(now_s - self._looked_s, 0.0), 2 * SAMPLE_S)
            self._requests.share_energy(power_of(devices) * passed_s)
        self._looked_s = now_s

    async def _look_forever(self) -> None:
        while True:
            await asyncio.sleep(SAMPLE_S)
            try:
                await self.look()
            except OSError as error:  # a device that went away while it was read
                _log.debug("the devices could not be read: %s", error)


def power_of(devices: Sequence[DeviceSnapshot]) -> float:
    """Watts of all devices that tell, 0 where none does."""
    return sum(device.power_w or 0.0 for device in devices)


def _peak(old: DeviceSnapshot, new: DeviceSnapshot) -> DeviceSnapshot:
    return msgspec.structs.replace(
        new,
        utilization=max(old.utilization, new.utilization),
        memory_used_bytes=max(old.memory_used_bytes, new.memory_used_bytes),
        temperature_c=_higher(old.temperature_c, new.temperature_c),
        power_w=_higher(old.power_w, new.power_w),
    )


def _higher(old: float | None, new: float | None) -> float | None:
    known = [value for value in (old, new) if value is not None]
    return max(known, default=None)


def _track(device: DeviceSnapshot, index: int, row: Sequence[_Slot | None]) -> DeviceTrack:
    seen = [slot.devices[index] if slot is not None and index < len(slot.devices) else None for slot in row]
    return DeviceTrack(
        name=device.name,
        kind=device.kind,
        memory_total_bytes=device.memory_total_bytes,
        utilization=tuple(None if one is None else round(one.utilization, 3) for one in seen),
        memory_used_bytes=tuple(None if one is None else one.memory_used_bytes for one in seen),
        power_w=tuple(None if one is None or one.power_w is None else round(one.power_w, 1) for one in seen),
        temperature_c=tuple(
            None if one is None or one.temperature_c is None else round(one.temperature_c, 1) for one in seen
        ),
    )
