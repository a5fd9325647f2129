"""An answer put together from the events of its stream, for replies that are sent whole."""

from __future__ import annotations

from collections.abc import AsyncIterable

import msgspec

from server.errors import EngineError
from server.types.generation import Chunk, Completed, GenerationEvent, PromptLogprobs, Rendered, TokenLogprob
from server.types.messages import ToolCall


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """A whole answer; `tool_calls` holds those of the pieces, then those that came with the end.

    With `rendered` nothing was generated and the rest is empty.
    """

    completed: Completed
    content: str = ""
    thinking: str = ""
    piece_tool_calls: tuple[ToolCall, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()
    prompt_logprobs: PromptLogprobs | None = None
    rendered: Rendered | None = None

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """All calls, in the order in which they came."""
        return self.piece_tool_calls + self.completed.tool_calls


async def fold(events: AsyncIterable[GenerationEvent]) -> Answer:
    """Read a stream to its end. Raises: what the stream raises, EngineError when it ends without an end."""
    content: list[str] = []
    thinking: list[str] = []
    calls: list[ToolCall] = []
    logprobs: list[TokenLogprob] = []
    of_prompt: PromptLogprobs | None = None
    async for event in events:
        if isinstance(event, Chunk):
            content.append(event.content)
            thinking.append(event.thinking)
            calls.extend(event.tool_calls)
            logprobs.extend(event.logprobs)
            of_prompt = of_prompt or event.prompt_logprobs
        elif isinstance(event, Rendered):
            return Answer(completed=Completed(reason="stop"), rendered=event)
        else:
            return Answer(
                completed=event,
                content="".join(content),
                thinking="".join(thinking),
                piece_tool_calls=tuple(calls),
                logprobs=tuple(logprobs),
                prompt_logprobs=of_prompt,
            )
    raise EngineError("the answer ended before it was complete")
