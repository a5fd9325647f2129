"""`/api/blobs/{digest}`: whether a file is there, and uploading one."""

from __future__ import annotations

from starlette.types import Receive, Scope, Send

from server.api.disconnect import ClientGone, body_pieces
from server.api.endpoint import Call, Endpoint, refusal
from server.api.errors import JSON_UTF8, NATIVE, Phase, as_olla_error, row_of
from server.api.replies import EMPTY, Reply
from server.api.routing import Route
from server.errors import BlobNotFound
from server.services.protocols import Services


def routes(services: Services) -> list[Route]:
    """The routes of this module."""
    path = "/api/blobs/{digest}"
    return [
        Route("HEAD", path, Endpoint(services, _digest, _head)),
        Route("POST", path, Upload(services)),
    ]


def _digest(call: Call) -> str:
    return call.path["digest"]


async def _head(call: Call, digest: str) -> Reply:
    if not await call.services.models.has_blob(digest):
        raise BlobNotFound(f'blob "{digest}" not found')
    return Reply(content_type=JSON_UTF8)


class Upload:
    """Streams a body into the store; the answer comes when the body has been read to its end.

    Clients that are still sending when the connection closes see a broken connection instead of the answer.
    """

    def __init__(self, services: Services) -> None:
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        digest = scope["path_params"]["digest"]
        pieces = body_pieces(receive)
        try:
            created = await self._services.models.put_blob(digest, pieces)
            reply = Reply(status=201, content_type="") if created else EMPTY
        except ClientGone:
            return
        except Exception as error:
            known = as_olla_error(error, scope["path"])
            reply = refusal(known, NATIVE, Phase.ANSWER, row_of(known).status)
        await reply.send(send)
