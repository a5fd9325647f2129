"""One answer as it is generated: text from the backend to chunks, and the sums at its end."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

import msgspec

from server.backends.base import Backend, GenerationDone, GenerationJob, TextDelta
from server.errors import Cancelled, ContextExceeded
from server.prompts.output import OutputParser, Parsed, output_parser
from server.services.prompting import PreparedPrompt, thinks
from server.services.requests import OpenRequest
from server.services.resolve import ResolvedModel
from server.types.generation import (
    Chunk,
    Completed,
    DoneReason,
    GenerationEvent,
    SamplingParams,
    Timings,
)
from server.types.messages import ToolCall


class GenerationRun:
    """Drives one request through the backend.

    What an answer must be concerns the answer alone. Where thoughts or calls may come first, the text is free
    until an answer begins; the answer is then generated under the constraint from there on. The prefix cache
    makes the second prefill cheap.
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
        self._n_thought_tokens = 0
        self._first_delta_ns = 0

    async def events(self) -> AsyncGenerator[GenerationEvent, None]:
        """Chunks, then one `Completed`."""
        self._tracked.prefills()
        if self._begins_free():
            steps = self._free_then_constrained()
        else:
            steps = self._one_pass(GenerationJob(prompt=self._prompt.pieces, sampling=self._model.sampling))
        async with aclosing(steps):
            async for chunk in steps:
                yield chunk
        completed = await self._completed()
        self._tracked.end("done")
        yield completed

    def _begins_free(self) -> bool:
        """Whether something that the constraint is not about may come before the answer."""
        model = self._model
        if not (model.sampling.grammar and model.is_chat):
            return False
        may_call = bool(model.tools) and not model.must_call
        return thinks(model.think) or self._is_thinking() or may_call

    def _is_thinking(self) -> bool:
        """Whether the text ends inside of thoughts."""
        tags = self._model.template.thinking_tags
        if tags is None or tags[1] in self._text:
            return False
        return self._prompt.text.rstrip().endswith(tags[0]) or self._text.lstrip().startswith(tags[0])

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

    async def _free_then_constrained(self) -> AsyncGenerator[Chunk, None]:
        sampling = self._model.sampling
        free = msgspec.structs.replace(sampling, grammar="")
        begun_ns = time.perf_counter_ns()
        reader = _FreeReader(self._parser(), may_call=not self._model.must_call)
        async with aclosing(self._deltas(GenerationJob(prompt=self._prompt.pieces, sampling=free))) as deltas:
            async for delta in deltas:
                parsed = reader.feed(delta.text)
                # What comes in one piece with the answer is generated anew, log probabilities too.
                chunk = self._chunk(parsed, None if reader.answer_begins else delta)
                if chunk is not None:
                    yield chunk
                if reader.answer_begins:
                    self._done.append(self._cut_short(begun_ns))
                    break
        if not reader.answer_begins:
            if (chunk := self._chunk(reader.finish(), None)) is not None:
                yield chunk
            last = self._done[-1]
            if reader.has_called or last.reason == "length" or (last.stop_text and self._is_thinking()):
                return
        async with aclosing(self._answer(sampling)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def _answer(self, sampling: SamplingParams) -> AsyncGenerator[Chunk, None]:
        """The constrained answer behind the thoughts."""
        thoughts = self._text = self._thoughts()
        if thoughts:
            (tokens,) = await self._backend.tokenize((thoughts,), add_special=False)
            self._n_thought_tokens = len(tokens)
        n_used = self._tracked.n_output_tokens
        left = sampling.n_predict if sampling.n_predict < 0 else max(1, sampling.n_predict - n_used)
        job = GenerationJob(
            prompt=(*self._prompt.pieces, thoughts) if thoughts else self._prompt.pieces,
            sampling=msgspec.structs.replace(sampling, n_predict=left),
        )
        parser_of_calls = self._parser(thoughts) if self._model.must_call else None
        try:
            async with aclosing(self._constrained(job, parser_of_calls)) as chunks:
                async for chunk in chunks:
                    yield chunk
        except ContextExceeded:
            if not thoughts:
                raise
            self._done[-1] = msgspec.structs.replace(self._done[-1], reason="length")

    def _cut_short(self, begun_ns: int) -> GenerationDone:
        """The sums of the free text, left before its end; the next part tells the length of the prompt."""
        first_ns = self._first_delta_ns or begun_ns
        return GenerationDone(
            reason="stop",
            n_prompt_tokens=0,
            n_cached_tokens=0,
            n_output_tokens=self._tracked.n_output_tokens,
            queue_duration_ns=0,
            prompt_duration_ns=first_ns - begun_ns,
            output_duration_ns=time.perf_counter_ns() - first_ns,
        )

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
        """What was generated up to the answer's first character, closed; "" when the model did not think."""
        tags = self._model.template.thinking_tags
        if tags is None:
            return ""
        if self._is_thinking():
            return f"{self._text.rstrip()}\n{tags[1]}\n\n"
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
                    if not self._done[0].n_prompt_tokens:
                        n_prompt = max(0, event.n_prompt_tokens - self._n_thought_tokens)
                        self._done[0] = msgspec.structs.replace(self._done[0], n_prompt_tokens=n_prompt)
                    self._tracked.n_prompt_tokens = self._done[0].n_prompt_tokens
                    if event.reason == "cancelled":
                        raise Cancelled("the request was cancelled")
                    return
                self._first_delta_ns = self._first_delta_ns or time.perf_counter_ns()
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


class _FreeReader:
    """Reads free text up to where an answer begins. Results do not depend on the cut into pieces.

    Attributes:
        answer_begins: there is text that belongs neither to thoughts nor to calls.
        has_called: there is a call; what comes beside it is no answer.
    """

    def __init__(self, parser: OutputParser, *, may_call: bool) -> None:
        self._parser = parser
        self._may_call = may_call
        self.answer_begins = False
        self.has_called = False

    def feed(self, text: str) -> Parsed:
        """Thoughts and calls; what follows the beginning of an answer is not read."""
        thinking = ""
        calls: tuple[ToolCall, ...] = ()
        for char in text:
            parsed = self._parser.feed(char)
            thinking += parsed.thinking
            if parsed.tool_calls and self._may_call:
                self.has_called = True
                calls += parsed.tool_calls
            elif (parsed.content.strip() or parsed.tool_calls) and not self.has_called:
                self.answer_begins = True
                break
        return Parsed(thinking=thinking, tool_calls=calls)

    def finish(self) -> Parsed:
        """What the end makes certain."""
        rest = self._parser.finish()
        self.has_called = self.has_called or (bool(rest.tool_calls) and self._may_call)
        return Parsed(thinking=rest.thinking, tool_calls=rest.tool_calls if self._may_call else ())
