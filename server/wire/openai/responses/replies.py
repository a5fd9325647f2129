"""Replies of `/v1/responses`: whole ones, and the events of streams."""

from __future__ import annotations

import msgspec

from server.errors import OllaError
from server.types.generation import Chunk, Completed, TokenLogprob
from server.types.messages import JsonObject, ToolCall
from server.wire.codec import encode
from server.wire.folding import Answer
from server.wire.olla import told
from server.wire.ollama.messages import logprob_bodies
from server.wire.openai.responses.items import Item, new_id


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """What a response knows of itself before it is generated; `echo` repeats the request."""

    id: str
    model: str
    created_s: int
    previous_id: str
    echo: JsonObject


def response_body(
    head: Head,
    status: str,
    output: list[Item],
    *,
    completed: Completed | None = None,
    completed_s: int | None = None,
    error: JsonObject | None = None,
) -> JsonObject:
    """A response object, its keys in Ollama's order."""
    echo = head.echo
    said = msgspec.UNSET if completed is None else told(completed)
    return {
        "id": head.id,
        "object": "response",
        "created_at": head.created_s,
        "completed_at": completed_s,
        "status": status,
        "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
        "model": head.model,
        "previous_response_id": head.previous_id or None,
        "instructions": echo["instructions"],
        "output": output,
        "error": error,
        **{
            key: echo[key]
            for key in ("tools", "tool_choice", "truncation", "parallel_tool_calls", "text", "top_p")
        },
        **{
            key: echo[key] for key in ("presence_penalty", "frequency_penalty", "top_logprobs", "temperature")
        },
        "reasoning": echo["reasoning"],
        "usage": None if completed is None else _usage(completed),
        **{
            key: echo[key]
            for key in ("max_output_tokens", "max_tool_calls", "store", "background", "service_tier")
        },
        **{key: echo[key] for key in ("metadata", "safety_identifier", "prompt_cache_key")},
        **({} if said is msgspec.UNSET else {"olla": msgspec.to_builtins(said)}),
    }


def _usage(completed: Completed) -> JsonObject:
    timings = completed.timings
    return {
        "input_tokens": timings.n_prompt_tokens,
        "output_tokens": timings.n_output_tokens,
        "total_tokens": timings.n_prompt_tokens + timings.n_output_tokens,
        "input_tokens_details": {"cached_tokens": timings.n_cached_tokens},
        "output_tokens_details": {"reasoning_tokens": completed.n_thinking_tokens},
    }


def status_of(completed: Completed) -> str:
    """How a response ended."""
    return "incomplete" if completed.reason == "length" else "completed"


def error_of(error: OllaError, status: int) -> JsonObject:
    """`error` of a response that failed."""
    return {"code": "invalid_prompt" if 400 <= status < 500 else "server_error", "message": error.message}


def output_items(answer: Answer) -> list[Item]:
    """The items of a whole answer: reasoning, text, calls."""
    status = status_of(answer.completed)
    items: list[Item] = []
    if answer.thinking:
        items.append(_reasoning(new_id("reasoning"), answer.thinking))
    if answer.content or not answer.tool_calls:
        parts = [text_part(answer.content, answer.logprobs)]
        items.append(_text_item(new_id("message"), status, parts))
    return items + [_call_item(new_id("function_call"), call, "completed") for call in answer.tool_calls]


def text_part(text: str, logprobs: tuple[TokenLogprob, ...] = ()) -> JsonObject:
    """A part of a message."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprob_items(logprobs)}


def logprob_items(logprobs: tuple[TokenLogprob, ...]) -> list[JsonObject]:
    """Log probabilities; the lists of alternatives are there even when empty."""
    return [{"top_logprobs": [], **msgspec.to_builtins(body)} for body in logprob_bodies(logprobs)]


def _text_item(id: str, status: str, parts: list[JsonObject]) -> Item:
    return {"id": id, "type": "message", "status": status, "role": "assistant", "content": parts}


def _reasoning(id: str, text: str) -> Item:
    summary = [{"type": "summary_text", "text": text}]
    return {"id": id, "type": "reasoning", "summary": summary, "encrypted_content": text}


def _call_item(id: str, call: ToolCall, status: str, arguments: str | None = None) -> Item:
    return {
        "id": id,
        "type": "function_call",
        "status": status,
        "call_id": call.id,
        "name": call.name,
        "arguments": encode(call.arguments).decode() if arguments is None else arguments,
    }


class ResponseWriter:
    """Turns the events of an answer into those of a stream; one item is open at a time, each closed once.

    Attributes:
        output: the items so far that are closed.
    """

    def __init__(self, head: Head) -> None:
        self.output: list[Item] = []
        self._head = head
        self._sequence = 0
        self._open = ""
        self._item_id = ""
        self._texts: list[str] = []
        self._logprobs: list[TokenLogprob] = []
        self._has_begun = False

    def begin(self) -> list[bytes]:
        """The first events; none when they are out already."""
        if self._has_begun:
            return []
        self._has_begun = True
        body = response_body(self._head, "in_progress", [])
        return [self._event(f"response.{name}", response=body) for name in ("created", "in_progress")]

    def chunk(self, chunk: Chunk) -> list[bytes]:
        """Events for a piece of the answer."""
        events = self.begin()
        if chunk.thinking:
            events += self._reason(chunk.thinking)
        if chunk.content or (chunk.logprobs and not (chunk.thinking or chunk.tool_calls)):
            events += self._text(chunk.content, chunk.logprobs)
        for call in chunk.tool_calls:
            events += self._call(call)
        return events

    def end(self, completed: Completed, completed_s: int) -> tuple[list[bytes], JsonObject]:
        """Events for the end of the answer, and the response as it is then."""
        status = status_of(completed)
        events = [*self.begin(), *(event for call in completed.tool_calls for event in self._call(call))]
        if not (self._open or any(item["type"] != "reasoning" for item in self.output)):
            events += self._text("", ())
        events += self._close(status)
        body = response_body(self._head, status, self.output, completed=completed, completed_s=completed_s)
        events.append(self._event(f"response.{status}", response=body))
        return events, body

    def fail(self, error: JsonObject) -> tuple[list[bytes], JsonObject]:
        """Events for an error in mid-stream, and the response as it is then."""
        events = self._close("incomplete")
        body = response_body(self._head, "failed", self.output, error=error)
        return [*events, self._event("response.failed", response=body)], body

    @property
    def _place(self) -> JsonObject:
        return {"output_index": len(self.output), "item_id": self._item_id}

    def _begin_item(self, kind: str, item: Item) -> list[bytes]:
        self._open, self._item_id = kind, item["id"]
        return [self._event("response.output_item.added", output_index=len(self.output), item=item)]

    def _reason(self, text: str) -> list[bytes]:
        events: list[bytes] = []
        if self._open != "reasoning":
            events += self._close("completed")
            item = {"id": new_id("reasoning"), "type": "reasoning", "summary": []}
            events += self._begin_item("reasoning", item)
            part = {"type": "summary_text", "text": ""}
            events.append(
                self._event(
                    "response.reasoning_summary_part.added", **self._place, summary_index=0, part=part
                )
            )
        self._texts.append(text)
        events.append(
            self._event("response.reasoning_summary_text.delta", **self._place, summary_index=0, delta=text)
        )
        return events

    def _text(self, text: str, logprobs: tuple[TokenLogprob, ...]) -> list[bytes]:
        events: list[bytes] = []
        if self._open != "message":
            events += self._close("completed")
            events += self._begin_item("message", _text_item(new_id("message"), "in_progress", []))
            events.append(
                self._event("response.content_part.added", **self._place, content_index=0, part=text_part(""))
            )
        if not (text or logprobs):
            return events
        self._texts.append(text)
        self._logprobs.extend(logprobs)
        events.append(
            self._event(
                "response.output_text.delta",
                **self._place,
                content_index=0,
                delta=text,
                logprobs=logprob_items(logprobs),
            )
        )
        return events

    def _call(self, call: ToolCall) -> list[bytes]:
        events = self._close("completed")
        id_ = new_id("function_call")
        events += self._begin_item("function_call", _call_item(id_, call, "in_progress", ""))
        item = _call_item(id_, call, "completed")
        arguments = item["arguments"]
        events.append(self._event("response.function_call_arguments.delta", **self._place, delta=arguments))
        events.append(
            self._event(
                "response.function_call_arguments.done", **self._place, name=call.name, arguments=arguments
            )
        )
        return [*events, self._done(item)]

    def _close(self, status: str) -> list[bytes]:
        """Events that end the open item."""
        kind, text = self._open, "".join(self._texts)
        if not kind:
            return []
        place = self._place
        self._texts.clear()
        if kind == "reasoning":
            part: JsonObject = {"type": "summary_text", "text": text}
            return [
                self._event("response.reasoning_summary_text.done", **place, summary_index=0, text=text),
                self._event("response.reasoning_summary_part.done", **place, summary_index=0, part=part),
                self._done(_reasoning(self._item_id, text)),
            ]
        part = text_part(text, tuple(self._logprobs))
        self._logprobs.clear()
        return [
            self._event(
                "response.output_text.done",
                **place,
                content_index=0,
                text=text,
                logprobs=part["logprobs"],
            ),
            self._event("response.content_part.done", **place, content_index=0, part=part),
            self._done(_text_item(self._item_id, status, [part])),
        ]

    def _done(self, item: Item) -> bytes:
        event = self._event("response.output_item.done", output_index=len(self.output), item=item)
        self.output.append(item)
        self._open = ""
        return event

    def _event(self, kind: str, **fields: object) -> bytes:
        body = {"type": kind, "sequence_number": self._sequence, **fields}
        self._sequence += 1
        return f"event: {kind}\ndata: ".encode() + encode(body) + b"\n\n"
