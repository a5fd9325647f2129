"""One loaded worker and the requests that are open on it.

Knows messages and when a worker is dead or hung. Does not know retries: see `server.backends.llamacpp`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from typing import Final

from server.backends.base import BackendStats, LoadedInfo
from server.backends.failures import load_ended_error, load_error
from server.backends.mailbox import Mailbox, SessionEnd
from server.backends.process import WorkerProcess
from server.backends.rate import RateWindow
from server.errors import EngineError
from server.ipc.messages import (
    Abort,
    Detokenize,
    Embed,
    Embeddings,
    Failed,
    Finished,
    FromEngine,
    Load,
    Loaded,
    LoadFailed,
    LoadProgress,
    Rerank,
    Scores,
    Step,
    StepStats,
    Submit,
    Text,
    Tokenize,
    Tokens,
)
from server.types.generation import LoadParams, ModelPaths

ABORT_TIMEOUT_S: Final = 5.0
"""How long an abort is waited for; a batch of a large model on a processor may take seconds."""

LEAVE_TIMEOUT_S: Final = 2.0
"""How long a worker may take to exit after Shutdown before it is killed."""

Question = Submit | Embed | Rerank | Tokenize | Detokenize


class EngineSession:
    """A worker that has loaded its model. It ends once; `end` then says why, as to every open request.

    Attributes:
        info: the model as the worker told of it last.
    """

    def __init__(
        self,
        worker: WorkerProcess,
        info: LoadedInfo,
        *,
        hang_timeout_s: float,
        on_end: Callable[[SessionEnd], None],
        on_answered: Callable[[], None],
    ) -> None:
        self.info = info
        self.end: SessionEnd | None = None
        self._worker = worker
        self._hang_timeout_s = hang_timeout_s
        self._on_end = on_end
        self._on_answered = on_answered
        self._open: dict[int, Mailbox] = {}
        self._idle = asyncio.Event()
        self._idle.set()
        self._stats = StepStats()
        self._rate = RateWindow()
        self._loop = asyncio.get_running_loop()
        self._heard_at = self._loop.time()
        self._hang_timer: asyncio.TimerHandle | None = None
        self._is_hung = False
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def open(
        cls,
        worker: WorkerProcess,
        paths: ModelPaths,
        params: LoadParams,
        *,
        on_progress: Callable[[float], None],
        hang_timeout_s: float,
        on_end: Callable[[SessionEnd], None],
        on_answered: Callable[[], None] = lambda: None,
    ) -> EngineSession:
        """Load a model into a worker. A call that fails or is cancelled ends the worker.

        `on_end` is told of a worker that ends by itself, be it in the load. `on_answered` is called each time
        that the last of the open answers has ended.

        Raises: LoadFailed, OutOfMemory, BadModelFile.
        """
        try:
            loaded = await _load(worker, paths, params, on_progress, on_end)
        except BaseException:
            worker.kill()
            await worker.reap()
            raise
        return cls(
            worker,
            _loaded_info(loaded),
            hang_timeout_s=hang_timeout_s,
            on_end=on_end,
            on_answered=on_answered,
        )

    @contextlib.asynccontextmanager
    async def ask(self, question: Question) -> AsyncGenerator[Mailbox, None]:
        """Send a question. Leaving the block before its end aborts it and waits, bounded, for the end."""
        mailbox = Mailbox(question.request_id)
        if self.end is not None:
            mailbox.end(self.end)
        else:
            self._worker.send(question)
            self._begin(mailbox)
        try:
            yield mailbox
        finally:
            if not mailbox.has_ended:
                self._worker.send(Abort(question.request_id))
                with contextlib.suppress(TimeoutError):  # it stays open, so that a hang is noticed
                    async with asyncio.timeout(ABORT_TIMEOUT_S):
                        await mailbox.wait_end()

    def stats(self) -> BackendStats:
        """The worker as of its last frame."""
        if self.end is not None:
            return BackendStats()
        idle = not self._open
        return BackendStats(
            n_busy_slots=0 if idle else self._stats.n_busy_slots,
            n_queued=0 if idle else self._stats.n_queued,
            n_kv_tokens=0 if idle else self._stats.n_kv_tokens,
            host_cache_bytes=self._stats.host_cache_bytes,
            tokens_per_s=self._rate.per_second(self._loop.time()),
            pid=self._worker.pid,
            loaded=self.info,
        )

    async def close(self, grace_s: float) -> None:
        """Let open requests end for `grace_s`, end the others with cause "closed", and end the worker."""
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(grace_s):
                    await self._idle.wait()
            self._finish(SessionEnd(cause="closed"))
            self._worker.ask_to_leave()
            await asyncio.wait([self._reader], timeout=LEAVE_TIMEOUT_S)
        finally:
            self._finish(SessionEnd(cause="closed"))
            self._worker.kill()
            await self._reader

    async def _read(self) -> None:
        """Hand out frames until the worker is gone, then end what is open."""
        detail = ""
        try:
            await self._worker.deliver(self._dispatch)
        except EngineError as error:
            detail = error.message
        finally:
            if detail:
                self._worker.kill()
            exit_code = await self._worker.reap()
            self._finish(self._end_of(exit_code, detail))

    def _dispatch(self, message: FromEngine) -> None:
        self._heard_at = self._loop.time()
        if isinstance(message, Step):
            self._stats = message.stats
            n_tokens = 0
            for delta in message.deltas:
                n_tokens += len(delta.tokens)
                if (mailbox := self._open.get(delta.request_id)) is not None:
                    mailbox.put(delta)
            if n_tokens:
                self._rate.add(n_tokens, self._heard_at)
        elif isinstance(message, Loaded):
            self.info = _loaded_info(message)
        elif isinstance(message, Finished | Failed | Tokens | Text | Embeddings | Scores):
            if (mailbox := self._open.pop(message.request_id, None)) is not None:
                mailbox.end(message, self._heard_at)
            if not self._open:
                self._idle.set()
                if not isinstance(message, Tokens | Text):  # these only prepare an answer
                    self._on_answered()

    def _begin(self, mailbox: Mailbox) -> None:
        if not self._open:
            self._idle.clear()
            self._heard_at = self._loop.time()  # the silence of an idle worker does not count
        self._open[mailbox.request_id] = mailbox
        if self._hang_timer is None:
            self._hang_timer = self._loop.call_later(self._hang_timeout_s, self._check_hang)

    def _check_hang(self) -> None:
        """Kill a worker that is silent while it has work; look again when the silence can be long enough."""
        self._hang_timer = None
        if not self._open or self.end is not None:
            return
        left_s = self._heard_at + self._hang_timeout_s - self._loop.time()
        if left_s <= 0:
            self._is_hung = True
            self._worker.kill()
        else:
            self._hang_timer = self._loop.call_later(left_s, self._check_hang)

    def _end_of(self, exit_code: int, detail: str) -> SessionEnd:
        if self._is_hung:
            detail = f"no sign of life for {self._hang_timeout_s:.0f} s"
        return SessionEnd(
            cause="hung" if self._is_hung else "crashed",
            exit_code=exit_code,
            log_tail=self._worker.log.text,
            detail=detail,
            n_open=len(self._open),
            suspects=self._suspects(),
        )

    def _suspects(self) -> frozenset[int]:
        if self._stats.n_queued:
            return frozenset()
        return frozenset(request_id for request_id, mailbox in self._open.items() if not mailbox.tokens)

    def _finish(self, end: SessionEnd) -> None:
        """The first end counts."""
        if self.end is not None:
            return
        self.end = end
        if self._hang_timer is not None:
            self._hang_timer.cancel()
        self._on_end(end)
        for mailbox in self._open.values():
            mailbox.end(end, self._loop.time())
        self._open.clear()
        self._idle.set()


async def _load(
    worker: WorkerProcess,
    paths: ModelPaths,
    params: LoadParams,
    on_progress: Callable[[float], None],
    on_end: Callable[[SessionEnd], None],
) -> Loaded:
    worker.send(Load(paths, params))
    while (message := await worker.receive()) is not None:
        if isinstance(message, Loaded):
            return message
        if isinstance(message, LoadFailed):
            worker.ask_to_leave()
            await worker.reap()
            raise load_error(message, worker.log.text)
        if isinstance(message, LoadProgress):
            on_progress(message.fraction)
    exit_code = await worker.reap()
    end = SessionEnd(cause="crashed", exit_code=exit_code, log_tail=worker.log.text, in_load=True)
    on_end(end)
    raise load_ended_error(end)


def _loaded_info(loaded: Loaded) -> LoadedInfo:
    return LoadedInfo(
        n_ctx=loaded.n_ctx,
        n_ctx_train=loaded.n_ctx_train,
        n_slots=loaded.n_slots,
        n_vocab=loaded.n_vocab,
        n_embd=loaded.n_embd,
        can_shift=loaded.can_shift,
        weights_bytes=loaded.weights_bytes,
        kv_bytes=loaded.kv_bytes,
        compute_bytes=loaded.compute_bytes,
        vram_bytes=loaded.vram_bytes,
        bos_text=loaded.bos_text,
        eos_text=loaded.eos_text,
        has_draft_model=loaded.has_draft_model,
        draft_refusal=loaded.draft_refusal,
        device_parts=loaded.device_parts,
    )
