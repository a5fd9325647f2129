"""A request for a model, from its arrival until it holds one."""

from __future__ import annotations

import asyncio

from server.errors import ShuttingDown
from server.runners.resident import Entry
from server.runners.runner import LoadTarget


class Ticket:
    """A request in the queue. The pool sets `entry` (pinned) or `error`, and `changed` with each news."""

    def __init__(self, target: LoadTarget, keep_alive_s: float | None) -> None:
        self.target = target
        self.keep_alive_s = keep_alive_s
        self.entry: Entry | None = None
        self.error: ShuttingDown | None = None
        self.position = 0
        self.reason = ""
        self.changed = asyncio.Event()
        self.is_served = False  # room is being made for it: it does not count as waiting
        self.is_impatient = False
        self.patience: asyncio.TimerHandle | None = None

    def tell(self, position: int, reason: str) -> None:
        """Set where the request stands; wakes it when that is news."""
        if (self.position, self.reason) != (position, reason):
            self.position, self.reason = position, reason
            self.changed.set()

    def leave_queue(self) -> None:
        """The request waits no longer, or waits elsewhere."""
        if self.patience is not None:
            self.patience.cancel()
        self.changed.set()
