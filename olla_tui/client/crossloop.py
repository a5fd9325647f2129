"""The services of a server that runs on another event loop, in another thread of this process.

The side that asks is the consumer: a screen that may stand still for seconds. The server never waits for it.
A task on the server's loop fills a mailbox that joins what is not taken yet; the consumer's generator empties
it when it gets to run, at most every `PULL_INTERVAL_S`. The one call from the server's loop to the consumer's
is a wake-up, and there is at most one under way.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Coroutine
from contextlib import aclosing
from typing import Any, Final, TypeVar

from olla_tui.client.mailbox import Mailbox
from server.errors import Cancelled, ShuttingDown
from server.gguf.footprint import ModelFootprint
from server.services.protocols import (
    InferenceService,
    ModelService,
    Services,
    StatusService,
    TransferService,
    UpkeepService,
)
from server.types.generation import ChatRequest, EmbedRequest, EmbedResult, GenerateRequest, GenerationEvent
from server.types.history import StatusHistory
from server.types.models import (
    BundledModel,
    CreateProgress,
    CreateRequest,
    ModelInfo,
    ModelSummary,
    RunningModel,
    ShowRequest,
)
from server.types.ranking import RerankRequest, RerankResult
from server.types.status import LogLine, RecordedPrompt, StatusSnapshot
from server.types.transfers import (
    PartialDownload,
    TransferKind,
    TransferList,
    TransferProgress,
    TransferRequest,
)
from server.types.upkeep import CheckProgress, GarbageReport

PULL_INTERVAL_S = 0.05
"""Shortest time between two looks at a stream; a screen shows no more than twenty states a second."""

CLOSE_TIMEOUT_S = 2.0
"""Longest wait for the server's loop to close a stream: a loop that stands still must not hold the screen."""

T = TypeVar("T")


class Bridge:
    """Runs coroutines and streams on the server's loop for consumers on other loops."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, pull_interval_s: float = PULL_INTERVAL_S) -> None:
        self._loop = loop
        self._pull_interval_s = pull_interval_s
        self._open: set[Mailbox[Any]] = set()

    async def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Await a coroutine that runs on the server's loop; cancelling the wait cancels it there.

        Raises: what the coroutine raises, ShuttingDown when the server's loop has ended.
        """
        try:
            future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        except RuntimeError:
            coroutine.close()
            raise ShuttingDown("the server has ended") from None
        return await asyncio.wrap_future(future)

    async def stream(self, open_stream: Callable[[], AsyncGenerator[T, None]]) -> AsyncGenerator[T, None]:
        """Yield the items of a stream that lives on the server's loop; closing this closes it there."""
        mailbox: Mailbox[T] = Mailbox(asyncio.get_running_loop())
        task = self._start(pump(open_stream, mailbox), mailbox)
        self._open.add(mailbox)
        try:
            while True:
                await mailbox.wait()
                items, ended = mailbox.take()
                for item in items:
                    yield item
                if ended:
                    mailbox.raise_failure()
                    return
                await asyncio.sleep(self._pull_interval_s)
        finally:
            self._open.discard(mailbox)
            await self._finish(task, mailbox)

    def _start(
        self, coroutine: Coroutine[Any, Any, None], mailbox: Mailbox[Any]
    ) -> concurrent.futures.Future[asyncio.Task[None]]:
        """Make a task on the server's loop; its handle arrives in the future."""
        handle: concurrent.futures.Future[asyncio.Task[None]] = concurrent.futures.Future()

        def spawn() -> None:
            handle.set_result(self._loop.create_task(coroutine))

        try:
            self._loop.call_soon_threadsafe(spawn)
        except RuntimeError:
            coroutine.close()
            mailbox.end(ShuttingDown("the server has ended"))
        return handle

    async def _finish(
        self, handle: concurrent.futures.Future[asyncio.Task[None]], mailbox: Mailbox[Any]
    ) -> None:
        """Cancel the task on the server's loop and wait, within bounds, until it has closed its stream."""
        if mailbox.has_ended:
            return
        try:
            # Behind the task's own start in the same queue, so that the handle is there by then.
            self._loop.call_soon_threadsafe(lambda: handle.result().cancel())
        except RuntimeError:
            return
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await mailbox.wait_for_end()
        except TimeoutError:
            return

    def end_streams(self) -> None:
        """End every open stream with `Cancelled`."""
        for mailbox in tuple(self._open):
            mailbox.fail(Cancelled("the connection to the server was closed"))


async def pump(open_stream: Callable[[], AsyncGenerator[T, None]], mailbox: Mailbox[T]) -> None:
    """Read a stream to its end into a mailbox. Runs on the server's loop and never waits for the consumer."""
    try:
        async with aclosing(open_stream()) as stream:
            async for item in stream:
                if not mailbox.put(item):
                    break
    except asyncio.CancelledError:
        mailbox.end(Cancelled("the request was cancelled"))
        raise
    except Exception as error:
        mailbox.end(error)
    else:
        mailbox.end(None)


class CrossLoopServices:
    """The services of `services`, which live on `loop`, for a consumer on another loop.

    Closing it ends the streams it has open and leaves the server as it is.
    """

    def __init__(
        self,
        services: Services,
        loop: asyncio.AbstractEventLoop,
        *,
        pull_interval_s: float = PULL_INTERVAL_S,
    ) -> None:
        self._bridge = Bridge(loop, pull_interval_s=pull_interval_s)
        self.inference: Final = CrossLoopInference(services.inference, self._bridge)
        self.models: Final = CrossLoopModels(services.models, self._bridge)
        self.status: Final = CrossLoopStatus(services.status, self._bridge)
        self.upkeep: Final = CrossLoopUpkeep(services.upkeep, self._bridge)
        self.transfers: Final = CrossLoopTransfers(services.transfers, self._bridge)

    async def aclose(self) -> None:
        """End the open streams with `Cancelled`."""
        self._bridge.end_streams()


class CrossLoopInference(InferenceService):
    """`InferenceService` across loops."""

    def __init__(self, inner: InferenceService, bridge: Bridge) -> None:
        self._inner = inner
        self._bridge = bridge

    def chat(self, request: ChatRequest) -> AsyncGenerator[GenerationEvent, None]:
        return self._bridge.stream(lambda: self._inner.chat(request))

    def generate(self, request: GenerateRequest) -> AsyncGenerator[GenerationEvent, None]:
        return self._bridge.stream(lambda: self._inner.generate(request))

    async def embed(self, request: EmbedRequest) -> EmbedResult:
        return await self._bridge.call(self._inner.embed(request))

    async def rerank(self, request: RerankRequest) -> RerankResult:
        return await self._bridge.call(self._inner.rerank(request))

    async def tokenize(self, model: str, text: str, *, add_special: bool = True) -> tuple[int, ...]:
        return await self._bridge.call(self._inner.tokenize(model, text, add_special=add_special))

    async def detokenize(self, model: str, tokens: tuple[int, ...]) -> str:
        return await self._bridge.call(self._inner.detokenize(model, tokens))


class CrossLoopModels(ModelService):
    """`ModelService` across loops."""

    def __init__(self, inner: ModelService, bridge: Bridge) -> None:
        self._inner = inner
        self._bridge = bridge

    async def list_models(self) -> tuple[ModelSummary, ...]:
        return await self._bridge.call(self._inner.list_models())

    async def footprints(self) -> dict[str, ModelFootprint]:
        return await self._bridge.call(self._inner.footprints())

    async def show(self, request: ShowRequest) -> ModelInfo:
        return await self._bridge.call(self._inner.show(request))

    async def copy(self, source: str, destination: str) -> None:
        await self._bridge.call(self._inner.copy(source, destination))

    async def delete(self, name: str) -> None:
        await self._bridge.call(self._inner.delete(name))

    def create(self, request: CreateRequest) -> AsyncGenerator[CreateProgress, None]:
        return self._bridge.stream(lambda: self._inner.create(request))

    async def has_blob(self, digest: str) -> bool:
        return await self._bridge.call(self._inner.has_blob(digest))

    async def put_blob(self, digest: str, body: AsyncIterable[bytes]) -> bool:
        """Store a blob; the upload waits for its body from the consumer's loop, as nothing else does."""
        consumer = asyncio.get_running_loop()
        return await self._bridge.call(self._inner.put_blob(digest, fetched(body.__aiter__(), consumer)))

    async def bundled(self) -> tuple[BundledModel, ...]:
        return await self._bridge.call(self._inner.bundled())

    async def install_bundled(self, name: str) -> None:
        await self._bridge.call(self._inner.install_bundled(name))


async def fetched(
    body: AsyncIterator[bytes], consumer: asyncio.AbstractEventLoop
) -> AsyncGenerator[bytes, None]:
    """The pieces of an iterator that lives on the consumer's loop, for the server's loop."""

    async def next_piece() -> bytes | None:
        return await anext(body, None)

    while True:
        coroutine = next_piece()
        try:
            future = asyncio.run_coroutine_threadsafe(coroutine, consumer)
        except RuntimeError:
            coroutine.close()
            raise Cancelled("the sender of the file has gone") from None
        piece = await asyncio.wrap_future(future)
        if piece is None:
            return
        yield piece


class CrossLoopStatus(StatusService):
    """`StatusService` across loops."""

    def __init__(self, inner: StatusService, bridge: Bridge) -> None:
        self._inner = inner
        self._bridge = bridge

    async def version(self) -> str:
        return await self._bridge.call(self._inner.version())

    async def running(self) -> tuple[RunningModel, ...]:
        return await self._bridge.call(self._inner.running())

    async def snapshot(self) -> StatusSnapshot:
        return await self._bridge.call(self._inner.snapshot())

    async def history(self, window_s: int) -> StatusHistory:
        return await self._bridge.call(self._inner.history(window_s))

    async def unload(self, name: str) -> None:
        await self._bridge.call(self._inner.unload(name))

    async def set_keep_alive(self, name: str, keep_alive_s: float) -> None:
        await self._bridge.call(self._inner.set_keep_alive(name, keep_alive_s))

    async def cancel_request(self, request_id: int) -> None:
        await self._bridge.call(self._inner.cancel_request(request_id))

    async def prompt(self, request_id: int) -> RecordedPrompt:
        return await self._bridge.call(self._inner.prompt(request_id))

    async def logs(self, after: int = 0, limit: int = 1000) -> tuple[LogLine, ...]:
        return await self._bridge.call(self._inner.logs(after, limit))


class CrossLoopTransfers(TransferService):
    """`TransferService` across loops."""

    def __init__(self, inner: TransferService, bridge: Bridge) -> None:
        self._inner = inner
        self._bridge = bridge

    def pull(self, request: TransferRequest) -> AsyncGenerator[TransferProgress, None]:
        return self._bridge.stream(lambda: self._inner.pull(request))

    def push(self, request: TransferRequest) -> AsyncGenerator[TransferProgress, None]:
        return self._bridge.stream(lambda: self._inner.push(request))

    async def start_transfer(self, kind: TransferKind, request: TransferRequest) -> int:
        return await self._bridge.call(self._inner.start_transfer(kind, request))

    async def transfers(self) -> TransferList:
        return await self._bridge.call(self._inner.transfers())

    async def pause_transfer(self, transfer_id: int) -> None:
        await self._bridge.call(self._inner.pause_transfer(transfer_id))

    async def resume_transfer(self, transfer_id: int) -> None:
        await self._bridge.call(self._inner.resume_transfer(transfer_id))

    async def cancel_transfer(self, transfer_id: int) -> None:
        await self._bridge.call(self._inner.cancel_transfer(transfer_id))

    async def forget_transfer(self, transfer_id: int) -> None:
        await self._bridge.call(self._inner.forget_transfer(transfer_id))

    async def partials(self) -> tuple[PartialDownload, ...]:
        return await self._bridge.call(self._inner.partials())

    async def remove_partial(self, digest: str) -> None:
        await self._bridge.call(self._inner.remove_partial(digest))

    async def move_transfer(self, transfer_id: int, position: int) -> None:
        await self._bridge.call(self._inner.move_transfer(transfer_id, position))

    async def limit_transfers(self, bytes_per_s: int, transfer_id: int | None = None) -> None:
        await self._bridge.call(self._inner.limit_transfers(bytes_per_s, transfer_id))


class CrossLoopUpkeep(UpkeepService):
    """`UpkeepService` across loops."""

    def __init__(self, inner: UpkeepService, bridge: Bridge) -> None:
        self._inner = inner
        self._bridge = bridge

    async def collect_garbage(self, age_s: float | None = None, *, dry_run: bool = False) -> GarbageReport:
        return await self._bridge.call(self._inner.collect_garbage(age_s, dry_run=dry_run))

    def check(self, *, quick: bool = False) -> AsyncGenerator[CheckProgress, None]:
        return self._bridge.stream(lambda: self._inner.check(quick=quick))
