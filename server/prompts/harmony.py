"""The form of gpt-oss: an answer is messages, each with a channel.

<|channel|>analysis<|message|>...<|end|>
<|start|>assistant<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>{...}<|call|>
<|start|>assistant<|channel|>final<|message|>...<|return|>

`analysis` is reasoning, a message to a function is a call, everything else is content. The tokens that end an
answer are not part of its text.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from server.prompts.call_values import json_object
from server.prompts.parsed import Parsed
from server.prompts.partial import overlap
from server.types.messages import ToolCall

START, CHANNEL, MESSAGE = "<|start|>", "<|channel|>", "<|message|>"
ENDS = ("<|end|>", "<|return|>", "<|call|>")
MARKS = (START, CHANNEL, MESSAGE, *ENDS, "<|constrain|>")
"""Control tokens that this parser needs to see."""

_RECIPIENT = re.compile(r"\bto=(?:functions\.)?([^\s<]+)")
_CHANNEL_NAME = re.compile(r"<\|channel\|>\s*(\w+)")
_LEAD = re.compile(r"\s*(?:t|to|to=[^\s<]*\s*)?")
"""What may stand between the end of the prompt and the first mark."""
_FINAL = f"{CHANNEL}final"
_HEAD_MARKS = (START, CHANNEL)
_MAX_HEAD_CHARS = 500
"""A head is a role, a recipient and a channel. What is longer is none, and content."""


def is_harmony(source: str, parser_name: str = "") -> bool:
    """Whether a model writes this form, by the built-in parser that it names, else by its template."""
    if parser_name:
        return parser_name == "harmony"
    return all(mark in source for mark in (START, CHANNEL, MESSAGE))


class HarmonyParser:
    """See `server.prompts.parsed.OutputParser`. Texts outside of messages are content.

    Args:
        prompt: as rendered; the answer goes on in the head or the message that it ends within.
        think_on: reasoning is reported.
        has_tools: a message to a function is a call; without tools it is content.
    """

    def __init__(
        self, *, prompt: str, think_on: bool, has_tools: bool, new_call_id: Callable[[], str]
    ) -> None:
        self._think_on = think_on
        self._has_tools = has_tools
        self._new_call_id = new_call_id
        self._n_calls = 0
        self._held = ""
        self._head = ""
        self._in_head = True
        self._body: list[str] = []
        tail = prompt[prompt.rfind(START) :] if START in prompt else ""
        self._before = ""
        if tail and not any(end in tail for end in ENDS):
            head, found, _ = tail.partition(MESSAGE)
            self._before = head
            if found:
                self._in_head, self._head = False, head

    def feed(self, text: str) -> Parsed:
        """Content, reasoning and calls that have become certain."""
        self._held += text
        out = _Out()
        while self._advance(out):
            pass
        return out.joined()

    def finish(self) -> Parsed:
        """What was held back."""
        out = _Out()
        if self._in_head:
            # A head that never came to its message: only its text is left to tell.
            out.content.append(self._held)
        else:
            self._say(self._held, out)
            self._end(out)
        self._held = ""
        return out.joined()

    def _advance(self, out: _Out) -> bool:
        return self._read_head(out) if self._in_head else self._read_body(out)

    def _read_head(self, out: _Out) -> bool:
        """A head begins with a mark, or goes on where the prompt left off; all other text is content."""
        held = self._held
        at = held.find(MESSAGE)
        n_whole = at if at >= 0 else len(held) - max(overlap(held, mark) for mark in (*_HEAD_MARKS, MESSAGE))
        area = held[:n_whole]
        mark = self._first_mark(area)
        lead = area if mark < 0 else area[:mark]
        begins = mark
        if self._before and _LEAD.fullmatch(lead):
            begins = 0
        if begins == 0 and max(at, len(area)) > _MAX_HEAD_CHARS:
            begins = self._first_mark(area[1:]) + 1 or n_whole
        if begins != 0:
            # What stands in front of the head; all of it where there is none.
            n_content = begins if begins > 0 else n_whole
            out.content.append(held[:n_content])
            self._held = held[n_content:]
            self._before = "" if n_content else self._before
            if at < 0 or n_content < at:
                return n_content > 0 and begins > 0
            area = ""
        if at < 0:
            return False
        self._head = self._before + area if begins == 0 else _FINAL
        self._before, self._in_head = "", False
        self._held = held[at + len(MESSAGE) :]
        return True

    @staticmethod
    def _first_mark(text: str) -> int:
        return min((at for mark in _HEAD_MARKS if (at := text.find(mark)) >= 0), default=-1)

    def _read_body(self, out: _Out) -> bool:
        ends = [(at, mark) for mark in (*ENDS, START) if (at := self._held.find(mark)) >= 0]
        if not ends:
            cut = len(self._held) - max(overlap(self._held, mark) for mark in (*ENDS, START))
            self._say(self._held[:cut], out)
            self._held = self._held[cut:]
            return False
        at, mark = min(ends)
        self._say(self._held[:at], out)
        self._held = self._held[at + (0 if mark == START else len(mark)) :]
        self._end(out)
        self._in_head, self._head = True, ""
        return True

    @property
    def _recipient(self) -> str:
        found = _RECIPIENT.search(self._head)
        return found.group(1) if found and self._has_tools else ""

    def _say(self, text: str, out: _Out) -> None:
        """Text of the open message."""
        if self._recipient:
            self._body.append(text)
            return
        channel = _CHANNEL_NAME.search(self._head)
        if channel is not None and channel.group(1) == "analysis":
            out.thinking.append(text if self._think_on else "")
        else:
            out.content.append(text)

    def _end(self, out: _Out) -> None:
        """The open message is complete."""
        name, text = self._recipient, "".join(self._body)
        self._body.clear()
        if not name:
            return
        arguments = json_object(text) if text.strip() else {}
        if arguments is None:
            out.content.append(text)
            return
        out.calls.append(ToolCall(name, arguments, id=self._new_call_id(), index=self._n_calls))
        self._n_calls += 1


class _Out:
    """What one step makes certain."""

    def __init__(self) -> None:
        self.content: list[str] = []
        self.thinking: list[str] = []
        self.calls: list[ToolCall] = []

    def joined(self) -> Parsed:
        """The three parts."""
        return Parsed("".join(self.content), "".join(self.thinking), tuple(self.calls))
