"""The worker's main loop: drain the inbox, run one step, write one piece of output."""

from __future__ import annotations

import gc
import time
from typing import Final

from server.engine.failures import BadRequest, EngineFailure, unexpected
from server.engine.inbox import Inbox
from server.engine.loading import Engine
from server.engine.media_intake import MediaReady, has_files
from server.engine.outbox import Outbox
from server.engine.prompt import token_array
from server.engine.untouched_memory import UntouchedMemory
from server.ipc.messages import (
    Abort,
    Bye,
    Detokenize,
    Embed,
    EngineTimings,
    Finished,
    FromEngine,
    Load,
    Rerank,
    Shutdown,
    Submit,
    Text,
    ToEngine,
    Tokenize,
    Tokens,
)

_STEPS_PER_COLLECTION: Final = 2_000
"""Garbage is collected when the worker is idle, and only after this many steps."""


class Loop:
    """Serves one loaded model until it is told to leave."""

    def __init__(
        self, engine: Engine, inbox: Inbox, outbox: Outbox, untouched: UntouchedMemory | None = None
    ) -> None:
        """`untouched`: what was allocated for the model's context, of which much may never be used."""
        self._engine = engine
        self._worker = engine.generator or engine.embedder
        self._saver = engine.generator.saver if engine.generator is not None else None
        self._untouched = untouched
        self._media = engine.media
        self._inbox = inbox
        self._outbox = outbox
        self._leave_at: float | None = None
        self._n_steps = 0

    def run(self) -> None:
        """Serve; returns after `Bye`."""
        # The objects that exist now stay until the end, and steps make no cycles: let the collector rest.
        gc.collect()
        gc.freeze()
        gc.disable()
        while not self._should_leave():
            self._drain()
            if self._is_idle:
                self._use_idle_time()
            elif not self._has_no_steps:
                self._n_steps += 1
                if not self._is_steady:
                    self._outbox.send()
                self._outbox.send_soon(*self._step())
        if self._media is not None:
            self._outbox.send(*(_cancelled(request_id) for request_id in self._media.forget_all()))
        if self._worker is not None:
            self._outbox.send(*self._worker.abort_all())
        if self._saver is not None:
            self._saver.finish()
        self._outbox.send(Bye())

    @property
    def _is_idle(self) -> bool:
        """Whether no request is open."""
        return self._has_no_steps and not (self._media is not None and self._media.is_busy)

    @property
    def _has_no_steps(self) -> bool:
        """Whether there is nothing to decode, though files may be on their way."""
        return self._worker is None or self._worker.is_idle

    @property
    def _is_steady(self) -> bool:
        """Whether the next step takes about as long as the last one, so that text may wait for it."""
        return self._engine.generator is not None and self._engine.generator.is_steady

    def _should_leave(self) -> bool:
        return self._leave_at is not None and (self._is_idle or time.monotonic() >= self._leave_at)

    def _drain(self) -> None:
        """Take what has arrived; with nothing to do, wait for it."""
        if self._is_idle and self._n_steps >= _STEPS_PER_COLLECTION:
            gc.collect()
            self._n_steps = 0
        message = self._inbox.take(self._patience_s())
        while message is not None:
            self._outbox.send(*self._answer(message))
            message = self._inbox.take(0)

    def _use_idle_time(self) -> None:
        """A piece of what can be done while nobody waits: to give memory back, then to save."""
        if self._leave_at is not None:
            return
        if self._untouched is not None and self._has_memory_to_look_at:
            self._untouched.work()
        elif self._saver is not None and self._saver.wait_s() == 0.0:
            self._saver.work()

    @property
    def _has_memory_to_look_at(self) -> bool:
        """Whether memory may be untouched that was not looked at; not before the first answer."""
        return self._untouched is not None and not self._untouched.is_done and self._n_steps > 0

    def _patience_s(self) -> float | None:
        """How long to wait for a message: not at all with work to do, else until something is to be saved.

        Files that are being encoded announce themselves by a message. Who is to leave does not wait for them.
        """
        if not self._has_no_steps:
            return 0.0
        if not self._is_idle:
            return None if self._leave_at is None else max(0.0, self._leave_at - time.monotonic())
        if self._has_memory_to_look_at:
            return 0.0
        return None if self._saver is None else self._saver.wait_s()

    def _step(self) -> list[FromEngine]:
        messages = [] if self._worker is None else self._worker.step()
        if self._engine.has_lost_draft_model:
            self._engine = self._engine.without_draft_model()
            messages.append(self._engine.loaded)
        return messages

    def _answer(self, message: ToEngine | MediaReady) -> list[FromEngine]:
        """What a message is answered with at once. A request that fails to begin ends here."""
        if isinstance(message, Shutdown):
            self._leave_at = time.monotonic() + message.grace_s
            return []
        if isinstance(message, MediaReady):
            return self._go_on(message)
        if isinstance(message, Abort):
            if self._media is not None and self._media.forget(message.request_id):
                self._inbox.forget(message.request_id)
                return [_cancelled(message.request_id)]
            return [] if self._worker is None else self._worker.abort(message.request_id)
        if isinstance(message, Load):
            return []
        try:
            return self._begin(message)
        except Exception as error:  # it costs this request, not the others
            return [_failure(error).as_message(message.request_id)]

    def _go_on(self, ready: MediaReady) -> list[FromEngine]:
        """The files of a request are encoded, and it begins; unless it was cancelled meanwhile."""
        if self._media is None or self._engine.generator is None or not self._media.take_back(ready):
            return []
        try:
            if ready.error is not None:
                raise ready.error
            self._engine.generator.submit(ready.submit, ready.media)
        except Exception as error:
            return [_failure(error).as_message(ready.submit.request_id)]
        return []

    def _begin(self, message: Submit | Embed | Rerank | Tokenize | Detokenize) -> list[FromEngine]:
        model = self._engine.model
        if isinstance(message, Submit):
            if self._engine.generator is None:
                raise BadRequest("the model is loaded for embeddings and cannot generate")
            if has_files(message) and self._media is not None:
                self._media.take(message)
            else:
                self._engine.generator.submit(message)
            return []
        if isinstance(message, Embed):
            if self._engine.embedder is None:
                raise BadRequest("the model is loaded for generation and cannot embed")
            return self._engine.embedder.embed(message)
        if isinstance(message, Rerank):
            if self._engine.embedder is None:
                raise BadRequest("the model is loaded for generation and does not rank documents")
            return self._engine.embedder.rerank(message)
        if isinstance(message, Tokenize):
            arrays = [model.tokenize(text, add_special=message.add_special) for text in message.texts]
            tokens = tuple(tuple(map(int, array)) for array in arrays)
            return [Tokens(request_id=message.request_id, tokens=tokens)]
        ids = token_array(model, message.tokens)
        return [Text(request_id=message.request_id, text=model.detokenize(ids))]


def _cancelled(request_id: int) -> Finished:
    """The end of a request whose files were still being encoded."""
    return Finished(request_id=request_id, reason="cancelled", timings=EngineTimings())


def _failure(error: Exception) -> EngineFailure:
    """Why a request could not begin."""
    if isinstance(error, EngineFailure):
        return error
    return unexpected("the request could not begin", error)
