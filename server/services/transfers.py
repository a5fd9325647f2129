"""Pulls and pushes: `TransferService` in this process.

A transfer goes on as long as somebody follows it. Who asks for one that is under way joins it.
"""

from __future__ import annotations

import asyncio
import itertools
import platform
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

import msgspec

from server.errors import Cancelled, InvalidRequest, NotFound, ShuttingDown
from server.registry.address import RegistryAddress, check_scheme
from server.registry.client import RegistryClient
from server.registry.connections import USUAL, Connections, Timeouts
from server.registry.download import USUAL as USUAL_POLICY
from server.registry.download import Policy
from server.registry.guard import AddressGuard
from server.registry.keys import Signer
from server.registry.rate import RateLimit
from server.registry.upload import USUAL as USUAL_UPLOAD
from server.registry.upload import UploadPolicy
from server.services.blob_downloads import BlobDownloads
from server.services.pull import Pull
from server.services.push import Push
from server.services.transfer import Transfer
from server.services.unfinished import list_downloads
from server.settings import Settings
from server.storage.ollama_partials import list_ollama_partials
from server.storage.partials import list_partials, remove_partial
from server.storage.paths import normal_digest
from server.storage.store import ModelStore
from server.types.names import ModelName, split_source
from server.types.transfers import (
    PartialDownload,
    TransferKind,
    TransferList,
    TransferProgress,
    TransferRequest,
)
from server.version import OLLA_VERSION, OLLAMA_VERSION

MAX_RUNNING = 3
"""Transfers at once; others wait in their order. More share the same line and all end later."""

MAX_ENDED = 20
"""Transfers that have ended and are still listed."""


_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


class TransferTuning(msgspec.Struct, frozen=True, kw_only=True):
    """What tests make smaller."""

    download: Policy = USUAL_POLICY
    upload: UploadPolicy = USUAL_UPLOAD
    timeouts: Timeouts = USUAL
    max_running: int = MAX_RUNNING


class Transfers:
    """See `TransferService`. Lives on the server's loop."""

    def __init__(
        self,
        store: ModelStore,
        settings: Settings,
        on_replaced: Callable[[str], Awaitable[None]],
        *,
        tuning: TransferTuning | None = None,
    ) -> None:
        """`on_replaced`: is told the name of a model that has become another."""
        self._store = store
        self._on_replaced = on_replaced
        self._noprune = settings.noprune
        self._signer = Signer(settings.key_file)
        self._limit = RateLimit(settings.transfer_limit_bytes_per_s)
        self._tuning = tuning or TransferTuning()
        self._downloads = BlobDownloads(store, self._tuning.download)
        self._ids = itertools.count(1)
        self._order: list[Transfer] = []
        self._ended: deque[Transfer] = deque(maxlen=MAX_ENDED)
        self._turn = asyncio.Condition()
        self._is_closed = False

    def pull(self, request: TransferRequest) -> AsyncGenerator[TransferProgress, None]:
        """See `TransferService.pull`."""
        return self._follow("pull", request)

    def push(self, request: TransferRequest) -> AsyncGenerator[TransferProgress, None]:
        """See `TransferService.push`."""
        return self._follow("push", request)

    async def start_transfer(self, kind: TransferKind, request: TransferRequest) -> int:
        """See `TransferService.start_transfer`."""
        name = await self._name(request)
        transfer = self._find(kind, name, request) or self._start(kind, name, request)
        transfer.goes_on_alone = True
        return transfer.id

    async def transfers(self) -> TransferList:
        """See `TransferService.transfers`."""
        listed = [*self._order, *self._ended]
        return TransferList(
            transfers=tuple(transfer.info() for transfer in listed), limit_bytes_per_s=self._limit.bytes_per_s
        )

    async def pause_transfer(self, transfer_id: int) -> None:
        """See `TransferService.pause_transfer`."""
        transfer = self._require(transfer_id)
        transfer.may_run.clear()
        transfer.state = "paused"
        transfer.wake()
        if transfer.work is not None:
            transfer.work.cancel()
        await self._look_again()

    async def resume_transfer(self, transfer_id: int) -> None:
        """See `TransferService.resume_transfer`."""
        transfer = self._require(transfer_id)
        if not transfer.may_run.is_set():
            transfer.state = "waiting"
            transfer.forget_rate()
            transfer.may_run.set()
            transfer.wake()

    async def cancel_transfer(self, transfer_id: int) -> None:
        """See `TransferService.cancel_transfer`."""
        await self._cancel(self._require(transfer_id))

    async def forget_transfer(self, transfer_id: int) -> None:
        """See `TransferService.forget_transfer`."""
        ended = [transfer for transfer in self._ended if transfer.id == transfer_id]
        if not ended:
            raise NotFound(f"no transfer {transfer_id} has ended")
        self._ended.remove(ended[0])

    async def move_transfer(self, transfer_id: int, position: int) -> None:
        """See `TransferService.move_transfer`."""
        transfer = self._require(transfer_id)
        self._order.remove(transfer)
        self._order.insert(max(position, 0), transfer)
        await self._look_again()

    async def limit_transfers(self, bytes_per_s: int, transfer_id: int | None = None) -> None:
        """See `TransferService.limit_transfers`."""
        limit = self._limit if transfer_id is None else self._require(transfer_id).limit
        limit.set(bytes_per_s)

    async def partials(self) -> tuple[PartialDownload, ...]:
        """See `TransferService.partials`."""
        return await asyncio.to_thread(list_downloads, self._store.paths)

    async def remove_partial(self, digest: str) -> None:
        """See `TransferService.remove_partial`."""
        await asyncio.to_thread(self._remove_partial, normal_digest(digest))

    def _remove_partial(self, digest: str) -> None:
        if all(partial.digest != digest for partial in list_partials(self._store.paths)):
            if any(partial.digest == digest for partial in list_ollama_partials(self._store.paths)):
                raise InvalidRequest(
                    f"{digest[:19]} is a download of an Ollama, which may be going on with it",
                    hint="`olla gc` removes it when it is a week old.",
                )
            raise NotFound(f"there is no unfinished download of {digest[:19]}")
        if not remove_partial(self._store.paths, digest):
            raise InvalidRequest(f"{digest[:19]} is being fetched", hint="Cancel the transfer first.")

    async def aclose(self) -> None:
        """End all transfers; what has come stays."""
        self._is_closed = True
        for transfer in list(self._order):
            await self._cancel(transfer)

    async def _follow(
        self, kind: TransferKind, request: TransferRequest
    ) -> AsyncGenerator[TransferProgress, None]:
        name = await self._name(request)
        transfer = self._find(kind, name, request) or self._start(kind, name, request)
        transfer.n_followers += 1
        try:
            async with aclosing(transfer.lines()) as lines:
                async for line in lines:
                    yield line
        finally:
            transfer.n_followers -= 1
            if not (transfer.n_followers or transfer.goes_on_alone or transfer.is_over):
                await self._cancel(transfer)

    async def _name(self, request: TransferRequest) -> ModelName:
        """The name that is meant. Raises: InvalidModelName, InvalidRequest."""
        check_scheme(request.model, insecure=request.insecure)
        base, source = split_source(request.model)
        name = ModelName.parse(base if source == "local" else request.model.strip())
        return await asyncio.to_thread(self._store.canonical, name)

    def _find(self, kind: TransferKind, name: ModelName, request: TransferRequest) -> Transfer | None:
        """The same transfer where it is under way."""
        for transfer in self._order:
            is_same = (transfer.kind, transfer.name.folded()) == (kind, name.folded())
            if is_same and transfer.request.insecure == request.insecure and not transfer.is_ending:
                return transfer
        return None

    def _start(self, kind: TransferKind, name: ModelName, request: TransferRequest) -> Transfer:
        if self._is_closed:
            raise ShuttingDown("the server is going down")
        transfer = Transfer(
            next(self._ids), kind, name, request, clock=time.monotonic, started_at=time.time()
        )
        self._order.append(transfer)
        for ended in list(self._ended):
            if (ended.kind, ended.name.folded()) == (kind, name.folded()):
                self._ended.remove(ended)  # the new one says what has become of it
        transfer.task = asyncio.create_task(self._run(transfer), name=f"{kind} {name.display()}")
        return transfer

    async def _run(self, transfer: Transfer) -> None:
        """Bring a transfer to its one end."""
        try:
            while not await self._attempt(transfer):
                pass
        except asyncio.CancelledError:
            transfer.end("cancelled", Cancelled(f"the {transfer.kind} was cancelled"))
        except Exception as error:
            transfer.end("failed", error)
        else:
            transfer.end("done")
        finally:
            self._order.remove(transfer)
            self._ended.appendleft(transfer)
            await self._look_again()

    async def _attempt(self, transfer: Transfer) -> bool:
        """Wait for the transfer's turn and run it; False when it was paused. Raises: why it failed."""
        await transfer.may_run.wait()
        async with self._turn:
            await self._turn.wait_for(lambda: self._is_turn(transfer) or not transfer.may_run.is_set())
            if not transfer.may_run.is_set():
                return False
            transfer.state = "running"
        work = transfer.work = asyncio.create_task(self._work(transfer), name=f"work {transfer.id}")
        try:
            await asyncio.wait({work})
        finally:
            if not work.done():
                work.cancel()
                await asyncio.wait({work})
            transfer.work = None
        if work.cancelled():
            # By a pause, which may be over already.
            await self._look_again()
            return False
        work.result()
        return True

    async def _work(self, transfer: Transfer) -> None:
        client = self._client(transfer)
        limits = (self._limit, transfer.limit)
        if transfer.kind == "pull":
            pull = Pull(
                transfer, self._store, self._downloads, client, limits, self._on_replaced, self._noprune
            )
            await pull.run()
        else:
            await Push(transfer, self._store, client, limits, self._tuning.upload).run()

    def _client(self, transfer: Transfer) -> RegistryClient:
        address = RegistryAddress.of(transfer.name, insecure=transfer.request.insecure)
        host = address.host.rpartition(":")[0] if ":" in address.host else address.host
        connections = Connections(AddressGuard(host), timeouts=self._tuning.timeouts)
        return RegistryClient(address, connections, self._signer, user_agent())

    def _is_turn(self, transfer: Transfer) -> bool:
        n_running = sum(other.state == "running" for other in self._order)
        waiting = [other for other in self._order if other.state == "waiting"]
        return (
            n_running < self._tuning.max_running
            and transfer in waiting[: self._tuning.max_running - n_running]
        )

    async def _look_again(self) -> None:
        async with self._turn:
            self._turn.notify_all()

    async def _cancel(self, transfer: Transfer) -> None:
        # Who asks for it from now on gets one of their own, which waits for what this one holds.
        transfer.is_ending = True
        if transfer.task is not None:
            transfer.task.cancel()
            await asyncio.wait({transfer.task})

    def _require(self, transfer_id: int) -> Transfer:
        for transfer in self._order:
            if transfer.id == transfer_id:
                return transfer
        raise NotFound(f"no transfer {transfer_id} is under way")


def user_agent() -> str:
    """What registries are told: the version of Ollama whose models are understood, and olla's own.

    Registry.ollama.ai refuses models that the version is too old for.
    """
    machine = platform.machine()
    place = f"{_ARCHITECTURES.get(machine, machine)} {platform.system().lower()}"
    return f"ollama/{OLLAMA_VERSION} ({place}) olla/{OLLA_VERSION}"
