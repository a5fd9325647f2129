"""Bodies of `/api/create`: request and status lines, in both directions."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from server.types.models import CreateProgress, CreateRequest
from server.wire.codec import GoObject, decode, encode
from server.wire.ollama.messages import message_body, message_from_body


class ProgressBody(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A status line of a create."""

    status: str
    digest: str = ""
    total: int = 0
    completed: int = 0


class CreateCall(NamedTuple):
    """A create request with what concerns only its transport."""

    request: CreateRequest
    stream: bool = True


def progress_body(progress: CreateProgress) -> ProgressBody:
    """A status line."""
    return ProgressBody(
        status=progress.status,
        digest=progress.digest,
        total=progress.total_bytes,
        completed=progress.completed_bytes,
    )


def create_from_body(body: bytes) -> CreateCall:
    """Raises: InvalidRequest."""
    fields = GoObject(decode(body), "CreateRequest")
    license_ = fields.raw("license")
    request = CreateRequest(
        model=fields.text("model") or fields.text("name"),
        base=fields.text("from"),
        files=fields.text_mapping("files"),
        adapters=fields.text_mapping("adapters"),
        draft_files=fields.text_mapping("draft_files"),
        template=fields.text("template"),
        system=fields.text("system"),
        licenses=_licenses(license_),
        parameters=fields.mapping("parameters"),
        messages=tuple(message_from_body(item) for item in fields.children("messages", "api.Message")),
        renderer=fields.text("renderer"),
        parser=fields.text("parser"),
        requires=fields.text("requires"),
        quantize=fields.text("quantize") or fields.text("quantization"),
        draft_quantize=fields.text("draft_quantize"),
        remote_host=fields.text("remote_host"),
        info=fields.mapping("info"),
    )
    return CreateCall(request, fields.flag("stream", True))


def _licenses(value: object) -> tuple[str, ...]:
    """Texts of `license`, a text or a list; what is neither is left out, as in Ollama."""
    if isinstance(value, str):
        return (value,) if value else ()
    if isinstance(value, list):
        return tuple(item for item in value if isinstance(item, str))
    return ()


def create_body(request: CreateRequest, *, stream: bool = True) -> bytes:
    """JSON that `create_from_body` reads."""
    optional: dict[str, Any] = {
        "from": request.base,
        "files": request.files,
        "adapters": request.adapters,
        "draft_files": request.draft_files,
        "template": request.template,
        "system": request.system,
        "license": request.licenses,
        "parameters": request.parameters,
        "messages": [message_body(message) for message in request.messages],
        "renderer": request.renderer,
        "parser": request.parser,
        "requires": request.requires,
        "quantize": request.quantize,
        "draft_quantize": request.draft_quantize,
        "remote_host": request.remote_host,
        "info": request.info,
    }
    given = {key: value for key, value in optional.items() if value}
    return encode({"model": request.model, "stream": stream, **given})


def create_progress(line: object) -> CreateProgress:
    """A status line. Raises: InvalidRequest for JSON of another shape."""
    fields = GoObject(line, "ProgressResponse")
    return CreateProgress(
        status=fields.text("status"),
        digest=fields.text("digest"),
        total_bytes=fields.integer("total") or 0,
        completed_bytes=fields.integer("completed") or 0,
    )
