"""What a server's refusal becomes: an error class of ours, with the HTTP reply as its cause.

The class follows from the status and the route, never from the text. The text is the server's own.
"""

from __future__ import annotations

import json

from server.errors import (
    BlobNotFound,
    Busy,
    Cancelled,
    EngineError,
    Forbidden,
    InvalidRequest,
    ModelNotFound,
    NotFound,
    OllaError,
    RequestNotFound,
    ServerUnreachable,
)
from server.wire.headers import read_hint


class HttpReply(Exception):
    """The reply behind an error; `raise error from HttpReply(...)` keeps it for whoever shows the status.

    Attributes:
        status: HTTP status code.
        streaming: whether the route answers in a stream; Ollama's command line shows the status of those.
    """

    def __init__(self, status: int, *, streaming: bool = False) -> None:
        super().__init__(status_text(status))
        self.status = status
        self.streaming = streaming


_CLASSES: dict[int, type[OllaError]] = {403: Forbidden, 499: Cancelled, 503: Busy}


def refusal(
    status: int, text: str, hint: str | None, *, path: str, model: str = "", streaming: bool = False
) -> OllaError:
    """The error for a reply of 400 or more, its cause set.

    Args:
        text: the body: JSON with `error`, or words for people.
        hint: what the header `HINT_HEADER` holds, None without one.
        model: the model that a 404 is about.
        streaming: whether the route answers in a stream.
    """
    cause = HttpReply(status, streaming=streaming)
    message = _message(text) or str(cause)
    error = failure(status, message, read_hint(hint), path=path, model=model)
    error.__cause__ = cause
    return error


def _message(text: str) -> str:
    try:
        reply = json.loads(text)
    except (ValueError, RecursionError):
        reply = None
    if isinstance(reply, dict) and "error" in reply:
        return str(reply["error"])
    return text.strip()


def failure(status: int, message: str, hint: str, *, path: str, model: str) -> OllaError:
    """The error of a status; 0 for a stream that broke without telling one.

    A 404 below `/api/blobs` is a missing blob, below `/olla/requests` a missing request, with a model's name
    a missing model, and any other one a route that the server does not have.
    """
    error: OllaError
    if status == 404:
        error = _not_found(message, path, model)
    elif status in _CLASSES:
        error = _CLASSES[status](message)
    else:
        error = InvalidRequest(message) if 400 <= status < 500 else EngineError(message)
    error.hint = hint
    return error


def _not_found(message: str, path: str, model: str) -> OllaError:
    if path.startswith("/api/blobs/"):
        return BlobNotFound(message)
    if path.startswith("/olla/requests/"):
        return RequestNotFound(message)
    if not model:
        return NotFound(message)
    error = ModelNotFound(model)
    error.message = message
    return error


def status_text(status: int) -> str:
    """Status with its reason, such as "400 Bad Request"."""
    import http  # late, for it takes longer to import than most commands wait

    try:
        return f"{status} {http.HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def unreachable(base_url: str, reason: str) -> ServerUnreachable:
    """The error for a server that does not answer."""
    return ServerUnreachable(
        f"could not connect to an olla server at {base_url} ({reason})", hint="Run 'olla serve' to start it."
    )
