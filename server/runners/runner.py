"""One loaded model, from start to end. Its state is changed by its own task alone."""

from __future__ import annotations

import asyncio
import copy
import math
from collections.abc import Callable
from typing import Literal

import msgspec

from server.backends.base import Backend, LoadedInfo
from server.errors import LoadFailed, ShuttingDown
from server.types.generation import LoadParams, ModelPaths
from server.types.models import ModelDetails

State = Literal["starting", "loading", "ready", "stopping", "stopped", "failed"]


class LoadTarget(msgspec.Struct, frozen=True, kw_only=True):
    """A model as it is to be loaded.

    Attributes:
        name: display form; each name is a model of its own, whatever its digest.
        needed_bytes: estimate of the memory that the load takes; 0 when not known.
    """

    name: str
    digest: str
    details: ModelDetails
    paths: ModelPaths
    params: LoadParams
    needed_bytes: int

    def is_same_load(self, other: LoadTarget) -> bool:
        """Whether a model loaded for `other` can serve this target.

        The number of slots does not count: it is chosen by the free memory of the moment, not by the caller.
        """
        mine = msgspec.structs.replace(self.params, n_slots=other.params.n_slots)
        return (self.digest, self.paths, mine) == (other.digest, other.paths, other.params)


class Runner:
    """States: starting -> loading -> ready -> stopping -> stopped, or failed when the load fails."""

    def __init__(
        self,
        target: LoadTarget,
        backend: Backend,
        *,
        load_timeout_s: float,
        on_change: Callable[[Runner], None],
    ) -> None:
        """Starts loading at once.

        Args:
            load_timeout_s: longest time without progress during the load; 0 or inf: any.
            on_change: called by the runner's task after each change of state.
        """
        self.target = target
        self.backend = backend
        self.load_fraction = 0.0
        self.info: LoadedInfo | None = None
        self._load_timeout_s = load_timeout_s if 0 < load_timeout_s < math.inf else None
        self._on_change = on_change
        self._state: State = "starting"
        self._has_ended = False
        self._stop = asyncio.Event()
        self._grace_s = 0.0
        self._ready: asyncio.Future[LoadedInfo] = asyncio.get_running_loop().create_future()
        self._ready.add_done_callback(_note_exception)
        self._task = asyncio.create_task(self._run())

    @property
    def state(self) -> State:
        """Where the runner stands, for lists and logs."""
        return self._state

    @property
    def can_serve(self) -> bool:
        """Whether the model answers, or will once it is loaded."""
        return self._state in ("starting", "loading", "ready") and not self._stop.is_set()

    @property
    def is_loading(self) -> bool:
        """Whether the load is under way."""
        return self._state in ("starting", "loading")

    @property
    def has_ended(self) -> bool:
        """Whether the backend is closed; nothing changes any more."""
        return self._has_ended

    async def ensure_ready(self) -> LoadedInfo:
        """Wait until the model answers. Raises: what the load raised; ShuttingDown after `stop`."""
        await asyncio.wait([self._ready])
        if (error := self._ready.exception()) is not None:
            raise copy.copy(error)  # each waiter raises its own, with its own traceback
        return self._ready.result()

    def stop(self, grace_s: float = 0.0) -> None:
        """Ask the runner to end; a load is cancelled, open calls have `grace_s`. May be called often."""
        self._grace_s = grace_s
        self._stop.set()

    async def wait_ended(self) -> None:
        """Wait until the backend is closed and its memory is free."""
        await asyncio.wait([self._task])

    async def _run(self) -> None:
        end: State = "stopped"
        await asyncio.sleep(0)  # nothing is reported before the constructor returns, with eager tasks too
        try:
            loaded = await self._load_unless_stopped()
            if loaded is not None:
                self.info, self.load_fraction = loaded, 1.0
                self._change("ready")
                self._ready.set_result(loaded)
                await self._stop.wait()
            self._change("stopping")
        except Exception as error:  # whatever it is, the waiters have to hear of it
            end = "failed"
            self._ready.set_exception(error)
            self._change("failed")
        finally:
            if not self._ready.done():
                self._ready.set_exception(ShuttingDown(f"the model '{self.target.name}' is being unloaded"))
            try:
                await self.backend.close(self._grace_s)
            finally:
                self._has_ended = True
                self._change(end)

    async def _load_unless_stopped(self) -> LoadedInfo | None:
        """Load; None when `stop` came first and the load was cancelled."""
        load = asyncio.create_task(self._load())
        stop = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait([load, stop], return_when=asyncio.FIRST_COMPLETED)
        finally:
            stop.cancel()
            load.cancel()
            await asyncio.wait([load])
        return None if load.cancelled() else load.result()

    async def _load(self) -> LoadedInfo:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._load_timeout_s) as stall:

                def on_progress(fraction: float) -> None:
                    self.load_fraction = fraction
                    if self._load_timeout_s is not None:
                        stall.reschedule(loop.time() + self._load_timeout_s)
                    if self._state == "starting":
                        self._change("loading")

                return await self.backend.load(self.target.paths, self.target.params, on_progress)
        except TimeoutError as error:
            raise LoadFailed(
                f"loading '{self.target.name}' made no progress for {self._load_timeout_s:.0f} s",
                hint="OLLAMA_LOAD_TIMEOUT sets how long a load may stall",
            ) from error

    def _change(self, state: State) -> None:
        self._state = state
        self._on_change(self)


def _note_exception(ready: asyncio.Future[LoadedInfo]) -> None:
    """Take note of an exception that may have no waiter left."""
    if not ready.cancelled():
        ready.exception()
