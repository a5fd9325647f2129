"""One answer as it is generated: text from the backend to chunks, and the sums at its end."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Literal

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
    PromptUse,
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
        self._n_thinking_tokens = 0
        self._n_calls = 0
        self._prompt_use: PromptUse | None = None
        self._has_told_use = False
        self._may_outthink = model.think_budget is not None
        self._cut: Literal["", "call", "budget"] = ""
        self._first_delta_ns = 0

    async def events(self) -> AsyncGenerator[GenerationEvent, None]:
        """Chunks, then one `Completed`."""
        self._tracked.prefills(self._prompt.text)
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
        async with aclosing(self._read(job, parser)) as chunks:
            async for chunk in chunks:
                yield chunk
        if self._cut == "budget":
            self._cut = ""
            before, self._text = self._text.rstrip(), self._thoughts()
            if (closed := self._chunk(parser.feed(self._text[len(before) :]), None)) is not None:
                yield closed
            async with aclosing(self._behind_thoughts(job.sampling, parser)) as chunks:
                async for chunk in chunks:
                    yield chunk
        elif not self._cut and (last := self._chunk(parser.finish(), None)) is not None:
            yield last

    async def _read(self, job: GenerationJob, parser: OutputParser) -> AsyncGenerator[Chunk, None]:
        """What the parser makes of a generation, which is left before its end where `_cut` says so."""
        begun_ns = time.perf_counter_ns()
        async with aclosing(self._deltas(job)) as deltas:
            async for delta in deltas:
                if (chunk := self._chunk(parser.feed(delta.text), delta)) is not None:
                    yield chunk
                if self._must_leave():
                    self._done.append(self._cut_short(begun_ns))
                    return

    def _must_leave(self) -> bool:
        """Whether the answer has the one call that it may have, or has thought as long as it may."""
        if self._model.one_call and self._n_calls:
            self._cut = "call"
        elif self._may_outthink and self._tracked.n_output_tokens >= (self._model.think_budget or 0):
            tags = self._model.template.thinking_tags
            if self._is_thinking():
                self._cut = "budget"
            self._may_outthink = (
                not self._cut and tags is not None and tags[0].startswith(self._text.lstrip())
            )
        return bool(self._cut)

    async def _behind_thoughts(
        self, sampling: SamplingParams, parser: OutputParser
    ) -> AsyncGenerator[Chunk, None]:
        """The answer behind `_text`, thoughts that were closed for the model."""
        job = await self._job_behind(self._text, sampling)
        try:
            async with aclosing(self._read(job, parser)) as chunks:
                async for chunk in chunks:
                    yield chunk
        except ContextExceeded:
            self._done[-1] = msgspec.structs.replace(self._done[-1], reason="length")
        if not self._cut and (last := self._chunk(parser.finish(), None)) is not None:
            yield last

    async def _job_behind(self, thoughts: str, sampling: SamplingParams) -> GenerationJob:
        """To go on behind the prompt and these thoughts."""
        if thoughts:
            (tokens,) = await self._backend.tokenize((thoughts,), add_special=False)
            self._n_thought_tokens = len(tokens)
        n_used = self._tracked.n_output_tokens
        left = sampling.n_predict if sampling.n_predict < 0 else max(1, sampling.n_predict - n_used)
        return GenerationJob(
            prompt=(*self._prompt.pieces, thoughts) if thoughts else self._prompt.pieces,
            sampling=msgspec.structs.replace(sampling, n_predict=left),
        )

    async def _free_then_constrained(self) -> AsyncGenerator[Chunk, None]:
        sampling = self._model.sampling
        free = msgspec.structs.replace(sampling, grammar="", reports_at_once=True)
        begun_ns = time.perf_counter_ns()
        reader = _FreeReader(self._parser(), may_call=not self._model.must_call)
        async with aclosing(self._deltas(GenerationJob(prompt=self._prompt.pieces, sampling=free))) as deltas:
            async for delta in deltas:
                parsed = reader.feed(delta.text)
                # What comes in one piece with the answer is generated anew, log probabilities too.
                chunk = self._chunk(parsed, None if reader.answer_begins else delta)
                if chunk is not None:
                    yield chunk
                if reader.answer_begins or self._must_leave():
                    self._done.append(self._cut_short(begun_ns))
                    break
        if self._cut == "call":
            return
        if self._cut == "budget":
            self._cut, reader.answer_begins = "", True
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
        job = await self._job_behind(thoughts, sampling)
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
        """The sums of a generation that was left before its end."""
        first_ns = self._first_delta_ns or begun_ns
        use = self._prompt_use or PromptUse()
        return GenerationDone(
            reason="stop",
            n_prompt_tokens=use.n_tokens,
            n_cached_tokens=use.n_cached_tokens,
            n_output_tokens=self._tracked.n_output_tokens,
            queue_duration_ns=0,
            prompt_duration_ns=first_ns - begun_ns,
            output_duration_ns=time.perf_counter_ns() - first_ns,
        )

    async def _constrained(
        self, job: GenerationJob, parser: OutputParser | None
    ) -> AsyncGenerator[Chunk, None]:
        """The answer behind the thoughts: calls where there is a parser for them, else content as it is."""
        begun_ns = time.perf_counter_ns()
        async with aclosing(self._deltas(job)) as deltas:
            async for delta in deltas:
                parsed = parser.feed(delta.text) if parser else Parsed(content=delta.text)
                if (chunk := self._chunk(parsed, delta)) is not None:
                    yield chunk
                if self._must_leave():
                    self._done.append(self._cut_short(begun_ns))
                    return
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
        n_before = self._tracked.n_output_tokens
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
                    # The token that ended it counts and is in no delta.
                    self._tracked.n_output_tokens = n_before + event.n_output_tokens
                    if event.reason == "cancelled":
                        raise Cancelled("the request was cancelled")
                    return
                self._first_delta_ns = self._first_delta_ns or time.perf_counter_ns()
                if self._prompt_use is None and event.prompt is not None:
                    self._prompt_use = event.prompt
                    self._tracked.n_prompt_tokens = event.prompt.n_tokens
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
        if self._model.one_call:
            calls = calls[: max(0, 1 - self._n_calls)]
        self._n_calls += len(calls)
        if delta is not None and parsed.thinking:
            self._n_thinking_tokens += delta.n_tokens
        if self._model.template.kind == "jinja" and calls:
            self._late_calls.extend(calls)
            calls = ()
        logprobs = delta.logprobs if delta is not None else ()
        of_prompt = delta.prompt_logprobs if delta is not None else None
        if not (parsed.content or parsed.thinking or calls or logprobs or of_prompt):
            return None
        is_first = not self._has_told_use
        self._has_told_use = True
        return Chunk(
            content=parsed.content,
            thinking=parsed.thinking,
            tool_calls=calls,
            logprobs=logprobs,
            prompt=self._prompt_use if is_first else None,
            prompt_logprobs=of_prompt if is_first else None,  # a second worker may have told them again
        )

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
            n_ctx=self._prompt.n_ctx,
            n_thinking_tokens=self._n_thinking_tokens,
            timings=Timings(
                total_duration_ns=time.perf_counter_ns() - self._started_ns,
                load_duration_ns=max(1, self._load_duration_ns),
                queue_duration_ns=first.queue_duration_ns,
                n_prompt_tokens=first.n_prompt_tokens,
                n_cached_tokens=first.n_cached_tokens,
                prompt_duration_ns=max(1, sum(done.prompt_duration_ns for done in self._done)),
                n_output_tokens=self._tracked.n_output_tokens,
                output_duration_ns=max(1, sum(done.output_duration_ns for done in self._done)),
                n_drafted_tokens=sum(done.n_drafted_tokens for done in self._done),
                n_accepted_tokens=sum(done.n_accepted_tokens for done in self._done),
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
