"""llama.cpp in a worker process of its own, with restarts, replays and a circuit against crash loops."""

from __future__ import annotations

import asyncio
import copy
import itertools
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Final, TypeVar

from server.backends.base import (
    BackendStats,
    EmbedPiece,
    GenerationDone,
    GenerationJob,
    LoadedInfo,
    TextDelta,
)
from server.backends.circuit import CrashCircuit, CrashCircuits
from server.backends.failures import circuit_error, crash_line, end_error, request_error
from server.backends.log_tail import leveled
from server.backends.mailbox import End, SessionEnd
from server.backends.process import DEFAULT_COMMAND, WorkerProcess
from server.backends.replay import OpenGeneration, Retries
from server.backends.session import EngineSession, Question
from server.backends.spare import SpareWorker
from server.errors import Cancelled, EngineError, EngineHung, OllaError, ShuttingDown
from server.ipc.messages import (
    Detokenize,
    Embed,
    Embeddings,
    Failed,
    Finished,
    Rerank,
    Scores,
    Text,
    Tokenize,
    Tokens,
)
from server.log import Level
from server.types.generation import LoadParams, ModelPaths

HANG_TIMEOUT_S: Final = 120.0
"""Silence that counts as a hang while requests are open; a busy worker sends a frame at least each 2 s."""

RESTART_STALL_S: Final = 300.0
"""Longest time without progress while a crashed worker is replaced; Ollama's default for a load."""

R = TypeVar("R", Tokens, Text, Embeddings, Scores)


class LlamaCppBackend:
    """One model in one worker; see `server.backends.base.Backend`.

    A worker that dies is replaced when a call needs it, with the same files and parameters. The calls that
    were open on it go on where they were, see `server.backends.replay`. After three crashes within five
    minutes, those in a load included, nothing is started for five minutes, and calls raise `CrashLoop`. When
    the replacement cannot load, the backend is of no more use: every call raises that error and `is_usable`
    is False.
    """

    def __init__(
        self,
        name: str,
        *,
        command: Sequence[str] | None = None,
        on_log: Callable[[Level, str], None],
        spare: SpareWorker | None = None,
        circuits: CrashCircuits | None = None,
        hang_timeout_s: float = HANG_TIMEOUT_S,
    ) -> None:
        """Args:
        name: display name of the model, for errors.
        command: what to start as a worker; without it, and with `spare`, the spare's own command.
        on_log: receives (level, text) of each line that the worker logs.
        circuits: what is known of the crashes of all models; None: this backend has its own.
        """
        self._name = name
        self._command = tuple(command or DEFAULT_COMMAND)
        self._on_log = on_log
        self._spare = spare
        self._hang_timeout_s = hang_timeout_s
        self._ids = itertools.count(1)
        self._circuits = circuits or CrashCircuits()
        self._circuit = CrashCircuit()
        self._load_of: tuple[ModelPaths, LoadParams] | None = None
        self._session: EngineSession | None = None
        self._restart: asyncio.Task[EngineSession] | None = None
        self._failure: OllaError | None = None
        self._closed = False

    @property
    def is_usable(self) -> bool:
        """False once no call can succeed any more: closed, or a crashed worker could not be replaced."""
        return not self._closed and self._failure is None

    async def load(
        self, paths: ModelPaths, params: LoadParams, on_progress: Callable[[float], None]
    ) -> LoadedInfo:
        """Load the model, in place of one loaded before. Cancelling the call ends the load.

        Raises: LoadFailed, OutOfMemory, BadModelFile, CrashLoop.
        """
        if self._closed:
            raise self._closed_error()
        session, self._session = self._session, None
        if session is not None:
            await session.close(0.0)
        self._circuit = self._circuits.of(self._name, paths, params)
        self._failure = None
        self._load_of = (paths, params)
        try:
            self._check_circuit()
            self._session = await self._open_session(on_progress)
        except OllaError as error:
            self._failure = error
            raise
        return self._session.info

    async def generate(self, job: GenerationJob) -> AsyncGenerator[TextDelta | GenerationDone, None]:
        """Continue a prompt; see `Backend.generate`."""
        clock = asyncio.get_running_loop().time
        generation = OpenGeneration(next(self._ids), job, clock())
        while True:
            session = await self._living_session()
            async with session.ask(generation.submit(clock())) as mailbox:
                while isinstance(item := await mailbox.take(), TextDelta):
                    yield item
            if isinstance(item, Finished) and item.reason != "cancelled":
                yield generation.done(item, mailbox.ended_s)
                return
            if not (isinstance(item, SessionEnd) and generation.lost(item, mailbox)):
                raise self._error(item)

    async def embed(
        self, inputs: tuple[EmbedPiece, ...], *, truncate: bool
    ) -> tuple[tuple[bytes, ...], tuple[int, ...]]:
        """Vectors and token counts; see `Backend.embed`."""
        reply = await self._answer(
            lambda request_id: Embed(request_id=request_id, inputs=inputs, truncate=truncate), Embeddings
        )
        return reply.vectors, reply.n_tokens

    async def rerank(
        self, query: str, documents: tuple[str, ...], *, truncate: bool
    ) -> tuple[tuple[float, ...], tuple[int, ...], tuple[int, ...]]:
        """Scores and token counts; see `Backend.rerank`."""
        reply = await self._answer(
            lambda request_id: Rerank(
                request_id=request_id, query=query, documents=documents, truncate=truncate
            ),
            Scores,
        )
        return reply.scores, reply.n_tokens, reply.n_dropped

    async def tokenize(
        self, texts: tuple[str, ...], *, add_special: bool = True
    ) -> tuple[tuple[int, ...], ...]:
        """Token ids of each text, special tokens recognised."""
        reply = await self._answer(
            lambda request_id: Tokenize(request_id=request_id, texts=texts, add_special=add_special), Tokens
        )
        return reply.tokens

    async def detokenize(self, tokens: tuple[int, ...]) -> str:
        """Text of token ids, special tokens rendered."""
        reply = await self._answer(lambda request_id: Detokenize(request_id=request_id, tokens=tokens), Text)
        return reply.text

    def stats(self) -> BackendStats:
        """The backend now; never waits."""
        return self._session.stats() if self._session is not None else BackendStats()

    async def close(self, grace_s: float = 0.0) -> None:
        """End the worker. Open calls may end for `grace_s`, then they fail with `ShuttingDown`."""
        self._closed = True
        if self._restart is not None:
            self._restart.cancel()
            await asyncio.wait([self._restart])
        if self._session is not None:
            await self._session.close(grace_s)

    async def _answer(self, question: Callable[[int], Question], reply_type: type[R]) -> R:
        """Ask for one reply, and again when the worker is lost over it."""
        request_id = next(self._ids)
        retries = Retries(request_id)
        while True:
            session = await self._living_session()
            async with session.ask(question(request_id)) as mailbox:
                reply = await mailbox.take()
            if isinstance(reply, reply_type):
                return reply
            if not (isinstance(reply, SessionEnd) and retries.may_go_on(reply)):
                raise self._error(reply)

    async def _living_session(self) -> EngineSession:
        """The session, after a crash a new one; callers that come together share one restart."""
        if self._closed:
            raise self._closed_error()
        if self._failure is not None:
            raise copy.copy(self._failure)
        if self._session is None:
            raise EngineError(f"the model '{self._name}' is not loaded")
        if self._session.end is None:
            return self._session
        if self._restart is None:
            self._check_circuit()
            self._restart = asyncio.create_task(self._replace_session())
        restart = self._restart
        await asyncio.wait([restart])
        if restart.cancelled():
            raise self._closed_error()
        if (error := restart.exception()) is not None:
            raise copy.copy(error)
        return restart.result()

    def _check_circuit(self) -> None:
        """Raises: CrashLoop while the model is left alone."""
        circuit = self._circuit
        closes_in_s = circuit.closes_in_s(asyncio.get_running_loop().time())
        if closes_in_s > 0 and circuit.last is not None:
            raise circuit_error(
                self._name,
                closes_in_s,
                circuit.last,
                n_crashes=circuit.max_crashes,
                window_s=circuit.window_s,
            )

    async def _replace_session(self) -> EngineSession:
        """Load the same model into a new worker. A failure is remembered: it is not tried again."""
        try:
            async with asyncio.timeout(RESTART_STALL_S) as stall:
                loop = asyncio.get_running_loop()
                self._session = await self._open_session(
                    lambda _: stall.reschedule(loop.time() + RESTART_STALL_S)
                )
            return self._session
        except TimeoutError as error:
            self._failure = EngineHung(f"the engine of '{self._name}' could not be started again in time")
            raise self._failure from error
        except OllaError as error:
            self._failure = error
            raise
        finally:
            self._restart = None

    async def _open_session(self, on_progress: Callable[[float], None]) -> EngineSession:
        if self._load_of is None:
            raise EngineError(f"the model '{self._name}' is not loaded")
        paths, params = self._load_of
        worker = await self._new_worker()
        try:
            session = await EngineSession.open(
                worker,
                paths,
                params,
                on_progress=on_progress,
                hang_timeout_s=self._hang_timeout_s,
                on_end=self._note_end,
                on_answered=self._spare.prepare if self._spare is not None else lambda: None,
            )
        finally:
            if self._spare is not None:
                self._spare.restock()
        if self._closed:
            await session.close(0.0)
            raise self._closed_error()
        return session

    async def _new_worker(self) -> WorkerProcess:
        def on_line(line: str) -> None:
            self._on_log(*leveled(line))

        if self._spare is not None:
            return await self._spare.take(on_line)
        return await WorkerProcess.spawn(self._command, on_line)

    def _note_end(self, end: SessionEnd) -> None:
        if end.cause != "closed":
            self._circuit.record(asyncio.get_running_loop().time(), end)
            self._on_log("error", crash_line(end))

    def _error(self, item: TextDelta | End) -> OllaError:
        """The error for a call that ended with something else than its reply."""
        if isinstance(item, Failed):
            return request_error(item)
        if isinstance(item, SessionEnd):
            return end_error(self._name, item)
        if isinstance(item, Finished):
            return Cancelled("the request was cancelled in the engine")
        return EngineError(f"the engine answered with {type(item).__name__}, which was not asked for")

    def _closed_error(self) -> ShuttingDown:
        return ShuttingDown(f"the model '{self._name}' is being unloaded", hint="send the request again")
