"""One answer as it is generated: text from the backend to chunks, and the sums at its end."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

import msgspec

from server.backends.base import Backend, GenerationDone, GenerationJob, TextDelta
from server.errors import Cancelled
from server.prompts.output import OutputParser, Parsed, output_parser
from server.services.prompting import PreparedPrompt, thinks
from server.services.requests import OpenRequest
from server.services.resolve import ResolvedModel
from server.types.generation import Chunk, Completed, DoneReason, GenerationEvent, Timings
from server.types.messages import ToolCall


class GenerationRun:
    """Drives one request through the backend.

    A format on a model that thinks takes two passes: free until the thinking has ended, then constrained from
    there on, so that the format never forbids the thoughts. The prefix cache makes the second prefill cheap.
    """

    def __init__(
        self,
        *,
        backend: Backend,
        tracked: OpenRequest,
        model: ResolvedModel,
        prompt: PreparedPrompt,
        new_call_id: Callable[[], str],
        load_duration_ns: int,
        started_ns: int,
    ) -> None:
        self._backend = backend
        self._tracked = tracked
        self._model = model
        self._prompt = prompt
        self._new_call_id = new_call_id
        self._load_duration_ns = load_duration_ns
        self._started_ns = started_ns
        self._text = ""
        self._done: list[GenerationDone] = []
        self._late_calls: list[ToolCall] = []

    async def events(self) -> AsyncGenerator[GenerationEvent, None]:
        """Chunks, then one `Completed`."""
        self._tracked.prefills()
        two_passes = bool(self._model.sampling.grammar) and thinks(self._model.think) and self._model.is_chat
        if two_passes:
            steps = self._think_then_answer()
        else:
            steps = self._one_pass(GenerationJob(prompt=self._prompt.pieces, sampling=self._model.sampling))
        async with aclosing(steps):
            async for chunk in steps:
                yield chunk
        completed = await self._completed()
        self._tracked.end("done")
        yield completed

    async def _one_pass(self, job: GenerationJob) -> AsyncGenerator[Chunk, None]:
        parser = self._parser()
        async with aclosing(self._deltas(job)) as deltas:
            async for delta in deltas:
                chunk = self._chunk(parser.feed(delta.text), delta)
                if chunk is not None:
                    yield chunk
        chunk = self._chunk(parser.finish(), None)
        if chunk is not None:
            yield chunk

    async def _think_then_answer(self) -> AsyncGenerator[Chunk, None]:
        sampling = self._model.sampling
        free = msgspec.structs.replace(sampling, grammar="")
        parser = self._parser()
        answered = False
        async with aclosing(self._deltas(GenerationJob(prompt=self._prompt.pieces, sampling=free))) as deltas:
            async for delta in deltas:
                parsed = parser.feed(delta.text)
                if parsed.content or parsed.tool_calls:
                    answered = True
                    # The last thoughts can come in one piece with the answer, which is generated anew.
                    if (chunk := self._chunk(Parsed(thinking=parsed.thinking), None)) is not None:
                        yield chunk
                    break
                chunk = self._chunk(parsed, delta)
                if chunk is not None:
                    yield chunk
        if not answered:
            rest = parser.finish()
            is_over = self._done[-1].reason == "length" or bool(self._done[-1].stop_text)
            chunk = self._chunk(rest if is_over else Parsed(thinking=rest.thinking), None)
            if chunk is not None:
                yield chunk
            if is_over:
                return
        thoughts = self._thoughts()
        n_used = self._tracked.n_output_tokens
        left = sampling.n_predict if sampling.n_predict < 0 else max(1, sampling.n_predict - n_used)
        self._text = thoughts
        job = GenerationJob(
            prompt=(*self._prompt.pieces, thoughts) if thoughts else self._prompt.pieces,
            sampling=msgspec.structs.replace(sampling, n_predict=left),
        )
        parser_of_calls = self._parser(thoughts) if self._model.must_call else None
        async with aclosing(self._constrained(job, parser_of_calls)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def _constrained(
        self, job: GenerationJob, parser: OutputParser | None
    ) -> AsyncGenerator[Chunk, None]:
        """The answer behind the thoughts: calls where there is a parser for them, else content as it is."""
        async with aclosing(self._deltas(job)) as deltas:
            async for delta in deltas:
                parsed = parser.feed(delta.text) if parser else Parsed(content=delta.text)
                if (chunk := self._chunk(parsed, delta)) is not None:
                    yield chunk
        if parser and (chunk := self._chunk(parser.finish(), None)) is not None:
            yield chunk

    def _thoughts(self) -> str:
        """What was generated up to the answer's first character; "" when the model did not think."""
        tags = self._model.template.thinking_tags
        if tags is None:
            return ""
        end = self._text.find(tags[1])
        if end < 0:
            return ""
        n_answer = len(self._text[end + len(tags[1]) :].lstrip())
        return self._text[: len(self._text) - n_answer]

    async def _deltas(self, job: GenerationJob) -> AsyncGenerator[TextDelta, None]:
        async with aclosing(self._backend.generate(job)) as stream:
            while True:
                async with self._tracked.cancellable():
                    event = await anext(stream, None)
                if event is None:
                    return
                if isinstance(event, GenerationDone):
                    self._done.append(event)
                    self._tracked.n_prompt_tokens = self._done[0].n_prompt_tokens
                    if event.reason == "cancelled":
                        raise Cancelled("the request was cancelled")
                    return
                self._tracked.decoded(event.n_tokens)
                self._text += event.text
                yield event

    def _parser(self, thoughts: str = "") -> OutputParser:
        """The parser of what comes behind the prompt and these thoughts."""
        return output_parser(
            self._model.template,
            prompt=self._prompt.text + thoughts,
            think_on=thinks(self._model.think),
            has_tools=bool(self._model.tools),
            parser_name=self._model.parser_name,
            new_call_id=self._new_call_id,
            tools=self._model.tools,
        )

    def _chunk(self, parsed: Parsed, delta: TextDelta | None) -> Chunk | None:
        """The chunk for what became certain; None when there is nothing to say.

        Models that render by their own Jinja template report calls with the end, as Ollama does.
        """
        calls = parsed.tool_calls
        if self._model.template.kind == "jinja" and calls:
            self._late_calls.extend(calls)
            calls = ()
        logprobs = delta.logprobs if delta is not None else ()
        if not (parsed.content or parsed.thinking or calls or logprobs):
            return None
        return Chunk(content=parsed.content, thinking=parsed.thinking, tool_calls=calls, logprobs=logprobs)

    async def _completed(self) -> Completed:
        last = self._done[-1]
        reason: DoneReason = "length" if last.reason == "length" else "stop"
        context: tuple[int, ...] = ()
        if self._model.wants_context:
            (context,) = await self._backend.tokenize((self._prompt.text + self._text,), add_special=False)
        first = self._done[0]
        return Completed(
            reason=reason,
            tool_calls=tuple(self._late_calls),
            context=context,
            stop_text=last.stop_text,
            n_dropped_messages=self._prompt.n_dropped_messages,
            n_dropped_tokens=self._prompt.n_dropped_tokens,
            timings=Timings(
                total_duration_ns=time.perf_counter_ns() - self._started_ns,
                load_duration_ns=max(1, self._load_duration_ns),
                queue_duration_ns=first.queue_duration_ns,
                n_prompt_tokens=first.n_prompt_tokens,
                n_cached_tokens=first.n_cached_tokens,
                prompt_duration_ns=max(1, sum(done.prompt_duration_ns for done in self._done)),
                n_output_tokens=self._tracked.n_output_tokens
                if len(self._done) > 1
                else last.n_output_tokens,
                output_duration_ns=max(1, sum(done.output_duration_ns for done in self._done)),
            ),
        )
