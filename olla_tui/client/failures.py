"""What a server's refusal becomes: an error class of ours, with the HTTP reply as its cause.

The class follows from the status and the route, never from the text. The text is the server's own.
"""

from __future__ import annotations

import http

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
    status: int, message: str, *, path: str = "", model: str = "", streaming: bool = False
) -> OllaError:
    """The error for a reply of 400 or more, its cause set.

    A 404 below `/api/blobs` is a missing blob, below `/olla/requests` a missing request, with a model's name
    a missing model, and any other one a route that the server does not have.
    """
    error: OllaError
    if status == 404:
        error = _not_found(message, path, model)
    elif status in _CLASSES:
        error = _CLASSES[status](message)
    else:
        error = InvalidRequest(message) if status < 500 else EngineError(message)
    error.__cause__ = HttpReply(status, streaming=streaming)
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
    try:
        return f"{status} {http.HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def unreachable(base_url: str, reason: str) -> ServerUnreachable:
    """The error for a server that does not answer."""
    return ServerUnreachable(
        f"could not connect to an olla server at {base_url} ({reason})", hint="Run 'olla serve' to start it."
    )
