"""What has arrived for one request and has not been taken yet. Pure but for one wake-up."""

from __future__ import annotations

import asyncio
from array import array
from typing import Literal

import msgspec

from server.backends.base import TextDelta
from server.ipc.messages import (
    Embeddings,
    EngineTimings,
    Failed,
    Finished,
    Scores,
    Text,
    TokenDelta,
    Tokens,
)
from server.types.generation import PromptLogprobs, PromptUse, TokenLogprob


class SessionEnd(msgspec.Struct, frozen=True, kw_only=True):
    """Why a worker is gone.

    Attributes:
        cause: "crashed": it ended by itself; "hung": it fell silent and was killed; "closed": we closed it.
        exit_code: negative for a signal; 0 when not known.
        log_tail: its last lines.
        detail: what is known beyond the exit code, "" for nothing.
        n_open: requests that were open.
        suspects: those of them that had got nothing, unless some may have waited for a slot: one of these
            may have brought the worker down.
        in_load: it had not loaded its model yet.
    """

    cause: Literal["crashed", "hung", "closed"]
    exit_code: int = 0
    log_tail: str = ""
    detail: str = ""
    n_open: int = 0
    suspects: frozenset[int] = frozenset()
    in_load: bool = False


Reply = Finished | Failed | Tokens | Text | Embeddings | Scores
"""The messages that end a request."""

End = Reply | SessionEnd


class Mailbox:
    """The deltas and the one end of a request.

    Putting never waits, so a slow consumer cannot keep the frames of others from being read; deltas that wait
    are joined, so what is held is bounded by the answer's length.

    Attributes:
        tokens: ids of all tokens that have arrived, taken or not.
        n_characters: length of their text.
        n_refused: how many of them were drawn twice, see `server.ipc.messages.TokenDelta`.
        begun: counts and durations as of the first delta.
        ended_s: time of the end, on the clock of the one who put it.
    """

    def __init__(self, request_id: int) -> None:
        self.request_id = request_id
        self.tokens = array("i")
        self.n_characters = 0
        self.n_refused = 0
        self.begun: EngineTimings | None = None
        self.ended_s = 0.0
        self._texts: list[str] = []
        self._n_tokens = 0
        self._prompt: PromptUse | None = None
        self._logprobs: list[TokenLogprob] = []
        self._prompt_logprobs: PromptLogprobs | None = None
        self._end: End | None = None
        self._abandoned = False
        self._waiting: asyncio.Future[None] | None = None

    @property
    def has_ended(self) -> bool:
        """Whether the end has arrived, taken or not."""
        return self._end is not None

    def put(self, delta: TokenDelta) -> None:
        """Add new tokens; after the end and after `abandon` they are dropped."""
        if self._end is not None or self._abandoned:
            return
        self._texts.append(delta.text)
        self._n_tokens += len(delta.tokens)
        self._logprobs.extend(delta.logprobs)
        self.tokens.extend(delta.tokens)
        self.n_characters += len(delta.text)
        self.n_refused += delta.n_refused
        if delta.begun is not None and self.begun is None:
            self.begun = delta.begun
            self._prompt = PromptUse(delta.begun.n_prompt_tokens, delta.begun.n_cached_tokens)
        self._prompt_logprobs = self._prompt_logprobs or delta.prompt_logprobs
        self._wake()

    def end(self, end: End, now_s: float = 0.0) -> None:
        """Close the box. The first end counts."""
        if self._end is None:
            self._end = end
            self.ended_s = now_s
            self._wake()

    def abandon(self) -> None:
        """Nobody will take deltas any more; only the end matters."""
        self._abandoned = True
        self._texts.clear()
        self._logprobs.clear()
        self._prompt_logprobs = None
        self._n_tokens = 0

    async def take(self) -> TextDelta | End:
        """All that waits as one delta; once nothing waits, the end, however often it is asked for."""
        while not self._n_tokens and not self._texts:
            if self._end is not None:
                return self._end
            await self._arrival()
        delta = TextDelta(
            text="".join(self._texts),
            n_tokens=self._n_tokens,
            logprobs=tuple(self._logprobs),
            prompt=self._prompt,
            prompt_logprobs=self._prompt_logprobs,
        )
        self._prompt = self._prompt_logprobs = None
        self._texts.clear()
        self._logprobs.clear()
        self._n_tokens = 0
        return delta

    async def wait_end(self) -> End:
        """Leave out what waits and wait for the end."""
        self.abandon()
        while self._end is None:
            await self._arrival()
        return self._end

    async def _arrival(self) -> None:
        """Wait until something is put. One waits at a time: a call takes, and then waits for the end."""
        self._waiting = asyncio.get_running_loop().create_future()
        try:
            await self._waiting
        finally:
            self._waiting = None

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)
