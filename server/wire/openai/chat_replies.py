"""Replies of `/v1/chat/completions`: whole ones, and the chunks of streams."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from server.types.generation import Chunk, Completed, TokenLogprob
from server.types.messages import ToolCall
from server.wire.codec import encode
from server.wire.folding import Answer
from server.wire.olla import Told, told
from server.wire.ollama.messages import LogprobBody, logprob_bodies
from server.wire.ollama.replies import DebugInfo
from server.wire.openai.options import FINGERPRINT, Usage, usage


class FunctionBody(msgspec.Struct, frozen=True):
    """`function` of a tool call; the arguments are JSON within a text."""

    name: str
    arguments: str


class ToolCallBody(msgspec.Struct, frozen=True, kw_only=True):
    """A tool call."""

    id: str
    index: int
    type: str = "function"
    function: FunctionBody


class LogprobsBody(msgspec.Struct, frozen=True):
    """`logprobs` of a choice."""

    content: list[LogprobBody]


class MessageBody(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A whole answer."""

    role: str
    content: str
    reasoning: str = ""
    tool_calls: list[ToolCallBody] = []


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """One of the answers, whole."""

    index: int
    message: MessageBody
    finish_reason: str | None
    logprobs: LogprobsBody | msgspec.UnsetType = msgspec.UNSET


class Completion(msgspec.Struct, frozen=True, kw_only=True):
    """A whole reply."""

    id: str
    object: str = "chat.completion"
    created: int
    model: str
    system_fingerprint: str = FINGERPRINT
    choices: list[Choice]
    usage: Usage
    olla: Told | msgspec.UnsetType = msgspec.UNSET
    debug_info: DebugInfo | msgspec.UnsetType = msgspec.field(default=msgspec.UNSET, name="_debug_info")


class Delta(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A piece of an answer; content is left out only when it is None."""

    role: str = ""
    content: str | None = None
    reasoning: str = ""
    tool_calls: list[ToolCallBody] = []


class ChunkChoice(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of one of the answers."""

    index: int
    delta: Delta
    finish_reason: str | None = None
    logprobs: LogprobsBody | msgspec.UnsetType = msgspec.UNSET


class ChunkBody(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of a streamed reply."""

    id: str
    object: str = "chat.completion.chunk"
    created: int
    model: str
    system_fingerprint: str = FINGERPRINT
    choices: list[ChunkChoice]
    usage: Usage | msgspec.UnsetType = msgspec.UNSET
    olla: Told | msgspec.UnsetType = msgspec.UNSET


def completion(id: str, model: str, answers: list[Answer], created_s: int) -> Completion:
    """A whole reply, one choice for each answer."""
    first = answers[0]
    n_output = sum(answer.completed.timings.n_output_tokens for answer in answers)
    return Completion(
        id=id,
        created=created_s,
        model=model,
        choices=[_choice(index, answer) for index, answer in enumerate(answers)],
        usage=usage(first.completed.timings, n_output),
        olla=told(first.completed),
        debug_info=msgspec.UNSET
        if first.rendered is None
        else DebugInfo(first.rendered.prompt, first.rendered.n_images),
    )


def _choice(index: int, answer: Answer) -> Choice:
    if answer.rendered is not None:
        return Choice(index=index, message=MessageBody(role="", content=""), finish_reason=None)
    return Choice(
        index=index,
        message=MessageBody(
            role="assistant",
            content=answer.content,
            reasoning=answer.thinking,
            tool_calls=tool_calls(answer.tool_calls),
        ),
        finish_reason=_finish_reason(answer.completed, called=bool(answer.tool_calls)),
        logprobs=_logprobs(answer.logprobs),
    )


def tool_calls(calls: Iterable[ToolCall]) -> list[ToolCallBody]:
    """Tool calls in OpenAI's form."""
    return [
        ToolCallBody(
            id=call.id,
            index=call.index,
            function=FunctionBody(call.name, encode(call.arguments).decode()),
        )
        for call in calls
    ]


def _finish_reason(completed: Completed, *, called: bool) -> str:
    return "tool_calls" if called and completed.reason == "stop" else completed.reason


def _logprobs(logprobs: Iterable[TokenLogprob]) -> LogprobsBody | msgspec.UnsetType:
    bodies = logprob_bodies(logprobs)
    return LogprobsBody(bodies) if bodies else msgspec.UNSET


class ChunkWriter:
    """Turns the events of one answer into the events of a stream, which knows what it has already sent."""

    def __init__(self, id: str, model: str, created_s: int, *, index: int = 0) -> None:
        self._id = id
        self._model = model
        self._created_s = created_s
        self._index = index
        self._has_begun = False
        self._has_called = False

    def pieces(self, event: Chunk | Completed) -> list[bytes]:
        """Events for one piece of the answer, or for its end."""
        if isinstance(event, Chunk):
            return self._content(event)
        frames = []
        if event.tool_calls or not self._has_begun:
            frames = self._content(Chunk(tool_calls=event.tool_calls))
        reason = _finish_reason(event, called=self._has_called)
        return [*frames, self._frame(Delta(), finish_reason=reason, olla=told(event))]

    def usage_piece(self, total: Usage) -> bytes:
        """The event with the usage, which belongs to no choice."""
        return _sse(
            ChunkBody(id=self._id, created=self._created_s, model=self._model, choices=[], usage=total)
        )

    def _content(self, chunk: Chunk) -> list[bytes]:
        role = "" if self._has_begun else "assistant"
        self._has_begun = True
        self._has_called = self._has_called or bool(chunk.tool_calls)
        calls = tool_calls(chunk.tool_calls)
        if chunk.thinking and (chunk.content or calls):
            return [
                self._frame(Delta(role=role, reasoning=chunk.thinking), logprobs=chunk.logprobs),
                self._frame(Delta(content=chunk.content, tool_calls=calls)),
            ]
        delta = Delta(role=role, content=chunk.content, reasoning=chunk.thinking, tool_calls=calls)
        return [self._frame(delta, logprobs=chunk.logprobs)]

    def _frame(
        self,
        delta: Delta,
        *,
        finish_reason: str | None = None,
        logprobs: tuple[TokenLogprob, ...] = (),
        olla: Told | msgspec.UnsetType = msgspec.UNSET,
    ) -> bytes:
        choice = ChunkChoice(
            index=self._index, delta=delta, finish_reason=finish_reason, logprobs=_logprobs(logprobs)
        )
        body = ChunkBody(id=self._id, created=self._created_s, model=self._model, choices=[choice], olla=olla)
        return _sse(body)


def _sse(body: ChunkBody) -> bytes:
    return b"data: " + encode(body) + b"\n\n"
