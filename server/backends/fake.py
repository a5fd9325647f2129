"""A backend without a model: scripted answers in this process, for demonstrations and contract tests.

Its tokens are the bytes of UTF-8; it keeps every promise of `server.backends.base.Backend`.
"""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import hashlib
import math
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Final

import msgspec

from server.backends.base import (
    BackendStats,
    EmbedPiece,
    GenerationDone,
    GenerationJob,
    LoadedInfo,
    PromptPiece,
    TextDelta,
)
from server.errors import (
    ContextExceeded,
    EngineCrashed,
    EngineError,
    InvalidGrammar,
    OllaError,
    ShuttingDown,
)
from server.types.generation import LoadParams, MediaFile, ModelPaths, PromptUse

BOS_TOKEN: Final = 256
N_VOCAB: Final = 257
N_EMBD: Final = 8

N_TOKENS_PER_FILE: Final = 16
"""Tokens that a picture or sound takes."""


def echo(prompt: str) -> str:
    """The default answer: the prompt's last line, said back."""
    return f"You wrote: {prompt.strip().splitlines()[-1] if prompt.strip() else 'nothing'}"


class FakeScript(msgspec.Struct, frozen=True, kw_only=True):
    """How a fake backend behaves.

    Attributes:
        answer: prompt to answer.
        load_error: what `load` raises instead of loading.
        crash_after_tokens: a generation fails with `EngineCrashed` after so many tokens, as one that no new
            runtime could take over; None: never.
        n_crashes: how many generations crash before the fault is gone.
        n_load_steps: calls of `on_progress` during a load, evenly over `load_duration_s`.
    """

    answer: Callable[[str], str] = echo
    load_duration_s: float = 0.0
    n_load_steps: int = 4
    load_error: OllaError | None = None
    prompt_duration_s: float = 0.0
    token_duration_s: float = 0.0
    crash_after_tokens: int | None = None
    n_crashes: int = 1
    weights_bytes: int = 1_000_000


class FakeBackend:
    """See `server.backends.base.Backend`. `sleep` is where all time passes."""

    def __init__(
        self,
        name: str = "fake",
        script: FakeScript | None = None,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._name = name
        self._script = script or FakeScript()
        self._sleep = sleep
        self._info: LoadedInfo | None = None
        self._slots = asyncio.Semaphore(1)
        self._n_open = 0
        self._n_busy = 0
        self._n_crashes_left = self._script.n_crashes
        self._is_dead = False
        self._closing = asyncio.Event()

    @property
    def is_usable(self) -> bool:
        """False after `close` and `die`."""
        return not (self._is_dead or self._closing.is_set())

    def die(self) -> None:
        """End for good, as a runtime does that cannot be started again."""
        self._is_dead = True
        self._closing.set()

    async def load(
        self, paths: ModelPaths, params: LoadParams, on_progress: Callable[[float], None]
    ) -> LoadedInfo:
        """Load as scripted; `paths` are not read."""
        n_steps = max(1, self._script.n_load_steps)
        for step in range(n_steps):
            on_progress(step / n_steps)
            await self._pass(self._script.load_duration_s / n_steps)
        if self._script.load_error is not None:
            raise self._script.load_error
        on_progress(1.0)
        self._slots = asyncio.Semaphore(params.n_slots)
        self._info = LoadedInfo(
            n_ctx=params.n_ctx,
            n_ctx_train=params.n_ctx,
            n_slots=params.n_slots,
            n_vocab=N_VOCAB,
            n_embd=N_EMBD,
            can_shift=True,
            weights_bytes=self._script.weights_bytes,
            kv_bytes=params.n_ctx * params.n_slots,
            compute_bytes=0,
            vram_bytes=0,
        )
        return self._info

    async def generate(self, job: GenerationJob) -> AsyncGenerator[TextDelta | GenerationDone, None]:
        """Answer by the script, a byte at a time."""
        info = self._loaded()
        prompt = _tokens_of(job.prompt)
        if job.sampling.grammar:
            raise InvalidGrammar("the fake backend has no grammars")
        if len(prompt) >= info.n_ctx:
            raise ContextExceeded(
                "the prompt does not fit the context", n_prompt_tokens=len(prompt), n_ctx=info.n_ctx
            )
        output, reason, stop_text = self._output(prompt, job)
        async with self._slot():
            await self._pass(self._script.prompt_duration_s)
            decoder = codecs.getincrementaldecoder("utf-8")("replace")
            for n_done, token in enumerate(output):
                await self._pass(self._script.token_duration_s)
                if self._is_crash_due(n_done):
                    raise EngineCrashed("the fake backend crashed as scripted", exit_code=-6)
                use = None if n_done else PromptUse(len(prompt))
                yield TextDelta(text=decoder.decode(bytes((token,))), n_tokens=1, prompt=use)
            yield GenerationDone(
                reason=reason,
                n_prompt_tokens=len(prompt),
                n_cached_tokens=0,
                n_output_tokens=len(output),
                queue_duration_ns=0,
                prompt_duration_ns=int(self._script.prompt_duration_s * 1e9),
                output_duration_ns=int(self._script.token_duration_s * len(output) * 1e9),
                stop_text=stop_text,
            )

    async def embed(
        self, inputs: tuple[EmbedPiece, ...], *, truncate: bool
    ) -> tuple[tuple[bytes, ...], tuple[int, ...]]:
        """Vectors from a hash of each input: equal texts have equal vectors, and that is all."""
        info = self._loaded()
        vectors: list[bytes] = []
        counts: list[int] = []
        async with self._slot():
            for piece in inputs:
                tokens = _tokens_of((piece,))
                if len(tokens) > info.n_ctx and not truncate:
                    raise ContextExceeded(
                        "the input does not fit the context", n_prompt_tokens=len(tokens), n_ctx=info.n_ctx
                    )
                tokens = tokens[: info.n_ctx]
                await self._pass(self._script.prompt_duration_s)
                vectors.append(_vector(tokens))
                counts.append(len(tokens))
        return tuple(vectors), tuple(counts)

    async def rerank(
        self, query: str, documents: tuple[str, ...], *, truncate: bool
    ) -> tuple[tuple[float, ...], tuple[int, ...], tuple[int, ...]]:
        """A document's score is the share of the query's words that it has."""
        info = self._loaded()
        words = query.lower().split()
        scores: list[float] = []
        counts: list[int] = []
        dropped: list[int] = []
        async with self._slot():
            for document in documents:
                n_tokens = len(_tokens_of((query, document)))
                if n_tokens > info.n_ctx and not truncate:
                    raise ContextExceeded(
                        "the pair does not fit the context", n_prompt_tokens=n_tokens, n_ctx=info.n_ctx
                    )
                await self._pass(self._script.prompt_duration_s)
                found = document.lower().split()
                scores.append(sum(word in found for word in words) / max(1, len(words)))
                counts.append(min(n_tokens, info.n_ctx))
                dropped.append(n_tokens - counts[-1])
        return tuple(scores), tuple(counts), tuple(dropped)

    async def tokenize(
        self, texts: tuple[str, ...], *, add_special: bool = True
    ) -> tuple[tuple[int, ...], ...]:
        """The bytes of each text, after `BOS_TOKEN` with `add_special`."""
        self._loaded()
        start = (BOS_TOKEN,) if add_special else ()
        return tuple(start + tuple(text.encode()) for text in texts)

    async def detokenize(self, tokens: tuple[int, ...]) -> str:
        """The text of bytes; `BOS_TOKEN` has none."""
        self._loaded()
        return _text_of(tokens)

    def stats(self) -> BackendStats:
        """Open and waiting calls."""
        return BackendStats(n_busy_slots=self._n_busy, n_queued=self._n_open - self._n_busy)

    async def close(self, grace_s: float = 0.0) -> None:
        """Let open calls end for `grace_s`; those left fail with `ShuttingDown` at their next step."""
        step_s = grace_s / 10
        for _ in range(10 if step_s > 0 else 0):
            if not self._n_open:
                break
            await self._sleep(step_s)
        self._closing.set()

    def _loaded(self) -> LoadedInfo:
        if self._is_dead:
            raise EngineCrashed("the fake backend is dead")
        if self._closing.is_set():
            raise ShuttingDown(f"the model '{self._name}' is being unloaded")
        if self._info is None:
            raise EngineError(f"the model '{self._name}' is not loaded")
        return self._info

    def _output(self, prompt: tuple[int, ...], job: GenerationJob) -> tuple[bytes, str, str]:
        """The answer's bytes, why it ends, and the stop text that ends it."""
        answer = self._script.answer(_text_of(prompt))
        found = [(answer.find(stop), stop) for stop in job.sampling.stop if stop in answer]
        stop_at, stop_text = min(found, default=(len(answer), ""))
        output = answer[:stop_at].encode()
        n_predict = job.sampling.n_predict
        if 0 <= n_predict < len(output):
            return output[:n_predict], "length", ""
        return output, "stop", stop_text

    def _is_crash_due(self, n_done: int) -> bool:
        if self._script.crash_after_tokens != n_done or self._n_crashes_left <= 0:
            return False
        self._n_crashes_left -= 1
        return n_done > 0  # before the first token the crash is made good without the caller noticing

    @contextlib.asynccontextmanager
    async def _slot(self) -> AsyncGenerator[None, None]:
        self._n_open += 1
        try:
            async with self._slots:
                self._n_busy += 1
                try:
                    yield
                finally:
                    self._n_busy -= 1
        finally:
            self._n_open -= 1

    async def _pass(self, duration_s: float) -> None:
        """Let time pass; always lets other tasks run. Raises: ShuttingDown, EngineCrashed."""
        if not self._closing.is_set():
            sleep = asyncio.ensure_future(self._sleep(duration_s))
            closing = asyncio.ensure_future(self._closing.wait())
            try:
                await asyncio.wait({sleep, closing}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                sleep.cancel()
                closing.cancel()
        if self._is_dead:
            raise EngineCrashed("the fake backend died", exit_code=-9)
        if self._closing.is_set():
            raise ShuttingDown(f"the model '{self._name}' is being unloaded")


def _tokens_of(pieces: tuple[PromptPiece, ...]) -> tuple[int, ...]:
    tokens: list[int] = []
    for piece in pieces:
        if isinstance(piece, MediaFile):
            tokens.extend(hashlib.blake2b(piece.data, digest_size=N_TOKENS_PER_FILE).digest())
        else:
            tokens.extend(piece.encode() if isinstance(piece, str) else piece)
    return tuple(tokens)


def _text_of(tokens: tuple[int, ...]) -> str:
    return bytes(token for token in tokens if token < BOS_TOKEN).decode("utf-8", "replace")


def _vector(tokens: tuple[int, ...]) -> bytes:
    """A vector of length one, float32, from a hash of the tokens."""
    digest = hashlib.blake2b(struct.pack(f"<{len(tokens)}I", *tokens), digest_size=N_EMBD).digest()
    values = [byte - 127.5 for byte in digest]
    norm = math.sqrt(sum(value * value for value in values))
    return struct.pack(f"<{N_EMBD}f", *(value / norm for value in values))
