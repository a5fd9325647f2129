"""Bodies of `/api/pull` and `/api/push`: request and status lines, in both directions."""

from __future__ import annotations

from typing import Any, NamedTuple

from server.errors import InvalidRequest
from server.types.transfers import TransferProgress, TransferRequest
from server.wire.codec import GoObject, decode, encode
from server.wire.ollama.create import ProgressBody

_MAX_LIMIT = 1 << 50


class TransferCall(NamedTuple):
    """A pull or push with what concerns only its transport."""

    request: TransferRequest
    stream: bool = True


def transfer_from_body(body: bytes, go_struct: str) -> TransferCall:
    """Raises: InvalidRequest."""
    fields = GoObject(decode(body), go_struct)
    request = TransferRequest(
        model=fields.text("model") or fields.text("name"),
        insecure=fields.flag("insecure", False),
        limit_bytes_per_s=read_limit(fields.integer("limit_bytes_per_s") or 0),
    )
    return TransferCall(request, fields.flag("stream", True))


def read_limit(bytes_per_s: int) -> int:
    """A limit, 0 for none. Raises: InvalidRequest."""
    if not 0 <= bytes_per_s <= _MAX_LIMIT:
        raise InvalidRequest("limit_bytes_per_s must be a number of bytes a second, 0 for no limit")
    return bytes_per_s


def transfer_body(request: TransferRequest) -> bytes:
    """JSON that `transfer_from_body` reads."""
    body: dict[str, Any] = {"model": request.model}
    if request.insecure:
        body["insecure"] = True
    if request.limit_bytes_per_s:
        body["limit_bytes_per_s"] = request.limit_bytes_per_s
    return encode(body)


def transfer_progress_body(progress: TransferProgress) -> ProgressBody:
    """A status line."""
    return ProgressBody(
        status=progress.status,
        digest=progress.digest,
        total=progress.total_bytes,
        completed=progress.completed_bytes,
    )


def transfer_progress(line: object) -> TransferProgress:
    """A status line. Raises: InvalidRequest for JSON of another shape."""
    fields = GoObject(line, "ProgressResponse")
    return TransferProgress(
        status=fields.text("status"),
        digest=fields.text("digest"),
        total_bytes=fields.integer("total") or 0,
        completed_bytes=fields.integer("completed") or 0,
    )
