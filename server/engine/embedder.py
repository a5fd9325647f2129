"""Embedding: inputs of all open requests share batches, each as a sequence of its own."""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from server.engine.batch import TokenArray
from server.engine.context import Context, Decoded
from server.engine.failures import BadRequest, ContextFull, DecodeFailed, EngineFailure, NoMemory
from server.engine.model import Model
from server.engine.prompt import token_array
from server.ipc.messages import Embed, Embeddings, EngineTimings, Finished, FromEngine, Step, StepStats

CPU_BATCH_TOKENS: Final = 256
"""Attention runs over the whole batch, so larger ones lose on a CPU: 128 to 256 tokens measured best."""

GPU_BATCH_TOKENS: Final = 4096

TOO_LONG: Final = "the input length exceeds the context length"
TOO_LONG_CUT: Final = "input after truncation exceeds maximum context length"


class _Input(msgspec.Struct, eq=False):
    """One input that waits. `index`: its place in its request."""

    request_id: int
    index: int
    tokens: TokenArray


class _Request(msgspec.Struct, eq=False):
    """An open request; `vectors` fills up in any order."""

    request_id: int
    vectors: list[bytes]
    n_tokens: tuple[int, ...]
    n_missing: int


class Embedder:
    """Answers `Embed` messages with one context."""

    def __init__(self, model: Model, context: Context, *, n_ctx: int, n_batch_tokens: int) -> None:
        self._model = model
        self._context = context
        self._n_ctx = n_ctx
        self._n_batch_tokens = n_batch_tokens
        self._waiting: list[_Input] = []
        self._requests: dict[int, _Request] = {}
        special = model.tokenize("", add_special=True)
        self._n_prefix = 1 if len(special) > 1 or (len(special) == 1 and special[0] == model.bos) else 0
        self._n_suffix = len(special) - self._n_prefix

    @property
    def is_idle(self) -> bool:
        """Whether no request is open."""
        return not self._requests

    def embed(self, message: Embed) -> list[FromEngine]:
        """Begin a request. Raises: BadRequest, ContextFull, and the request has then ended."""
        if message.request_id in self._requests:
            raise BadRequest(f"request {message.request_id} is open already")
        inputs = [self._tokens(item, truncate=message.truncate) for item in message.inputs]
        if not inputs:
            return [Embeddings(request_id=message.request_id, vectors=(), n_tokens=())]
        self._requests[message.request_id] = _Request(
            message.request_id, [b""] * len(inputs), tuple(map(len, inputs)), len(inputs)
        )
        self._waiting += [_Input(message.request_id, index, tokens) for index, tokens in enumerate(inputs)]
        return []

    def abort(self, request_id: int) -> list[FromEngine]:
        """End a request now. Nothing happens when it has ended already."""
        if self._requests.pop(request_id, None) is None:
            return []
        self._waiting = [item for item in self._waiting if item.request_id != request_id]
        return [Finished(request_id=request_id, reason="cancelled", timings=EngineTimings())]

    def abort_all(self) -> list[FromEngine]:
        """End all requests now."""
        return [message for request_id in list(self._requests) for message in self.abort(request_id)]

    def step(self) -> list[FromEngine]:
        """Run one batch. Returns a `Step`, then the answers that it completed."""
        chosen = self._next_batch()
        try:
            vectors = self._run(chosen)
        except (EngineFailure, MemoryError) as error:
            return self._failed(chosen, error)
        answers: list[FromEngine] = []
        for item, vector in zip(chosen, vectors, strict=True):
            request = self._requests[item.request_id]
            request.vectors[item.index] = vector
            request.n_missing -= 1
            if request.n_missing == 0:
                del self._requests[item.request_id]
                answers.append(
                    Embeddings(
                        request_id=item.request_id,
                        vectors=tuple(request.vectors),
                        n_tokens=request.n_tokens,
                    )
                )
        return [Step((), self.stats()), *answers]

    def stats(self) -> StepStats:
        """The worker now."""
        return StepStats(n_busy_slots=min(len(self._requests), 1), n_queued=len(self._waiting))

    def _tokens(self, item: str | tuple[int, ...], *, truncate: bool) -> TokenArray:
        """The tokens of an input, cut to the context; BOS and EOS stay where the model wants them."""
        n_prefix, n_suffix = (self._n_prefix, self._n_suffix) if isinstance(item, str) else (0, 0)
        if isinstance(item, str):
            tokens = self._model.tokenize(item, add_special=True)
        else:
            tokens = token_array(self._model, item)
        if not len(tokens):
            raise BadRequest("an input is empty")
        n_excess = len(tokens) - self._n_ctx
        if n_excess <= 0:
            return tokens
        if not truncate:
            raise ContextFull(TOO_LONG, n_prompt_tokens=len(tokens), n_ctx=self._n_ctx)
        if self._n_ctx <= n_prefix + n_suffix:
            raise ContextFull(TOO_LONG_CUT, n_prompt_tokens=len(tokens), n_ctx=self._n_ctx)
        n_body = len(tokens) - n_suffix
        return np.concatenate([tokens[: n_body - n_excess], tokens[n_body:]])

    def _next_batch(self) -> list[_Input]:
        """The input that waits longest, and those nearest to it in length as far as they fit."""
        oldest = self._waiting[0]
        others = sorted(self._waiting[1:], key=lambda item: abs(len(item.tokens) - len(oldest.tokens)))
        chosen = [oldest]
        room = max(self._n_batch_tokens, len(oldest.tokens)) - len(oldest.tokens)
        for item in others:
            if len(chosen) == self._context.n_seq_max or len(item.tokens) > room:
                break
            chosen.append(item)
            room -= len(item.tokens)
        taken = {id(item) for item in chosen}
        self._waiting = [item for item in self._waiting if id(item) not in taken]
        return chosen

    def _run(self, chosen: list[_Input]) -> list[bytes]:
        """The vectors of some inputs, normalised, as little-endian float32."""
        context = self._context
        context.clear(data=False)
        context.reset_abort()
        context.batch.clear()
        for seq_id, item in enumerate(chosen):
            context.batch.add(seq_id, item.tokens, 0, output="all")
        if context.decode() is not Decoded.DONE:
            raise DecodeFailed("the model did not finish a batch of inputs")
        return [normalised(context.pooled(seq_id)) for seq_id in range(len(chosen))]

    def _failed(self, chosen: list[_Input], error: Exception) -> list[FromEngine]:
        """Each request with an input in the batch fails; its other inputs are dropped."""
        failure = error if isinstance(error, EngineFailure) else NoMemory("the engine ran out of memory")
        request_ids = {item.request_id for item in chosen}
        for request_id in request_ids:
            del self._requests[request_id]
        self._waiting = [item for item in self._waiting if item.request_id not in request_ids]
        return [Step((), self.stats()), *map(failure.as_message, sorted(request_ids))]


def normalised(vector: npt.NDArray[np.float32]) -> bytes:
    """A vector of length 1 as little-endian float32. Raises: DecodeFailed when it has no length."""
    length = float(np.sqrt(np.square(vector, dtype=np.float64).sum()))
    if not np.isfinite(length):
        raise DecodeFailed("the model gave a vector that is not made of numbers")
    scaled = vector / length if length > 0.0 else vector
    return scaled.astype("<f4").tobytes()
