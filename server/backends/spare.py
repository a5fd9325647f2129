"""One worker that is started before it is needed, so that a model loads without waiting for imports."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from server.backends.process import DEFAULT_COMMAND, WorkerProcess

FIRST_AFTER_S = 1.0
"""How long after the start of a server the first worker is started: until then a screen begins that wants the
processors, and nobody has typed a question yet."""

READY_AFTER_S = 0.25
"""How long after a load the next worker is started, unless the first answer has ended before: until then it
needs the processors."""


class SpareWorker:
    """Hands out workers that have said Hello; keeps at most one ready, from `begin` until `close`.

    Whoever takes one says with `restock` when its model is loaded: until then the load needs the processors.
    """

    def __init__(
        self,
        command: Sequence[str] = DEFAULT_COMMAND,
        *,
        ready_after_s: float = READY_AFTER_S,
        first_after_s: float = FIRST_AFTER_S,
    ) -> None:
        self._command = tuple(command)
        self._ready_after_s = ready_after_s
        self._first_after_s = first_after_s
        self._task: asyncio.Task[WorkerProcess] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def pid(self) -> int:
        """Process id of the worker that is ready, 0 when none is."""
        task = self._task
        if task is None or not task.done() or task.cancelled() or task.exception() is not None:
            return 0
        worker = task.result()
        return 0 if worker.has_exited else worker.pid

    def begin(self) -> None:
        """Start the first spare worker in a while, unless a load is faster."""
        self._prepare_in(self._first_after_s)

    def prepare(self) -> None:
        """Start a spare worker now, unless one is ready or on its way."""
        self._cancel_timer()
        if self._task is None and not self._closed:
            self._task = asyncio.create_task(WorkerProcess.spawn(self._command))

    async def take(self, on_line: Callable[[str], None]) -> WorkerProcess:
        """A worker that is the caller's from now on, its log lines going to `on_line`. Raises: LoadFailed."""
        worker = await self._take_ready()
        self._cancel_timer()
        if worker is None:
            return await WorkerProcess.spawn(self._command, on_line)
        worker.log.forward_to(on_line)
        return worker

    def restock(self) -> None:
        """Start the next spare worker in a moment."""
        self._prepare_in(self._ready_after_s)

    async def close(self) -> None:
        """End the spare worker, if there is one."""
        self._closed = True
        self._cancel_timer()
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
            await _discard(task)

    async def _take_ready(self) -> WorkerProcess | None:
        """The spare; None when there is none, when it did not start, or when it has died since.

        A call that is cancelled leaves the spare where it is.
        """
        while (task := self._task) is not None:
            await asyncio.wait([task])
            if self._task is not task:
                continue  # another call was faster
            self._task = None
            if task.cancelled() or task.exception() is not None:
                return None  # the worker that is spawned instead tells its caller what is wrong
            worker = task.result()
            if not worker.has_exited:
                return worker
            await worker.reap()
        return None

    def _prepare_in(self, seconds: float) -> None:
        self._cancel_timer()
        if not self._closed:
            self._timer = asyncio.get_running_loop().call_later(seconds, self.prepare)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


async def _discard(task: asyncio.Task[WorkerProcess]) -> None:
    """End the worker of a finished task, if it has one."""
    if not task.cancelled() and task.exception() is None:
        worker = task.result()
        worker.ask_to_leave()
        await worker.reap()
