"""Messages from the server: a thread reads them, the engine takes them between steps."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Collection
from typing import Final

from server.engine.media_intake import MediaReady
from server.ipc.framing import TO_ENGINE, decode, read_frame
from server.ipc.messages import Abort, Shutdown, ToEngine

_LEAVE_TIMEOUT_S: Final = 2.0
"""How long a worker that was told to leave may take after the end of its input."""

_EXIT_UNREADABLE: Final = 70
"""EX_SOFTWARE of sysexits.h."""


class Inbox:
    """What the server sent and the engine has not taken.

    The end of the stream means that the server is gone: the process ends at once, whatever it is doing, so
    that no memory of a device stays in use; only after a `Shutdown` it may take a moment to leave. A broken
    frame ends it as well, since nothing after it can be trusted.

    Attributes:
        is_closing: a `Shutdown` has arrived; a load in progress may stop.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._queue: queue.SimpleQueue[ToEngine | MediaReady] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._aborted: set[int] = set()
        self._step: frozenset[int] = frozenset()
        self._abort_step: Callable[[], None] | None = None
        self.is_closing = False

    def start(self) -> None:
        """Start to read."""
        threading.Thread(target=self._read, name="inbox", daemon=True).start()

    def take(self, timeout_s: float | None) -> ToEngine | MediaReady | None:
        """The next message; waits `timeout_s` seconds for it, 0 not at all, None without end."""
        try:
            if timeout_s == 0:
                return self._queue.get_nowait()
            return self._queue.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def tell(self, ready: MediaReady) -> None:
        """The files of a request are encoded; any thread may call it."""
        self._queue.put(ready)

    def step_begins(self, request_ids: Collection[int], abort_step: Callable[[], None]) -> None:
        """A step for these requests begins; it is aborted once all of them are."""
        with self._lock:
            self._step = frozenset(request_ids)
            self._abort_step = abort_step
            self._abort_if_pointless()

    def step_ends(self) -> None:
        """The step is over; aborts up to now are in the queue."""
        with self._lock:
            self._step = frozenset()
            self._abort_step = None

    def forget(self, request_id: int) -> None:
        """A request has ended."""
        with self._lock:
            self._aborted.discard(request_id)

    def _read(self) -> None:
        try:
            while True:
                payload = read_frame(self._fd)
                if payload is None:
                    if self.is_closing:  # the engine leaves by itself, once it has saved what it can
                        threading.Event().wait(_LEAVE_TIMEOUT_S)
                    os._exit(0)
                self._put(decode(payload, TO_ENGINE))
        except BaseException as error:
            # A worker that cannot read has no purpose; the server sees the last line and the exit code.
            os.write(2, f"error: the worker cannot read its messages: {error}\n".encode())
            os._exit(_EXIT_UNREADABLE)

    def _put(self, message: ToEngine) -> None:
        if isinstance(message, Shutdown):
            self.is_closing = True
        if isinstance(message, Abort):
            with self._lock:
                self._aborted.add(message.request_id)
                self._queue.put(message)
                self._abort_if_pointless()
        else:
            self._queue.put(message)

    def _abort_if_pointless(self) -> None:
        if self._step and self._abort_step is not None and self._step <= self._aborted:
            self._abort_step()
