"""The loaded models: who gets which, who waits, and who makes room.

All decisions are taken in functions that do not await, so nothing changes between looking and acting.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, Callable
from typing import Final

import msgspec

from server.backends.base import Backend, LoadedInfo
from server.errors import OutOfMemory, QueueFull, ShuttingDown
from server.runners.policy import Await, Evict, LoadNow, Plan, max_loaded_models, plan_load
from server.runners.resident import Entry
from server.runners.runner import LoadTarget, Runner
from server.runners.ticket import Ticket
from server.types.models import RunningModel

__all__ = ["Lease", "LoadTarget", "RunnerPool"]

QUEUE_FULL_TEXT: Final = "server busy, please try again.  maximum pending requests exceeded"
"""Ollama's text, with its two spaces."""

PATIENCE_S: Final = 10.0
"""How long the first of the queue waits for a model to become idle before one is told to finish and go."""

CLOSE_GRACE_S: Final = 5.0
"""How long open requests may go on when the pool closes."""

log = logging.getLogger("olla.runners")


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """A loaded model for the time of one request.

    Attributes:
        load_duration_ns: from the request for the model until it was there, waiting included.
    """

    backend: Backend
    info: LoadedInfo
    load_duration_ns: int


class RunnerPool:
    """Loads models on demand, keeps them as long as asked, and unloads the least recently used for room."""

    def __init__(
        self,
        *,
        new_backend: Callable[[str], Backend],
        max_loaded: int,
        max_queue: int,
        default_keep_alive_s: float,
        load_timeout_s: float,
        free_bytes: Callable[[], int],
        resident_bytes: Callable[[int], int | None] = lambda pid: None,
        n_gpus: Callable[[], int] = lambda: 0,
        on_unload: Callable[[str], None] = lambda name: None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """Args:
        new_backend: display name to a backend that has not loaded yet.
        max_loaded: models at once; 0: three for each of `n_gpus()`, at least three.
        max_queue: requests that may wait, beside those whose model is being loaded for them.
        load_timeout_s: longest time without progress during a load; 0 or inf: any.
        free_bytes: memory for models that is free now.
        resident_bytes: memory that a worker takes now, by its process id; None where nobody knows.
        on_unload: told the name when somebody asks to unload a model, be it loaded or not.
        """
        self._new_backend = new_backend
        self._max_loaded = max_loaded
        self._max_queue = max_queue
        self._default_keep_alive_s = default_keep_alive_s
        self._load_timeout_s = load_timeout_s
        self._free_bytes = free_bytes
        self._resident_bytes = resident_bytes
        self._n_gpus = n_gpus
        self._on_unload = on_unload
        self._wall_clock = wall_clock
        self._entries: dict[str, Entry] = {}
        self._queue: list[Ticket] = []
        self._is_closed = False

    @contextlib.asynccontextmanager
    async def acquire(
        self, target: LoadTarget, *, keep_alive_s: float | None, on_wait: Callable[[int, str], None]
    ) -> AsyncGenerator[Lease, None]:
        """Have the model for the time of the block; it is loaded when it is not there.

        Args:
            keep_alive_s: how long it stays afterwards; 0: unload when idle; inf: for ever; None: as it
                is, for a new model the default.
            on_wait: called with (position in the queue or 0, reason) when what the request waits for changes.

        Raises: QueueFull, ShuttingDown; LoadFailed, OutOfMemory and whatever else the load raises.
        """
        started_s = asyncio.get_running_loop().time()
        entry, info = await self._obtain(target, keep_alive_s, on_wait)
        try:
            if keep_alive_s is not None:
                entry.keep_alive_s = keep_alive_s
            waited_s = asyncio.get_running_loop().time() - started_s
            yield Lease(backend=entry.runner.backend, info=info, load_duration_ns=int(waited_s * 1e9))
        finally:
            self._unpin(entry)

    def running(self) -> tuple[RunningModel, ...]:
        """All models that take memory, latest expiry first."""
        now_s, wall_s = asyncio.get_running_loop().time(), self._wall_clock()
        models = [entry.snapshot(now_s, wall_s) for entry in self._entries.values()]
        return tuple(sorted(models, key=lambda model: (-model.expires_at, model.name)))

    @property
    def n_waiting(self) -> int:
        """Requests that wait, without those that a load is under way for."""
        queued = sum(not ticket.is_served for ticket in self._queue)
        return queued + sum(entry.n_waiting for entry in self._entries.values())

    async def unload(self, name: str) -> bool:
        """Unload a model: at once when it is idle, else after its last request. False when it is not there.

        Returns when an idle model's memory is free.
        """
        self._on_unload(name)
        entry = self._entries.get(name)
        if entry is None:
            return False
        entry.keep_alive_s = 0.0
        if entry.n_pins == 0:
            self._retire(entry)
            await entry.runner.wait_ended()
        return True

    def set_keep_alive(self, name: str, keep_alive_s: float) -> bool:
        """Change how long a model stays, counted from now when it is idle. False when it is not there."""
        entry = self._entries.get(name)
        if entry is None:
            return False
        entry.keep_alive_s = keep_alive_s
        if entry.n_pins == 0 and not entry.is_retiring:
            entry.start_timer(self._expire)
        return True

    async def close(self, grace_s: float = CLOSE_GRACE_S) -> None:
        """Refuse new requests, let open ones end for `grace_s`, and end all models."""
        self._is_closed = True
        for ticket in self._queue:
            ticket.error = ShuttingDown("the server is shutting down")
            ticket.changed.set()
        self._queue.clear()
        entries = list(self._entries.values())
        for entry in entries:
            entry.is_retiring = True
            entry.stop_timer()
            entry.runner.stop(grace_s)
        for entry in entries:
            await entry.runner.wait_ended()

    async def _obtain(
        self, target: LoadTarget, keep_alive_s: float | None, on_wait: Callable[[int, str], None]
    ) -> tuple[Entry, LoadedInfo]:
        """A pinned entry that is ready. A load that lacks memory is tried again once idle models are gone."""
        try:
            return await self._obtain_once(target, keep_alive_s, on_wait)
        except OutOfMemory:
            idle = [
                entry for entry in self._entries.values() if entry.n_pins == 0 and entry.name != target.name
            ]
            if not idle or self._is_closed:
                raise
        on_wait(0, "makes room: the model did not fit beside the others")
        for entry in idle:
            self._retire(entry)
        for entry in idle:
            await entry.runner.wait_ended()
        return await self._obtain_once(target, keep_alive_s, on_wait)

    async def _obtain_once(
        self, target: LoadTarget, keep_alive_s: float | None, on_wait: Callable[[int, str], None]
    ) -> tuple[Entry, LoadedInfo]:
        ticket = self._enter(target, keep_alive_s)
        try:
            while ticket.entry is None:
                if ticket.error is not None:
                    raise ticket.error
                ticket.changed.clear()
                on_wait(ticket.position, ticket.reason)
                await ticket.changed.wait()
            if ticket.entry.runner.is_loading:
                on_wait(0, "loading")
            return ticket.entry, await ticket.entry.runner.ensure_ready()
        except BaseException:
            self._leave(ticket)
            raise

    def _enter(self, target: LoadTarget, keep_alive_s: float | None) -> Ticket:
        """Give the request an entry, or a place in the queue. Raises: QueueFull, ShuttingDown."""
        if self._is_closed:
            raise ShuttingDown("the server is shutting down")
        ticket = Ticket(target, keep_alive_s)
        if self._must_wait(target) and self.n_waiting >= self._max_queue:
            raise QueueFull(QUEUE_FULL_TEXT, hint="OLLAMA_MAX_QUEUE sets how many requests may wait")
        self._queue.append(ticket)
        self._pump()
        return ticket

    def _must_wait(self, target: LoadTarget) -> bool:
        """Whether a new request waits for others: for a load that is theirs, a place, or an end."""
        entry = self._entries.get(target.name)
        if entry is not None and entry.serves(target):
            return entry.runner.is_loading
        return bool(self._queue) or not self._makes_room(self._plan(target, may_drain=False))

    def _leave(self, ticket: Ticket) -> None:
        """The request has gone, or its load has failed."""
        ticket.leave_queue()
        if ticket.entry is not None:
            self._unpin(ticket.entry)
        elif ticket in self._queue:
            self._queue.remove(ticket)
            self._pump()

    def _pump(self) -> None:
        """Serve the queue as far as possible. Loads begin strictly in the order of arrival."""
        if self._is_closed:
            return
        while self._queue and self._serve_first(self._queue[0]):
            self._queue.pop(0)
        for ticket in self._queue[1:]:
            entry = self._entries.get(ticket.target.name)
            if entry is not None and entry.serves(ticket.target):
                self._pin(ticket, entry)
        self._queue = [ticket for ticket in self._queue if ticket.entry is None]
        for position, ticket in enumerate(self._queue[1:], start=2):
            ticket.tell(position, "waits for the requests before it")

    def _serve_first(self, ticket: Ticket) -> bool:
        """Pin an entry for the first of the queue, or do what brings one nearer and say False."""
        entry = self._entries.get(ticket.target.name)
        if entry is not None and entry.serves(ticket.target):
            self._pin(ticket, entry)
            return True
        plan = self._plan(ticket.target, may_drain=ticket.is_impatient)
        if isinstance(plan, LoadNow):
            self._pin(ticket, self._load(ticket))
            return True
        ticket.is_served = self._makes_room(plan)
        if not ticket.is_served and ticket.patience is None:
            loop = asyncio.get_running_loop()
            ticket.patience = loop.call_later(PATIENCE_S, self._lose_patience, ticket)
        if isinstance(plan, Evict):
            ticket.tell(1, f"waits for {', '.join(plan.names)} to unload")
            for name in plan.names:
                self._retire(self._entries[name])
        else:
            ticket.tell(1, plan.reason)
        return False

    def _plan(self, target: LoadTarget, *, may_drain: bool) -> Plan:
        """The policy's plan; a model of the same name that cannot serve the target has to go first."""
        own = self._entries.get(target.name)
        if own is not None and (own.is_retiring or not own.runner.can_serve):
            return Await("waits for the model's earlier requests to end", is_unloading=own.n_pins == 0)
        if own is not None:
            return Evict((own.name,))
        return plan_load(
            target.needed_bytes,
            [entry.for_policy(self._resident_bytes) for entry in self._entries.values()],
            max_loaded=self._max_loaded or max_loaded_models(self._n_gpus()),
            free_bytes=self._free_bytes() if self._entries else 0,
            may_drain=may_drain,
        )

    def _makes_room(self, plan: Plan) -> bool:
        """Whether the plan comes true without any other request having to end."""
        if isinstance(plan, Await):
            return plan.is_unloading
        return isinstance(plan, LoadNow) or all(self._entries[name].n_pins == 0 for name in plan.names)

    def _lose_patience(self, ticket: Ticket) -> None:
        ticket.is_impatient = True
        self._pump()

    def _load(self, ticket: Ticket) -> Entry:
        """A new entry whose load has begun."""
        target = ticket.target
        log.info("loading %s", target.name)
        runner = Runner(
            target,
            self._new_backend(target.name),
            load_timeout_s=self._load_timeout_s,
            on_change=self._note_change,
        )
        keep_alive_s = self._default_keep_alive_s if ticket.keep_alive_s is None else ticket.keep_alive_s
        entry = self._entries[target.name] = Entry(runner, keep_alive_s)
        return entry

    def _pin(self, ticket: Ticket, entry: Entry) -> None:
        entry.n_pins += 1
        entry.stop_timer()
        ticket.entry = entry
        ticket.leave_queue()

    def _unpin(self, entry: Entry) -> None:
        """One request less. A load that nobody waits for ends; so does a model that is to stay no longer."""
        entry.n_pins -= 1
        if entry.n_pins == 0:
            entry.last_used_s = asyncio.get_running_loop().time()
            is_wanted = not (entry.is_retiring or entry.runner.is_loading or entry.keep_alive_s <= 0)
            if is_wanted and entry.runner.backend.is_usable:
                entry.start_timer(self._expire)
            else:
                self._retire(entry)
        self._pump()

    def _expire(self, entry: Entry) -> None:
        log.info("unloading %s: idle for %.0f s", entry.name, entry.keep_alive_s)
        self._retire(entry)

    def _retire(self, entry: Entry) -> None:
        """Give the entry to no new request, and end it with its last."""
        entry.is_retiring = True
        entry.stop_timer()
        if entry.n_pins == 0:
            entry.runner.stop()

    def _note_change(self, runner: Runner) -> None:
        """A runner's task has changed its state; a place may be free."""
        log.debug("%s is %s", runner.target.name, runner.state)
        entry = self._entries.get(runner.target.name)
        if runner.has_ended and entry is not None and entry.runner is runner:
            del self._entries[entry.name]
        self._pump()
