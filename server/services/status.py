"""What runs, and the switches for it."""

from __future__ import annotations

import time
from collections.abc import Callable

from server.errors import ModelNotFound
from server.hardware.devices import DeviceSampler
from server.log import LogRing
from server.runners.pool import RunnerPool
from server.services.history import HistoryKeeper
from server.services.requests import RequestLog
from server.types.history import StatusHistory
from server.types.models import RunningModel
from server.types.names import ModelName
from server.types.status import LogLine, RecordedPrompt, StatusSnapshot
from server.version import OLLA_VERSION


class Status:
    """See `StatusService`; all is read from the pool, the request log and the log ring as they stand."""

    def __init__(
        self,
        *,
        pool: RunnerPool,
        requests: RequestLog,
        ring: LogRing,
        devices: DeviceSampler,
        host: str,
        clock: Callable[[], float] = time.time,
        history: HistoryKeeper | None = None,
    ) -> None:
        self._pool = pool
        self._requests = requests
        self._ring = ring
        self._devices = devices
        self._host = host
        self._clock = clock
        self._history = history
        self._started_at = clock()

    async def version(self) -> str:
        """See `StatusService.version`."""
        return OLLA_VERSION

    async def running(self) -> tuple[RunningModel, ...]:
        """See `StatusService.running`."""
        return self._pool.running()

    async def snapshot(self) -> StatusSnapshot:
        """See `StatusService.snapshot`."""
        devices, note = await self._devices.sample()
        running = self._pool.running()
        return StatusSnapshot(
            version=OLLA_VERSION,
            started_at=self._started_at,
            taken_at=self._clock(),
            host=self._host,
            devices=devices,
            device_note=note,
            running=running,
            requests=self._requests.snapshots(),
            n_active=self._requests.n_active(),
            n_queued=self._requests.n_queued(),
            tokens_per_s=sum(model.tokens_per_s for model in running),
            records_prompts=self._requests.records_prompts,
        )

    async def history(self, window_s: int) -> StatusHistory:
        """See `StatusService.history`."""
        if self._history is None:
            return StatusHistory(period_s=1, end_s=self._clock())
        return self._history.window(window_s)

    async def unload(self, name: str) -> None:
        """See `StatusService.unload`."""
        if not await self._pool.unload(display(name)):
            raise ModelNotFound(name, hint="`olla ps` shows the models that are loaded.")

    async def set_keep_alive(self, name: str, keep_alive_s: float) -> None:
        """See `StatusService.set_keep_alive`."""
        if not self._pool.set_keep_alive(display(name), keep_alive_s):
            raise ModelNotFound(name, hint="`olla ps` shows the models that are loaded.")

    async def cancel_request(self, request_id: int) -> None:
        """See `StatusService.cancel_request`."""
        self._requests.cancel(request_id)

    async def prompt(self, request_id: int) -> RecordedPrompt:
        """See `StatusService.prompt`."""
        return self._requests.prompt(request_id)

    async def logs(self, after: int = 0, limit: int = 1000) -> tuple[LogLine, ...]:
        """See `StatusService.logs`."""
        return tuple(
            LogLine(line.number, line.time, line.level, line.source, line.text)
            for line in self._ring.after(after, limit)
        )


def display(name: str) -> str:
    """A name in the form that running models are listed by. Raises: InvalidModelName."""
    return ModelName.parse(name).display()
