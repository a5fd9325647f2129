"""An answer as it is printed: thinking, content, tool calls, figures."""

from __future__ import annotations

import io

import pytest

from olla_tui.cli.answer import BOLD, GREY, PLAIN, AnswerPrinter, summary
from server.types.generation import Chunk, Timings
from server.types.messages import ToolCall


def printed(chunks: list[Chunk], *, colour: bool = False, hide_thinking: bool = False) -> str:
    out = io.StringIO()
    printer = AnswerPrinter(out, width=lambda: 0, colour=colour, hide_thinking=hide_thinking)
    for chunk in chunks:
        printer.add(chunk)
    return out.getvalue()


THOUGHT = [Chunk(thinking="Let me "), Chunk(thinking="see."), Chunk(content="It is "), Chunk(content="4.")]


def test_thinking_stands_apart() -> None:
    assert printed(THOUGHT) == "Thinking...\nLet me see.\n...done thinking.\n\nIt is 4."


def test_thinking_that_ends_its_line_gets_no_second_break() -> None:
    assert printed([Chunk(thinking="a\n"), Chunk(content="b")]) == "Thinking...\na\n...done thinking.\n\nb"


def test_thinking_is_grey_where_there_is_colour() -> None:
    assert printed(THOUGHT, colour=True) == (
        f"{GREY}{BOLD}Thinking...\n{PLAIN}{GREY}Let me see.\n{GREY}{BOLD}...done thinking.\n\n{PLAIN}It is 4."
    )


def test_thinking_can_be_hidden() -> None:
    assert printed(THOUGHT, hide_thinking=True) == "It is 4."
    printer = AnswerPrinter(io.StringIO(), width=lambda: 0, colour=False, hide_thinking=True)
    assert not printer.shows(THOUGHT[0])
    assert printer.shows(THOUGHT[2])


def test_text_is_kept_for_the_conversation() -> None:
    printer = AnswerPrinter(io.StringIO(), width=lambda: 0, colour=False)
    for chunk in THOUGHT:
        printer.add(chunk)
    assert (printer.content, printer.thinking) == ("It is 4.", "Let me see.")


def test_tool_calls_are_said_to_lead_nowhere() -> None:
    calls = (ToolCall("f", {"x": 1, "a": "é"}),)
    assert printed([Chunk(thinking="t"), Chunk(tool_calls=calls)]) == (
        "Thinking...\nt\n...done thinking.\n\n"
        '  Model called a non-existent function \'f()\' with arguments: {"x":1,"a":"é"}'
    )


def test_colours_end_where_an_answer_is_stopped() -> None:
    out = io.StringIO()
    printer = AnswerPrinter(out, width=lambda: 0, colour=True)
    printer.add(THOUGHT[0])
    printer.reset()
    assert out.getvalue().endswith(PLAIN)


@pytest.mark.parametrize(
    ("duration_ns", "text"),
    [
        (2_861_047_625, "2.861047625s"),
        (62_500_000_000, "1m2.5s"),
        (45_123_000, "45.123ms"),
        (12_300, "12.3µs"),
    ],
)
def test_durations_are_gos(duration_ns: int, text: str) -> None:
    assert summary(Timings(total_duration_ns=duration_ns)) == f"total duration:       {text}\n"


def test_all_figures() -> None:
    timings = Timings(
        total_duration_ns=3_000_000_000,
        load_duration_ns=1_000_000,
        n_prompt_tokens=9,
        prompt_duration_ns=500_000_000,
        n_output_tokens=20,
        output_duration_ns=2_000_000_000,
    )
    assert summary(timings) == (
        "total duration:       3s\n"
        "load duration:        1ms\n"
        "prompt eval count:    9 token(s)\n"
        "prompt eval duration: 500ms\n"
        "prompt eval rate:     18.00 tokens/s\n"
        "eval count:           20 token(s)\n"
        "eval duration:        2s\n"
        "eval rate:            10.00 tokens/s\n"
    )
    assert summary(Timings()) == ""
