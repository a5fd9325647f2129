"""Show an answer while it is generated: thinking apart from content, wrapped words, figures at the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import TextIO

import msgspec

from olla_tui.cli.wrap import WordWrapper
from server.types.durations import format_go_duration
from server.types.generation import Chunk, Timings
from server.types.messages import ToolCall

GREY = "\x1b[38;5;245m"
BOLD = "\x1b[1m"
PLAIN = "\x1b[0m"

N_LABEL_CHARS = 22


class AnswerPrinter:
    """Writes the pieces of one answer.

    Args:
        out: where to write.
        width: columns of the terminal, asked for each piece because people resize; 0 for no word wrap.
        colour: whether thinking is set apart by escape sequences besides its heading.
    """

    def __init__(
        self, out: TextIO, *, width: Callable[[], int], colour: bool, hide_thinking: bool = False
    ) -> None:
        self._out = out
        self._width = width
        self._colour = colour
        self._hide_thinking = hide_thinking
        self._wrapper = WordWrapper()
        self._is_thinking = False
        self._thinking: list[str] = []
        self._content: list[str] = []

    @property
    def content(self) -> str:
        """The answer so far, without thinking."""
        return "".join(self._content)

    @property
    def thinking(self) -> str:
        """The thinking so far."""
        return "".join(self._thinking)

    def shows(self, chunk: Chunk) -> bool:
        """Whether a piece has anything to show, so that a spinner must give way."""
        return bool(chunk.content or chunk.tool_calls or (chunk.thinking and not self._hide_thinking))

    def add(self, chunk: Chunk) -> None:
        """Show a piece."""
        if chunk.thinking:
            self._think(chunk.thinking)
        if chunk.content or chunk.tool_calls:
            self._end_thinking()
        self._content.append(chunk.content)
        self._write(self._wrapper.feed(chunk.content, self._width()))
        if chunk.tool_calls:
            self._write(tool_calls_text(chunk.tool_calls, colour=self._colour))

    def reset(self) -> None:
        """Leave the terminal in its own colours, wherever the answer stopped."""
        if self._colour and self._is_thinking:
            self._write(PLAIN)

    def _think(self, text: str) -> None:
        self._thinking.append(text)
        if self._hide_thinking:
            return
        if not self._is_thinking:
            self._is_thinking = True
            self._write(f"{GREY}{BOLD}Thinking...\n{PLAIN}{GREY}" if self._colour else "Thinking...\n")
        self._write(self._wrapper.feed(text, self._width()))

    def _end_thinking(self) -> None:
        if not self._is_thinking:
            return
        self._is_thinking = False
        if not self.thinking.endswith("\n"):
            self._write("\n")
        closing = "...done thinking.\n\n"
        self._write(f"{GREY}{BOLD}{closing}{PLAIN}" if self._colour else closing)
        self._wrapper = WordWrapper()

    def _write(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()


def tool_calls_text(calls: tuple[ToolCall, ...], *, colour: bool) -> str:
    """What is said of tool calls: the command line offers no tools, so that every call is a surprise."""
    quiet, strong, end = (f"{GREY}{BOLD}", PLAIN, PLAIN) if colour else ("", "", "")
    lines = []
    for call in calls:
        arguments = msgspec.json.encode(call.arguments).decode()
        lines.append(
            f"  Model called a non-existent function '{strong}{call.name}{quiet}()'"
            f" with arguments: {strong}{arguments}{quiet}"
        )
    return quiet + "\n".join(lines) + end


def summary(timings: Timings) -> str:
    """The figures of `--verbose`, each on a line and only where there is one."""
    rows: list[tuple[str, str]] = []

    def add_duration(label: str, duration_ns: int) -> None:
        if duration_ns > 0:
            rows.append((f"{label}:", format_go_duration(duration_ns / 1e9)))

    def add_tokens(label: str, n_tokens: int, duration_ns: int) -> None:
        if n_tokens > 0:
            rows.append((f"{label} count:", f"{n_tokens} token(s)"))
        add_duration(f"{label} duration", duration_ns)
        if duration_ns > 0:
            rows.append((f"{label} rate:", f"{n_tokens / duration_ns * 1e9:.2f} tokens/s"))

    add_duration("total duration", timings.total_duration_ns)
    add_duration("load duration", timings.load_duration_ns)
    add_tokens("prompt eval", timings.n_prompt_tokens, timings.prompt_duration_ns)
    add_tokens("eval", timings.n_output_tokens, timings.output_duration_ns)
    return "".join(f"{label:<{N_LABEL_CHARS}}{value}\n" for label, value in rows)
