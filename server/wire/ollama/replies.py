"""Replies of `/api/chat`, `/api/generate`, `/api/embed` and `/api/embeddings`, in both directions.

Writing: `chat_reply` and the like, for the server; key order and what is left out when empty are Ollama's.
Reading: `chat_events` and the like, for a client.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import msgspec

from server.errors import InvalidRequest
from server.types.generation import (
    Chunk,
    Completed,
    DoneReason,
    EmbedResult,
    GenerationEvent,
    Rendered,
    Timings,
    TokenLogprob,
)
from server.types.messages import ToolCall
from server.types.vectors import floats, packed
from server.wire.codec import GoObject
from server.wire.folding import Answer
from server.wire.olla import ContextBody, Told, context_of, told_of_inputs
from server.wire.ollama.messages import (
    LogprobBody,
    MessageBody,
    ToolCallBody,
    logprob_bodies,
    logprobs_from_bodies,
    message_from_body,
    tool_call_bodies,
    tool_calls_from_body,
)
from server.wire.times import utc_text


class DebugInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """`_debug_info` of a request that only rendered its prompt."""

    rendered_template: str
    image_count: int = 0


class Details(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What olla knows of an answer beyond Ollama's fields; sent when asked for, but `context` always."""

    n_cached_tokens: int = 0
    n_drafted_tokens: int = 0
    n_accepted_tokens: int = 0
    queue_duration: int = 0
    stop_text: str = ""
    n_dropped_messages: int = 0
    n_dropped_tokens: int = 0
    n_ctx: int = 0
    context: ContextBody | None = None


class ChatReply(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A line, or the whole, of a chat reply. Durations in nanoseconds."""

    model: str
    created_at: str
    message: MessageBody
    done: bool
    done_reason: str = ""
    debug_info: DebugInfo | None = msgspec.field(default=None, name="_debug_info")
    logprobs: list[LogprobBody] = []
    total_duration: int = 0
    load_duration: int = 0
    prompt_eval_count: int = 0
    prompt_eval_duration: int = 0
    eval_count: int = 0
    eval_duration: int = 0
    olla: Details | None = None


class GenerateReply(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A line, or the whole, of a generate reply. Durations in nanoseconds."""

    model: str
    created_at: str
    response: str
    thinking: str = ""
    done: bool
    done_reason: str = ""
    context: tuple[int, ...] = ()
    total_duration: int = 0
    load_duration: int = 0
    prompt_eval_count: int = 0
    prompt_eval_duration: int = 0
    eval_count: int = 0
    eval_duration: int = 0
    tool_calls: list[ToolCallBody] = []
    debug_info: DebugInfo | None = msgspec.field(default=None, name="_debug_info")
    logprobs: list[LogprobBody] = []
    olla: Details | None = None


class EmbedReply(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Reply of `/api/embed`."""

    model: str
    embeddings: list[list[float]]
    total_duration: int = 0
    load_duration: int = 0
    prompt_eval_count: int = 0
    olla: Told | msgspec.UnsetType = msgspec.UNSET


def chat_reply(model: str, event: GenerationEvent, time_ns: int, *, details: bool = False) -> ChatReply:
    """One line of a stream."""
    created_at = utc_text(time_ns)
    if isinstance(event, Chunk):
        return ChatReply(
            model=model,
            created_at=created_at,
            message=MessageBody(
                role="assistant",
                content=event.content,
                thinking=event.thinking,
                tool_calls=tool_call_bodies(event.tool_calls),
            ),
            done=False,
            logprobs=logprob_bodies(event.logprobs),
        )
    if isinstance(event, Rendered):
        return ChatReply(
            model=model,
            created_at=created_at,
            message=MessageBody(role="", content=""),
            done=False,
            debug_info=DebugInfo(event.prompt, event.n_images),
        )
    return whole_chat_reply(model, Answer(completed=event), time_ns, details=details)


def whole_chat_reply(model: str, answer: Answer, time_ns: int, *, details: bool = False) -> ChatReply:
    """The reply to a request that did not ask for a stream."""
    if answer.rendered is not None:
        return chat_reply(model, answer.rendered, time_ns)
    completed = answer.completed
    return ChatReply(
        model=model,
        created_at=utc_text(time_ns),
        message=MessageBody(
            role="assistant",
            content=answer.content,
            thinking=answer.thinking,
            tool_calls=tool_call_bodies(answer.tool_calls),
        ),
        logprobs=logprob_bodies(answer.logprobs),
        done=True,
        done_reason=completed.reason,
        olla=_details(completed) if details else _told(completed),
        **_metrics(completed.timings),
    )


def generate_reply(
    model: str, event: GenerationEvent, time_ns: int, *, details: bool = False
) -> GenerateReply:
    """One line of a stream."""
    created_at = utc_text(time_ns)
    if isinstance(event, Chunk):
        return GenerateReply(
            model=model,
            created_at=created_at,
            response=event.content,
            thinking=event.thinking,
            done=False,
            tool_calls=tool_call_bodies(event.tool_calls),
            logprobs=logprob_bodies(event.logprobs),
        )
    if isinstance(event, Rendered):
        return GenerateReply(
            model=model,
            created_at=created_at,
            response="",
            done=False,
            debug_info=DebugInfo(event.prompt, event.n_images),
        )
    return whole_generate_reply(model, Answer(completed=event), time_ns, details=details)


def whole_generate_reply(model: str, answer: Answer, time_ns: int, *, details: bool = False) -> GenerateReply:
    """The reply to a request that did not ask for a stream."""
    if answer.rendered is not None:
        return generate_reply(model, answer.rendered, time_ns)
    completed = answer.completed
    return GenerateReply(
        model=model,
        created_at=utc_text(time_ns),
        response=answer.content,
        thinking=answer.thinking,
        done=True,
        done_reason=completed.reason,
        context=completed.context,
        tool_calls=tool_call_bodies(answer.tool_calls),
        logprobs=logprob_bodies(answer.logprobs),
        olla=_details(completed) if details else _told(completed),
        **_metrics(completed.timings),
    )


def _metrics(timings: Timings) -> dict[str, Any]:
    return {
        "total_duration": timings.total_duration_ns,
        "load_duration": timings.load_duration_ns,
        "prompt_eval_count": timings.n_prompt_tokens,
        "prompt_eval_duration": timings.prompt_duration_ns,
        "eval_count": timings.n_output_tokens,
        "eval_duration": timings.output_duration_ns,
    }


def _details(completed: Completed) -> Details:
    return Details(
        n_cached_tokens=completed.timings.n_cached_tokens,
        n_drafted_tokens=completed.timings.n_drafted_tokens,
        n_accepted_tokens=completed.timings.n_accepted_tokens,
        queue_duration=completed.timings.queue_duration_ns,
        stop_text=completed.stop_text,
        n_dropped_messages=completed.n_dropped_messages,
        n_dropped_tokens=completed.n_dropped_tokens,
        n_ctx=completed.n_ctx,
        context=context_of(completed),
    )


def _told(completed: Completed) -> Details | None:
    """Nothing is dropped in silence."""
    context = context_of(completed)
    return None if context is None else Details(context=context)


def embed_reply(model: str, result: EmbedResult) -> EmbedReply:
    """Reply of `/api/embed`. Raises: InvalidRequest for a vector with a number that JSON has no word for."""
    return EmbedReply(
        model=model,
        embeddings=[finite_numbers(vector) for vector in result.vectors],
        total_duration=result.total_duration_ns,
        load_duration=result.load_duration_ns,
        prompt_eval_count=result.n_prompt_tokens,
        olla=told_of_inputs(result),
    )


def embeddings_reply(result: EmbedResult) -> dict[str, list[float]]:
    """Reply of `/api/embeddings`."""
    return {"embedding": finite_numbers(result.vectors[0]) if result.vectors else []}


def finite_numbers(vector: bytes) -> list[float]:
    """Numbers of a vector, as float64, whose digits msgspec writes five times as fast as Python float32's.

    Raises: InvalidRequest for one that is no number: it is the input that made the model overflow.
    """
    numbers = floats(vector).tolist()
    if not math.isfinite(sum(numbers)):
        raise InvalidRequest("embedding contains NaN or Inf values")
    return numbers


def chat_events(line: object) -> tuple[GenerationEvent, ...]:
    """What one object of a chat reply says: at most a piece of the answer and its end.

    Raises: InvalidRequest for JSON of another shape.
    """
    fields = GoObject(line, "ChatResponse")
    message = message_from_body(fields.child("message", "api.Message"))
    chunk = Chunk(
        content=message.content,
        thinking=message.thinking,
        tool_calls=message.tool_calls,
        logprobs=_logprobs(fields),
    )
    return _events(fields, chunk)


def generate_events(line: object) -> tuple[GenerationEvent, ...]:
    """As `chat_events`, for generate."""
    fields = GoObject(line, "GenerateResponse")
    chunk = Chunk(
        content=fields.text("response"),
        thinking=fields.text("thinking"),
        tool_calls=tool_calls_from_body(fields),
        logprobs=_logprobs(fields),
    )
    return _events(fields, chunk)


def _logprobs(fields: GoObject) -> tuple[TokenLogprob, ...]:
    return logprobs_from_bodies(fields.children("logprobs", "api.Logprob"))


def _events(fields: GoObject, chunk: Chunk) -> tuple[GenerationEvent, ...]:
    if "_debug_info" in fields:
        info = fields.child("_debug_info", "api.DebugInfo")
        return (Rendered(prompt=info.text("rendered_template"), n_images=info.integer("image_count") or 0),)
    if not fields.flag("done"):
        return (chunk,)
    completed = _completed(fields, chunk.tool_calls)
    if chunk.content or chunk.thinking or chunk.logprobs:
        return (msgspec.structs.replace(chunk, tool_calls=()), completed)
    return (completed,)


_REASONS: dict[str, DoneReason] = {"length": "length", "load": "load", "unload": "unload"}


def _completed(fields: GoObject, tool_calls: tuple[ToolCall, ...]) -> Completed:
    extra = fields.child("olla", "api.Olla")
    return Completed(
        reason=_REASONS.get(fields.text("done_reason"), "stop"),
        timings=Timings(
            total_duration_ns=fields.integer("total_duration") or 0,
            load_duration_ns=fields.integer("load_duration") or 0,
            queue_duration_ns=extra.integer("queue_duration") or 0,
            n_prompt_tokens=fields.integer("prompt_eval_count") or 0,
            n_cached_tokens=extra.integer("n_cached_tokens") or 0,
            prompt_duration_ns=fields.integer("prompt_eval_duration") or 0,
            n_output_tokens=fields.integer("eval_count") or 0,
            output_duration_ns=fields.integer("eval_duration") or 0,
            n_drafted_tokens=extra.integer("n_drafted_tokens") or 0,
            n_accepted_tokens=extra.integer("n_accepted_tokens") or 0,
        ),
        tool_calls=tool_calls,
        context=fields.integers("context"),
        stop_text=extra.text("stop_text"),
        n_dropped_messages=extra.integer("n_dropped_messages") or 0,
        n_dropped_tokens=extra.integer("n_dropped_tokens") or 0,
        n_ctx=extra.integer("n_ctx") or 0,
    )


def embed_result(reply: object) -> EmbedResult:
    """Result of `/api/embed`. Raises: InvalidRequest for JSON of another shape."""
    fields = GoObject(reply, "EmbedResponse")
    return EmbedResult(
        vectors=tuple(_vector(numbers) for numbers in fields.items("embeddings")),
        n_prompt_tokens=fields.integer("prompt_eval_count") or 0,
        total_duration_ns=fields.integer("total_duration") or 0,
        load_duration_ns=fields.integer("load_duration") or 0,
    )


def _vector(numbers: Iterable[float]) -> bytes:
    try:
        return packed(numbers)
    except (TypeError, OverflowError):
        raise InvalidRequest("an embedding must be a list of numbers") from None
