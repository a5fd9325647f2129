"""Bodies of `/v1/completions`."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from server.errors import InvalidRequest
from server.types.generation import Completed, GenerateRequest, Origin
from server.wire.codec import EOF, GoObject, decode, encode
from server.wire.folding import Answer
from server.wire.ollama.inference import MAX_TOP_LOGPROBS, logit_bias_from_body
from server.wire.openai.options import FINGERPRINT, Usage, sampling_options, stop_texts, usage, wants_usage


class CompletionCall(NamedTuple):
    """A completion request with what concerns only its transport."""

    request: GenerateRequest
    stream: bool = False
    include_usage: bool = False


class TextChoice(msgspec.Struct, frozen=True):
    """A completion, or a piece of one."""

    text: str
    index: int
    finish_reason: str | None


class CompletionBody(msgspec.Struct, frozen=True, kw_only=True):
    """A whole reply."""

    id: str
    object: str = "text_completion"
    created: int
    model: str
    system_fingerprint: str = FINGERPRINT
    choices: list[TextChoice]
    usage: Usage


class CompletionChunk(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of a streamed reply."""

    id: str
    object: str = "text_completion"
    created: int
    choices: list[TextChoice]
    model: str
    system_fingerprint: str = FINGERPRINT
    usage: Usage | msgspec.UnsetType = msgspec.UNSET


def completion_from_body(body: bytes, origin: Origin) -> CompletionCall:
    """Raises: InvalidRequest."""
    fields = GoObject(decode(body, when_empty=EOF), "CompletionRequest")
    options = sampling_options(fields)
    options["top_p"] = options["top_p"] or 1.0
    for name in ("frequency_penalty", "presence_penalty"):
        options.setdefault(name, 0.0)
    if (stop := stop_texts(fields.raw("stop"), strict=True)) is not None:
        options["stop"] = stop
    n_logprobs = fields.integer("logprobs") or 0
    if n_logprobs > MAX_TOP_LOGPROBS:
        raise InvalidRequest(f"top_logprobs must be between 0 and {MAX_TOP_LOGPROBS}")
    request = GenerateRequest(
        model=fields.text("model"),
        prompt=fields.text("prompt"),
        suffix=fields.text("suffix"),
        options=options,
        logit_bias=logit_bias_from_body(fields),
        render_only=fields.flag("_debug_render_only"),
        origin=origin,
    )
    return CompletionCall(request, fields.flag("stream"), wants_usage(fields))


def completion(id: str, model: str, answer: Answer, created_s: int) -> CompletionBody:
    """A whole reply. Thoughts are left out: the route has no place for them."""
    return CompletionBody(
        id=id,
        created=created_s,
        model=model,
        choices=[TextChoice(answer.content, 0, answer.completed.reason)],
        usage=usage(answer.completed.timings),
    )


def text_piece(
    id: str, model: str, created_s: int, text: str, *, reason: str | None = None, with_usage: bool
) -> bytes:
    """Event for a piece of the text; `with_usage`: with zeros, as in Ollama, for the usage comes last."""
    return _sse(
        CompletionChunk(
            id=id,
            created=created_s,
            choices=[TextChoice(text, 0, reason)],
            model=model,
            usage=Usage() if with_usage else msgspec.UNSET,
        )
    )


def usage_piece(id: str, model: str, created_s: int, completed: Completed) -> bytes:
    """Event with the usage."""
    return _sse(
        CompletionChunk(id=id, created=created_s, choices=[], model=model, usage=usage(completed.timings))
    )


def _sse(body: CompletionChunk) -> bytes:
    return b"data: " + encode(body) + b"\n\n"
