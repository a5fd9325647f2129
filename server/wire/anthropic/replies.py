"""Replies of `/v1/messages`: whole ones, and the events of streams."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from typing import Any

import msgspec

from server.types.generation import Chunk, Completed, PromptUse
from server.types.messages import JsonObject, ToolCall
from server.wire.codec import encode
from server.wire.folding import Answer
from server.wire.olla import Told, told


class TextBlock(msgspec.Struct, frozen=True, tag="text"):
    """Text of the answer."""

    text: str


class ThinkingBlock(msgspec.Struct, frozen=True, tag="thinking"):
    """Reasoning, with a mark by which clients know that it is whole."""

    thinking: str
    signature: str


class ToolUseBlock(msgspec.Struct, frozen=True, tag="tool_use"):
    """A call of a tool."""

    id: str
    name: str
    input: JsonObject


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of a request. As at Anthropic, `input_tokens` are those that did not come out of the cache."""

    input_tokens: int
    cache_creation_input_tokens: int = 0
    cache_read_input_tokens: int = 0
    output_tokens: int


class MessageBody(msgspec.Struct, frozen=True, kw_only=True):
    """A message of the assistant."""

    id: str
    type: str = "message"
    role: str = "assistant"
    model: str
    content: list[TextBlock | ThinkingBlock | ToolUseBlock]
    stop_reason: str | None
    stop_sequence: str | None
    usage: Usage
    olla: Told | msgspec.UnsetType = msgspec.UNSET


class TokenCount(msgspec.Struct, frozen=True):
    """Reply of `/v1/messages/count_tokens`."""

    input_tokens: int


def signature(thinking: str) -> str:
    """The mark of a reasoning block: it changes with the text, and nobody has to check it."""
    return base64.b64encode(hashlib.sha256(thinking.encode()).digest()).decode("ascii")


def usage(prompt: PromptUse, n_output_tokens: int) -> Usage:
    """Usage of a request as far as it is known."""
    return Usage(
        input_tokens=prompt.n_tokens - prompt.n_cached_tokens,
        cache_read_input_tokens=prompt.n_cached_tokens,
        output_tokens=n_output_tokens,
    )


def _final_usage(completed: Completed) -> Usage:
    timings = completed.timings
    return usage(PromptUse(timings.n_prompt_tokens, timings.n_cached_tokens), timings.n_output_tokens)


def _stop(completed: Completed, *, called: bool) -> tuple[str, str | None]:
    """Why the answer ended, and at which of the caller's texts."""
    if called:
        return "tool_use", None
    if completed.stop_text:
        return "stop_sequence", completed.stop_text
    return ("max_tokens" if completed.reason == "length" else "end_turn"), None


def message(id: str, model: str, answer: Answer, stop_sequences: tuple[str, ...]) -> MessageBody:
    """A whole reply. `stop_sequences`: the caller's; the model's own do not show."""
    content: list[TextBlock | ThinkingBlock | ToolUseBlock] = []
    if answer.thinking:
        content.append(ThinkingBlock(answer.thinking, signature(answer.thinking)))
    if answer.content:
        content.append(TextBlock(answer.content))
    content.extend(ToolUseBlock(call.id, call.name, call.arguments) for call in answer.tool_calls)
    completed = _shown(answer.completed, stop_sequences)
    reason, text = _stop(completed, called=bool(answer.tool_calls))
    return MessageBody(
        id=id,
        model=model,
        content=content,
        stop_reason=reason,
        stop_sequence=text,
        usage=_final_usage(completed),
        olla=told(completed),
    )


def _shown(completed: Completed, stop_sequences: tuple[str, ...]) -> Completed:
    if completed.stop_text in stop_sequences:
        return completed
    return msgspec.structs.replace(completed, stop_text="")


PING = b'event: ping\ndata: {"type":"ping"}\n\n'


class MessageWriter:
    """Turns the events of an answer into those of a stream: one block is open at a time, each closed once."""

    def __init__(self, id: str, model: str, stop_sequences: tuple[str, ...]) -> None:
        self._id = id
        self._model = model
        self._stop_sequences = stop_sequences
        self._index = 0
        self._open = ""
        self._thoughts: list[str] = []
        self._has_begun = False
        self._has_called = False

    def pieces(self, event: Chunk | Completed) -> list[bytes]:
        """Events for one piece of the answer, or for its end."""
        if isinstance(event, Chunk):
            return [*self._begin(event.prompt or PromptUse()), *self._content(event)]
        timings = event.timings
        events = self._begin(PromptUse(timings.n_prompt_tokens, timings.n_cached_tokens))
        events += [*self._calls(event.tool_calls), *self._close()]
        reason, text = _stop(_shown(event, self._stop_sequences), called=self._has_called)
        delta = {"stop_reason": reason, "stop_sequence": text}
        said = told(event)
        more = {} if said is msgspec.UNSET else {"olla": said}
        events.append(_event("message_delta", delta=delta, usage=_final_usage(event), **more))
        events.append(_event("message_stop"))
        return events

    @property
    def has_begun(self) -> bool:
        """Whether the first event is out."""
        return self._has_begun

    def _begin(self, prompt: PromptUse) -> list[bytes]:
        if self._has_begun:
            return []
        self._has_begun = True
        body = MessageBody(
            id=self._id,
            model=self._model,
            content=[],
            stop_reason=None,
            stop_sequence=None,
            usage=usage(prompt, 0),
        )
        return [_event("message_start", message=body), PING]

    def _content(self, chunk: Chunk) -> list[bytes]:
        events: list[bytes] = []
        if chunk.thinking:
            events += self._within("thinking", {"thinking": "", "signature": ""})
            self._thoughts.append(chunk.thinking)
            events.append(self._delta("thinking_delta", thinking=chunk.thinking))
        if chunk.content:
            events += self._within("text", {"text": ""})
            events.append(self._delta("text_delta", text=chunk.content))
        return events + self._calls(chunk.tool_calls)

    def _calls(self, calls: Iterable[ToolCall]) -> list[bytes]:
        events: list[bytes] = []
        for call in calls:
            self._has_called = True
            events += self._close()
            events += self._within("tool_use", {"id": call.id, "name": call.name, "input": {}})
            events.append(self._delta("input_json_delta", partial_json=encode(call.arguments).decode()))
        return events

    def _within(self, kind: str, block: dict[str, Any]) -> list[bytes]:
        """Events that make a block of this kind the open one."""
        if self._open == kind:
            return []
        events = self._close()
        self._open = kind
        content_block = {"type": kind, **block}
        events.append(_event("content_block_start", index=self._index, content_block=content_block))
        return events

    def _close(self) -> list[bytes]:
        if not self._open:
            return []
        events = []
        if self._open == "thinking":
            events.append(self._delta("signature_delta", signature=signature("".join(self._thoughts))))
            self._thoughts.clear()
        events.append(_event("content_block_stop", index=self._index))
        self._open = ""
        self._index += 1
        return events

    def _delta(self, kind: str, **fields: str) -> bytes:
        return _event("content_block_delta", index=self._index, delta={"type": kind, **fields})


def _event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: ".encode() + encode({"type": kind, **fields}) + b"\n\n"
