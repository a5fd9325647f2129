"""The open requests and the lately ended ones: what the screen lists and what can be cancelled."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import Any

from server.errors import Cancelled, OllaError, RequestNotFound
from server.types.generation import Origin
from server.types.status import RecordedPrompt, RequestSnapshot, RequestState

ENDED_KEPT = 200
PROMPTS_KEPT = 50
MAX_PROMPT_CHARS = 100_000
"""Of a recorded prompt; what is more is left out in its middle."""

_OPEN: frozenset[RequestState] = frozenset(("queued", "loading", "prefill", "decode"))


class OpenRequest:
    """One request as it goes on; changed by its pipeline alone, on the server's loop."""

    def __init__(
        self,
        request_id: int,
        model: str,
        origin: Origin,
        clock: Callable[[], float],
        record: Callable[[int, str], None] | None = None,
    ) -> None:
        self.id = request_id
        self._record = record
        self.model = model
        self.origin = origin
        self.state: RequestState = "queued"
        self.queue_position = 0
        self.wait_reason = ""
        self.n_prompt_tokens = 0
        self.n_output_tokens = 0
        self.error = ""
        self._clock = clock
        self._started_at = time.time()
        self._started_s = clock()
        self._first_token_s: float | None = None
        self._ended_s: float | None = None
        self._cancelled = False
        self._wait: _Wait | None = None
        self.energy_j = 0.0

    def waits(self, position: int, reason: str) -> None:
        """Record why the request waits and at which place."""
        self.state = "queued" if position else "loading"
        self.queue_position, self.wait_reason = position, reason

    def prefills(self, prompt: str = "") -> None:
        """Record that the model has the prompt, and the prompt itself where they are recorded."""
        if prompt and self._record is not None:
            self._record(self.id, prompt)
        self.state, self.queue_position, self.wait_reason = "prefill", 0, ""

    def decoded(self, n_tokens: int) -> None:
        """Record generated tokens."""
        if self._first_token_s is None and n_tokens:
            self._first_token_s = self._clock() - self._started_s
            self.state = "decode"
        self.n_output_tokens += n_tokens

    def end(self, state: RequestState, error: str = "") -> None:
        """Record the one end of the request."""
        if self._ended_s is None:
            self.state, self.error, self._ended_s = state, error, self._clock()
            self.queue_position, self.wait_reason = 0, ""

    def cancel(self) -> None:
        """Make the wait that the pipeline stands in, or its next one, raise `Cancelled`."""
        self._cancelled = True
        if self._wait is not None:
            self._wait.interrupt()

    def cancellable(self) -> AbstractAsyncContextManager[None]:
        """A wait that `cancel` interrupts. Raises: Cancelled."""
        self._wait = _Wait(self._cancelled)
        return self._wait

    def snapshot(self) -> RequestSnapshot:
        """The request at this moment."""
        until_s = self._clock() if self._ended_s is None else self._ended_s
        duration_s = until_s - self._started_s
        decode_s = duration_s - self._first_token_s if self._first_token_s is not None else 0.0
        return RequestSnapshot(
            id=self.id,
            route=self.origin.route,
            model=self.model,
            client=self.origin.client,
            state=self.state,
            started_at=self._started_at,
            duration_s=duration_s,
            queue_position=self.queue_position,
            wait_reason=self.wait_reason,
            n_prompt_tokens=self.n_prompt_tokens,
            n_output_tokens=self.n_output_tokens,
            first_token_s=self._first_token_s,
            tokens_per_s=(self.n_output_tokens - 1) / decode_s
            if decode_s > 0 and self.n_output_tokens > 1
            else 0.0,
            error=self.error,
            energy_j=round(self.energy_j, 1),
        )


class _Wait(AbstractAsyncContextManager[None]):
    """A block that can be interrupted, as `asyncio.timeout` does it, which costs four times as much.

    There is one for each token. `is_cancelled`: it is not even begun.
    """

    __slots__ = ("_is_interrupted", "_n_cancelling", "_task")

    def __init__(self, is_cancelled: bool) -> None:
        self._is_interrupted = is_cancelled
        self._task: asyncio.Task[Any] | None = None
        self._n_cancelling = 0

    def interrupt(self) -> None:
        """Make the block raise `Cancelled`."""
        if self._task is not None and not self._is_interrupted:
            self._is_interrupted = True
            self._task.cancel()

    async def __aenter__(self) -> None:
        if self._is_interrupted:
            raise Cancelled("the request was cancelled")
        self._task = asyncio.current_task()
        if self._task is not None:
            self._n_cancelling = self._task.cancelling()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        task, self._task = self._task, None
        if task is None or not self._is_interrupted:
            return
        # Whoever else cancelled the task meanwhile is to see it cancelled.
        if task.uncancel() <= self._n_cancelling and kind is asyncio.CancelledError:
            raise Cancelled("the request was cancelled") from None


class RequestLog:
    """All open requests and the last `ENDED_KEPT` that ended."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, *, record_prompts: bool = False) -> None:
        self._clock = clock
        self.records_prompts = record_prompts
        self._prompts: deque[RecordedPrompt] = deque(maxlen=PROMPTS_KEPT)
        self._open: dict[int, OpenRequest] = {}
        self._ended: deque[RequestSnapshot] = deque(maxlen=ENDED_KEPT)
        self._last_id = 0
        self._n_ended = self._n_failed = 0

    @asynccontextmanager
    async def track(self, model: str, origin: Origin) -> AsyncIterator[OpenRequest]:
        """Follow one request until the block ends; how the block ends is how the request ended."""
        self._last_id += 1
        record = self._keep_prompt if self.records_prompts else None
        request = OpenRequest(self._last_id, model, origin, self._clock, record)
        self._open[request.id] = request
        try:
            yield request
        except (GeneratorExit, asyncio.CancelledError, Cancelled):
            request.end("cancelled")
            raise
        except OllaError as error:
            request.end("failed", error.message)
            raise
        except Exception as error:
            request.end("failed", f"internal error: {error}")
            raise
        finally:
            request.end("done")
            del self._open[request.id]
            self._ended.append(request.snapshot())
            self._n_ended += 1
            self._n_failed += request.state == "failed"

    def _keep_prompt(self, request_id: int, text: str) -> None:
        n_left_out = max(0, len(text) - MAX_PROMPT_CHARS)
        if n_left_out:
            text = text[: MAX_PROMPT_CHARS // 2] + text[-MAX_PROMPT_CHARS // 2 :]
        self._prompts.append(RecordedPrompt(id=request_id, text=text, n_left_out=n_left_out))

    def prompt(self, request_id: int) -> RecordedPrompt:
        """The prompt of a request. Raises: RequestNotFound when none is kept of it."""
        if not self.records_prompts:
            hint = "OLLA_RECORD_PROMPTS=1 records the prompts of the requests to come."
            raise RequestNotFound("this server records no prompts", hint=hint)
        for kept in self._prompts:
            if kept.id == request_id:
                return kept
        raise RequestNotFound(f"no prompt is kept of request {request_id}")

    def cancel(self, request_id: int) -> None:
        """End an open request. Raises: RequestNotFound."""
        request = self._open.get(request_id)
        if request is None:
            raise RequestNotFound(f"no open request {request_id}")
        request.cancel()

    def cancel_all(self) -> None:
        """End every open request."""
        for request in tuple(self._open.values()):
            request.cancel()

    def snapshots(self) -> tuple[RequestSnapshot, ...]:
        """Open and ended requests, newest first."""
        opened = [request.snapshot() for request in self._open.values()]
        return tuple(sorted((*opened, *self._ended), key=lambda snapshot: -snapshot.id))

    def take_ended(self) -> tuple[int, int]:
        """How many requests have ended, and how many of them failed, since this was asked last."""
        counts = self._n_ended, self._n_failed
        self._n_ended = self._n_failed = 0
        return counts

    def share_energy(self, joules: float) -> None:
        """Put the energy that devices took lately down to the requests under way, in equal parts."""
        active = [request for request in self._open.values() if request.state in ("prefill", "decode")]
        for request in active:
            request.energy_j += joules / len(active)

    def n_active(self) -> int:
        """Requests that a model works on."""
        return sum(request.state in ("prefill", "decode") for request in self._open.values())

    def n_queued(self) -> int:
        """Requests that wait."""
        return len(self._open) - self.n_active()


def is_open(state: RequestState) -> bool:
    """Whether a request in this state can still change."""
    return state in _OPEN
