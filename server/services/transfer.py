"""One transfer: what it has told so far, and those who follow it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable

from server.registry.rate import RateLimit
from server.types.names import ModelName
from server.types.transfers import (
    TransferInfo,
    TransferKind,
    TransferProgress,
    TransferRequest,
    TransferState,
)

_RATE_WINDOW_S = 5.0
"""Over how long the rate is taken: long enough for parts that end at once, short enough to see a change."""

_RATE_STEP_S = 0.5


class Transfer:
    """A pull or push. Lives on the server's loop.

    Who comes late gets all lines that were told, with their latest numbers.
    """

    def __init__(
        self,
        transfer_id: int,
        kind: TransferKind,
        name: ModelName,
        request: TransferRequest,
        *,
        clock: Callable[[], float],
        started_at: float,
    ) -> None:
        self.id = transfer_id
        self.kind = kind
        self.name = name
        self.request = request
        self.limit = RateLimit(request.limit_bytes_per_s)
        self.state: TransferState = "waiting"
        self.total_bytes = 0
        self.n_followers = 0
        self.may_run = asyncio.Event()
        self.may_run.set()
        self.is_ending = False
        self.goes_on_alone = False
        self.task: asyncio.Task[None] | None = None
        self.work: asyncio.Task[None] | None = None
        self._clock = clock
        self._started_at = started_at
        self._lines: dict[str, TransferProgress] = {}
        self._failure: Exception | None = None
        self._changed = asyncio.Event()
        self._samples: deque[tuple[float, int]] = deque(maxlen=64)

    @property
    def is_over(self) -> bool:
        """Whether it has come to its end."""
        return self.state in ("done", "failed", "cancelled")

    @property
    def completed_bytes(self) -> int:
        """Of all blobs together; never less than before."""
        return sum(line.completed_bytes for line in self._lines.values())

    def tell(self, status: str) -> None:
        """Tell a step."""
        self._put(status, TransferProgress(status))

    def tell_bytes(self, verb: str, digest: str, total_bytes: int, completed_bytes: int) -> None:
        """Tell how far a blob is, never less far than before."""
        before = self._lines.get(digest)
        completed = max(completed_bytes, before.completed_bytes if before else 0)
        self._put(digest, TransferProgress(f"{verb} {digest[7:19]}", digest, total_bytes, completed))
        now = self._clock()
        if not self._samples or now - self._samples[-1][0] >= _RATE_STEP_S:
            self._samples.append((now, self.completed_bytes))

    def end(self, state: TransferState, failure: Exception | None = None) -> None:
        """Come to the end; followers get the failure."""
        self.state = state
        self._failure = failure
        self._wake()

    def wake(self) -> None:
        """Have followers and lists look again."""
        self._wake()

    async def lines(self) -> AsyncGenerator[TransferProgress, None]:
        """Every line, and again whenever its numbers change. Raises: why it failed."""
        sent: dict[str, TransferProgress] = {}
        while True:
            changed = self._changed
            for key, line in list(self._lines.items()):
                if sent.get(key) != line:
                    sent[key] = line
                    yield line
            if changed is not self._changed:
                continue
            if self.is_over:
                if self._failure is not None:
                    raise self._failure
                return
            await changed.wait()

    def info(self) -> TransferInfo:
        """It, for a list."""
        rate = self._rate() if self.state == "running" else 0.0
        left = self.total_bytes - self.completed_bytes
        last = next(reversed(self._lines.values()), None)
        return TransferInfo(
            id=self.id,
            kind=self.kind,
            model=self.name.display(),
            state=self.state,
            status=str(self._failure) if self._failure else last.status if last else "",
            total_bytes=self.total_bytes,
            completed_bytes=self.completed_bytes,
            bytes_per_s=rate,
            remaining_s=left / rate if rate > 0 and self.total_bytes else None,
            limit_bytes_per_s=self.limit.bytes_per_s,
            insecure=self.request.insecure,
            n_followers=self.n_followers,
            started_at=self._started_at,
        )

    def forget_rate(self) -> None:
        """Begin to measure anew, after a pause."""
        self._samples.clear()

    def _rate(self) -> float:
        now, completed = self._clock(), self.completed_bytes
        while len(self._samples) > 1 and now - self._samples[0][0] > _RATE_WINDOW_S:
            self._samples.popleft()
        if not self._samples or now - self._samples[0][0] < _RATE_STEP_S:
            return 0.0
        since, before = self._samples[0]
        return (completed - before) / (now - since)

    def _put(self, key: str, line: TransferProgress) -> None:
        if self._lines.get(key) != line:
            self._lines[key] = line
            self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
