"""What an answer must be concerns the answer alone: thoughts and calls in front of it are free."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from types import SimpleNamespace
from typing import cast

import pytest

from server.backends.base import Backend, GenerationDone, GenerationJob, TextDelta
from server.errors import ContextExceeded
from server.prompts.template import PromptTemplate, go_template
from server.services.generation_run import GenerationRun
from server.services.prompting import PreparedPrompt
from server.services.requests import RequestLog
from server.services.resolve import ResolvedModel
from server.types.generation import Chunk, Completed, Origin, PromptUse, SamplingParams, Think
from server.types.messages import Tool

TOOL = Tool(name="look", parameters={"type": "object", "properties": {"at": {"type": "string"}}})
CALL = '{"name": "look", "arguments": {"at": "x"}}'
ANSWER = '{"a": 1}'
N_PROMPT = 9

THINKS = "{{ if .Thinking }}<think>{{ .Thinking }}</think>{{ end }}"
HERMES = (
    "{{ .Tools }}{{ range .Messages }}"
    + THINKS
    + "{{ .Content }}{{ range .ToolCalls }}<tool_call>{{ .Function }}</tool_call>{{ end }}{{ end }}"
)
BARE = (
    "{{ .Tools }}{{ range .Messages }}"
    + THINKS
    + '{{ .Content }}{{ range .ToolCalls }}{"name": "{{ .Function.Name }}", '
    '"arguments": {{ .Function.Arguments }}}{{ end }}{{ end }}'
)
SILENT = "{{ range .Messages }}{{ .Content }}{{ end }}"


class ScriptedBackend:
    """Writes one text where it is free and another where it is constrained, in pieces of a given size."""

    def __init__(self, free: str, *, cut: int, reason: str = "stop", n_ctx: int = 10_000) -> None:
        self._free, self._cut, self._reason, self._n_ctx = free, cut, reason, n_ctx
        self.jobs: list[GenerationJob] = []

    async def generate(self, job: GenerationJob) -> AsyncGenerator[TextDelta | GenerationDone, None]:
        self.jobs.append(job)
        n_prompt = N_PROMPT + sum(len(piece) for piece in job.prompt[1:])
        if n_prompt > self._n_ctx:
            raise ContextExceeded("too long", n_prompt_tokens=n_prompt, n_ctx=self._n_ctx)
        text = ANSWER if job.sampling.grammar else self._free
        for at in range(0, len(text), self._cut):
            piece = text[at : at + self._cut]
            use = None if at else PromptUse(n_prompt)
            yield TextDelta(text=piece, n_tokens=len(piece), prompt=use)
        yield GenerationDone(
            reason="stop" if job.sampling.grammar else self._reason,
            n_prompt_tokens=n_prompt,
            n_cached_tokens=0,
            n_output_tokens=len(text),
            queue_duration_ns=0,
            prompt_duration_ns=1,
            output_duration_ns=1,
        )

    async def tokenize(
        self, texts: tuple[str, ...], *, add_special: bool = True
    ) -> tuple[tuple[int, ...], ...]:
        return tuple(tuple(text.encode()) for text in texts)


async def run(
    backend: ScriptedBackend,
    template: str,
    *,
    think: Think,
    tools: bool = False,
    prompt: str = "Question",
    is_chat: bool = True,
    grammar: str = 'root ::= "x"',
    one_call: bool = False,
    think_budget: int | None = None,
) -> tuple[Chunk, Completed]:
    """All that came, joined, and the end."""
    parsed: PromptTemplate = go_template(template)
    model = cast(
        "ResolvedModel",
        SimpleNamespace(
            template=parsed,
            sampling=SamplingParams(grammar=grammar, n_predict=500),
            think=think,
            tools=(TOOL,) if tools else (),
            parser_name="",
            is_chat=is_chat,
            must_call=False,
            one_call=one_call,
            think_budget=think_budget,
            wants_context=False,
        ),
    )
    chunks: list[Chunk] = []
    async with RequestLog().track("m", Origin()) as tracked:
        made = GenerationRun(
            backend=cast("Backend", backend),
            tracked=tracked,
            model=model,
            prompt=PreparedPrompt(text=prompt, pieces=(prompt,)),
            new_call_id=lambda: "id",
            load_duration_ns=0,
            started_ns=0,
        )
        async with aclosing(made.events()) as events:
            async for event in events:
                if isinstance(event, Completed):
                    joined = Chunk(
                        content="".join(chunk.content for chunk in chunks),
                        thinking="".join(chunk.thinking for chunk in chunks),
                        tool_calls=tuple(call for chunk in chunks for call in chunk.tool_calls),
                    )
                    return joined, event
                assert isinstance(event, Chunk)
                chunks.append(event)
    raise AssertionError("the run did not end")


THOUGHT = "<think>hm</think>\n\n"
SCRIPTS: dict[str, tuple[str, bool]] = {
    "answers": ("Sure: it is 3.", False),
    "thinks, answers": (THOUGHT + "It is 3.", False),
    "thinks, writes JSON of its own": (THOUGHT + '{"b": 2}', False),
    "thinks, stops": (THOUGHT, False),
    "stops in thoughts": ("<think>hm", False),
    "calls": ("\n<tool_call>" + CALL + "</tool_call>", True),
    "thinks, calls": (THOUGHT + "<tool_call>" + CALL + "</tool_call>\nDone.", True),
    "answers, calls": ("Wait. <tool_call>" + CALL + "</tool_call>", False),
    "says nothing": ("", False),
}


@pytest.mark.parametrize("cut", [1, 3, 1000])
@pytest.mark.parametrize("tools", [False, True])
@pytest.mark.parametrize("think", [None, False, True, "low", "high"])
@pytest.mark.parametrize("script", SCRIPTS)
async def test_content_is_of_the_format_and_thoughts_and_calls_are_free(
    script: str, think: Think, tools: bool, cut: int
) -> None:
    free, calls = SCRIPTS[script]
    backend = ScriptedBackend(free, cut=cut)
    got, end = await run(backend, HERMES, think=think, tools=tools)
    if tools and calls:
        (call,) = got.tool_calls
        assert (call.name, call.arguments) == ("look", {"at": "x"})
        assert got.content == ""
    else:
        assert json.loads(got.content) == json.loads(ANSWER)
        assert got.tool_calls == ()
    began_free = bool(think) or tools
    thinks = "hm" in free and bool(think)
    assert got.thinking == ("hm" if thinks else "")
    assert backend.jobs[0].sampling.grammar == ("" if began_free else backend.jobs[-1].sampling.grammar)
    if began_free and "hm" in free and not (tools and calls):
        (thoughts,) = backend.jobs[-1].prompt[1:]
        assert isinstance(thoughts, str)
        assert thoughts.endswith("</think>\n\n")
    assert (end.reason, end.timings.n_prompt_tokens) == ("stop", N_PROMPT)


@pytest.mark.parametrize("cut", [1, 1000])
@pytest.mark.parametrize("think", [False, True])
async def test_a_prompt_that_opens_the_thoughts_is_answered_behind_them(think: bool, cut: int) -> None:
    """Some templates open the thoughts whether they are asked for or not."""
    backend = ScriptedBackend("hm</think>\n\nIt is 3.", cut=cut)
    got, _ = await run(backend, HERMES, think=think, prompt="Question<think>\n")
    assert got.content == ANSWER
    assert got.thinking == ("hm" if think else "")
    assert backend.jobs[-1].prompt == ("Question<think>\n", "hm</think>\n\n")


@pytest.mark.parametrize("cut", [1, 4, 1000])
@pytest.mark.parametrize("free", [CALL, THOUGHT + CALL, "It is 3.", '{"b": 2}', THOUGHT + '{"b": 2}'])
async def test_calls_that_look_like_json_are_told_from_answers(free: str, cut: int) -> None:
    got, _ = await run(ScriptedBackend(free, cut=cut), BARE, think=True, tools=True)
    if CALL in free:
        assert [call.name for call in got.tool_calls] == ["look"]
        assert got.content == ""
    else:
        assert got.content == ANSWER
        assert got.tool_calls == ()


async def test_a_template_without_thoughts_constrains_from_the_start() -> None:
    backend = ScriptedBackend("It is 3.", cut=2)
    got, _ = await run(backend, SILENT, think=None)
    assert got.content == ANSWER
    assert len(backend.jobs) == 1


async def test_raw_text_is_constrained_from_the_start() -> None:
    backend = ScriptedBackend(THOUGHT + "It is 3.", cut=2)
    got, _ = await run(backend, HERMES, think=True, is_chat=False)
    assert got.content == ANSWER
    assert len(backend.jobs) == 1


@pytest.mark.parametrize("tools", [False, True])
async def test_what_was_cut_off_for_its_length_is_not_passed_off_as_an_answer(tools: bool) -> None:
    for free in ("<think>hm", "<think>hm</think>"):
        got, end = await run(ScriptedBackend(free, cut=2, reason="length"), HERMES, think=True, tools=tools)
        assert (got.content, got.thinking, end.reason) == ("", "hm", "length")


async def test_thoughts_that_leave_no_room_for_an_answer_end_it_for_its_length() -> None:
    free = "<think>" + "hm " * 50 + "</think>It is 3."
    got, end = await run(ScriptedBackend(free, cut=5, n_ctx=60), HERMES, think=True)
    assert (got.content, end.reason) == ("", "length")
    assert got.thinking.startswith("hm hm")


TWO_CALLS = f"<tool_call>{CALL}</tool_call>\n<tool_call>{CALL}</tool_call>"


@pytest.mark.parametrize("cut", [1, 7, 1000])
@pytest.mark.parametrize("grammar", ["", 'root ::= "x"'])
@pytest.mark.parametrize("before", ["", THOUGHT])
async def test_an_answer_that_may_call_once_ends_with_its_first_call(
    before: str, grammar: str, cut: int
) -> None:
    free = before + TWO_CALLS
    both, _ = await run(ScriptedBackend(free, cut=cut), HERMES, think=True, tools=True, grammar=grammar)
    assert len(both.tool_calls) == 2
    got, end = await run(
        ScriptedBackend(free, cut=cut), HERMES, think=True, tools=True, grammar=grammar, one_call=True
    )
    assert got.tool_calls == both.tool_calls[:1]
    assert (got.content, got.thinking) == ("", both.thinking)
    assert end.reason == "stop"
    assert end.timings.n_prompt_tokens == N_PROMPT
    assert end.timings.n_output_tokens <= len(free)


class Thinker(ScriptedBackend):
    """Thinks without end, and answers once its thoughts are closed."""

    async def generate(self, job: GenerationJob) -> AsyncGenerator[TextDelta | GenerationDone, None]:
        begun = str(job.prompt[-1]).endswith("</think>\n\n")
        self._free = "It is 3." if begun else "<think>" + "hm " * 100
        async with aclosing(super().generate(job)) as events:
            async for event in events:
                yield event


@pytest.mark.parametrize("budget", [0, 10, 50])
@pytest.mark.parametrize("grammar", ["", 'root ::= "x"'])
async def test_thoughts_beyond_their_budget_are_closed_and_answered(grammar: str, budget: int) -> None:
    backend = Thinker("", cut=1)
    got, end = await run(backend, HERMES, think=True, grammar=grammar, think_budget=budget)
    assert got.content == (ANSWER if grammar else "It is 3.")
    assert len(got.thinking) <= max(budget, 1)
    assert (end.reason, end.timings.n_prompt_tokens) == ("stop", N_PROMPT)
    assert len(backend.jobs) == 2
    assert str(backend.jobs[1].prompt[1]).endswith("</think>\n\n")


async def test_thoughts_within_their_budget_are_left_alone() -> None:
    backend = ScriptedBackend(THOUGHT + "It is 3.", cut=3)
    got, _ = await run(backend, HERMES, think=True, grammar="", think_budget=100)
    assert (got.thinking, got.content, len(backend.jobs)) == ("hm", "It is 3.", 1)
