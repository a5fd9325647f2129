"""Errors as HTTP replies: THE table of statuses, and the bodies of each family of routes.

Exact words of one route stand beside that route. Tracebacks go to the log only.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import NamedTuple, Protocol

from server import errors
from server.api.encoding import BodyTooLarge, UnsupportedEncoding
from server.wire.codec import encode
from server.wire.olla import fault_body
from server.wire.ollama.inference import UnknownFormat

JSON_UTF8 = "application/json; charset=utf-8"
JSON = "application/json"

_log = logging.getLogger("olla")


class Row(NamedTuple):
    """How a class of errors is answered.

    `in_stream`: Ollama meets it only when its stream has begun, which shows in the content type of the reply.
    """

    status: int
    in_stream: bool = False


TABLE: dict[type[errors.OllaError], Row] = {
    errors.OllaError: Row(500),
    errors.InvalidRequest: Row(400),
    errors.InvalidModelName: Row(400),
    # A caller's mistake, but Ollama answers 500, and clients were written to that.
    errors.InvalidOption: Row(500),
    BodyTooLarge: Row(413),
    UnsupportedEncoding: Row(415),
    UnknownFormat: Row(500, in_stream=True),
    errors.InvalidFormat: Row(400, in_stream=True),
    errors.InvalidGrammar: Row(400, in_stream=True),
    errors.InvalidImage: Row(400, in_stream=True),
    errors.InvalidModelfile: Row(400),
    errors.InvalidTemplate: Row(400),
    errors.CapabilityMissing: Row(400),
    errors.ContextExceeded: Row(400, in_stream=True),
    errors.NotFound: Row(404),
    errors.ModelNotFound: Row(404),
    errors.BlobNotFound: Row(404),
    errors.RequestNotFound: Row(404),
    errors.Forbidden: Row(403),
    errors.Busy: Row(503),
    errors.QueueFull: Row(503),
    errors.ShuttingDown: Row(503),
    errors.Cancelled: Row(499),
    errors.StoreError: Row(500),
    errors.DigestMismatch: Row(400),
    errors.DiskFull: Row(500),
    errors.BadModelFile: Row(500),
    errors.TransferFailed: Row(500),
    errors.RegistryError: Row(500),
    errors.RegistryUnreachable: Row(500),
    errors.ServerUnreachable: Row(502),
    errors.EngineError: Row(500, in_stream=True),
    errors.LoadFailed: Row(500),
    errors.OutOfMemory: Row(500),
    errors.EngineCrashed: Row(500, in_stream=True),
    errors.CrashLoop: Row(500, in_stream=True),
    errors.EngineHung: Row(500, in_stream=True),
}


def row_of(error: errors.OllaError) -> Row:
    """The row of an error's class, or of its nearest ancestor that has one."""
    return next(TABLE[kind] for kind in type(error).__mro__ if kind in TABLE)


class Phase(Enum):
    """When an error came: reading the body, answering, or in a stream whose first line is not out yet."""

    DECODE = 0
    ANSWER = 1
    STREAM = 2


class Faults(Protocol):
    """How a family of routes tells errors."""

    def body(self, error: errors.OllaError, status: int) -> bytes:
        """Body of a reply that is nothing but an error."""
        ...

    def line(self, error: errors.OllaError) -> bytes:
        """An error within a stream whose status is already sent."""
        ...

    def content_type(self, error: errors.OllaError, phase: Phase) -> str:
        """Content type of `body`."""
        ...


class NativeFaults(Faults):
    """`{"error": "..."}`, as on all routes below `/api`.

    In a stream, whose status and headers are sent already, `olla` beside it tells the status and the hint.

    `is_job`: the route's stream is one job, all of whose errors come from within it (create).
    """

    def __init__(self, *, is_job: bool = False) -> None:
        self._is_job = is_job

    def body(self, error: errors.OllaError, status: int) -> bytes:
        return encode({"error": error.message})

    def line(self, error: errors.OllaError) -> bytes:
        return encode({"error": error.message, "olla": fault_body(error, row_of(error).status)}) + b"\n"

    def content_type(self, error: errors.OllaError, phase: Phase) -> str:
        in_stream = phase is Phase.STREAM and (self._is_job or row_of(error).in_stream)
        return JSON if in_stream else JSON_UTF8


class OpenAIFaults(Faults):
    """`{"error": {"message": ..., "type": ...}}`, as on all routes below `/v1`.

    Within a stream the envelope comes as an event, which OpenAI's clients raise. Ollama loses it.
    """

    def body(self, error: errors.OllaError, status: int) -> bytes:
        kind = {400: "invalid_request_error", 404: "not_found_error"}.get(status, "api_error")
        return encode({"error": {"message": error.message, "type": kind, "param": None, "code": None}})

    def line(self, error: errors.OllaError) -> bytes:
        return b"data: " + self.body(error, row_of(error).status) + b"\n\n"

    def content_type(self, error: errors.OllaError, phase: Phase) -> str:
        return JSON_UTF8 if phase is Phase.DECODE else JSON


class AnthropicFaults(Faults):
    """`{"type": "error", "error": {...}, "request_id": ...}`, as on the routes below `/v1/messages`.

    Within a stream it comes as an event `error`, which the clients raise. Ollama just ends the stream.
    """

    _KINDS: Mapping[int, str] = MappingProxyType(
        {
            400: "invalid_request_error",
            403: "permission_error",
            404: "not_found_error",
            413: "request_too_large",
            503: "overloaded_error",
        }
    )

    def body(self, error: errors.OllaError, status: int) -> bytes:
        fault = {"type": self._KINDS.get(status, "api_error"), "message": error.message}
        return encode({"type": "error", "error": fault, "request_id": f"req_{secrets.token_hex(12)}"})

    def line(self, error: errors.OllaError) -> bytes:
        return b"event: error\ndata: " + self.body(error, row_of(error).status) + b"\n\n"

    def content_type(self, error: errors.OllaError, phase: Phase) -> str:
        return JSON_UTF8 if phase is Phase.DECODE else JSON


NATIVE = NativeFaults()
JOB = NativeFaults(is_job=True)
OPENAI = OpenAIFaults()
ANTHROPIC = AnthropicFaults()


def as_olla_error(error: Exception, place: str) -> errors.OllaError:
    """`error` if it is one for users; else a sentence in its place, and the traceback in the log."""
    if isinstance(error, errors.OllaError):
        return error
    if isinstance(error, RecursionError):
        # Only what a request brings along is deep: its schemas, arguments and options.
        return errors.InvalidRequest("the request is nested too deeply")
    _log.error("internal error in %s", place, exc_info=error)
    return errors.OllaError("internal error; the server's log has the details")
