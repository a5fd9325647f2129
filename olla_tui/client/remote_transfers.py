"""Pulls and pushes over HTTP."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING
from urllib.parse import quote

import msgspec

from olla_tui.client.shapes import convert
from server.errors import CapabilityMissing
from server.services.protocols import TransferService
from server.types.transfers import (
    PartialDownload,
    TransferKind,
    TransferList,
    TransferProgress,
    TransferRequest,
)
from server.wire.ollama.transfers import transfer_body, transfer_progress

if TYPE_CHECKING:
    from olla_tui.client.remote import Server


class _Started(msgspec.Struct, frozen=True):
    """Reply to a transfer that was begun."""

    id: int


class RemoteTransfers(TransferService):
    """`TransferService` over HTTP. A real Ollama pulls and pushes, and lists nothing."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def pull(self, request: TransferRequest) -> AsyncGenerator[TransferProgress, None]:
        return self._lines("/api/pull", request)

    def push(self, request: TransferRequest) -> AsyncGenerator[TransferProgress, None]:
        return self._lines("/api/push", request)

    async def start_transfer(self, kind: TransferKind, request: TransferRequest) -> int:
        await self._require_olla()
        body = msgspec.json.encode({"kind": kind, **msgspec.to_builtins(request)})
        reply = await self._server.api.json("POST", "/olla/transfers", body)
        return convert(reply, _Started).id

    async def transfers(self) -> TransferList:
        if not await self._server.is_olla():
            return TransferList()
        return convert(await self._server.api.json("GET", "/olla/transfers"), TransferList)

    async def pause_transfer(self, transfer_id: int) -> None:
        await self._switch(f"{transfer_id}/pause")

    async def resume_transfer(self, transfer_id: int) -> None:
        await self._switch(f"{transfer_id}/resume")

    async def cancel_transfer(self, transfer_id: int) -> None:
        await self._switch(f"{transfer_id}/cancel")

    async def forget_transfer(self, transfer_id: int) -> None:
        await self._switch(f"{transfer_id}/forget")

    async def partials(self) -> tuple[PartialDownload, ...]:
        if not await self._server.is_olla():
            return ()
        reply = await self._server.api.json("GET", "/olla/partials")
        return convert(reply, tuple[PartialDownload, ...])

    async def remove_partial(self, digest: str) -> None:
        await self._require_olla()
        await self._server.api.json("POST", f"/olla/partials/{quote(digest, safe='')}/remove", b"{}")

    async def move_transfer(self, transfer_id: int, position: int) -> None:
        await self._switch(f"{transfer_id}/move", msgspec.json.encode({"position": position}))

    async def limit_transfers(self, bytes_per_s: int, transfer_id: int | None = None) -> None:
        body = {"limit_bytes_per_s": bytes_per_s, "id": transfer_id}
        await self._switch("limit", msgspec.json.encode(body))

    async def _lines(self, path: str, request: TransferRequest) -> AsyncGenerator[TransferProgress, None]:
        async with aclosing(
            self._server.api.lines(path, transfer_body(request), model=request.model)
        ) as lines:
            async for line in lines:
                yield transfer_progress(line)

    async def _switch(self, path: str, body: bytes = b"{}") -> None:
        await self._require_olla()
        await self._server.api.json("POST", f"/olla/transfers/{path}", body)

    async def _require_olla(self) -> None:
        if not await self._server.is_olla():
            raise CapabilityMissing("this server is an Ollama, which has no switches for transfers")
