"""The form of functionary 3.2: an answer is messages, each with a recipient in front.

>>>all
It is cold.
>>>get_weather
{"city": "Oslo"}

The prompt ends with the first `>>>`. What is for `all` is content, an object for a tool is a call of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from server.prompts.call_values import json_object
from server.prompts.parsed import Parsed
from server.prompts.partial import overlap
from server.types.messages import JsonObject, ToolCall

HEAD: Final = ">>>"
EVERYBODY: Final = "all"


def has_recipients(source: str) -> bool:
    """Whether a template's model writes this form."""
    return ">>>${recipient}" in source


class RecipientParser:
    """See `server.prompts.parsed.OutputParser`. What has no recipient that is known is content.

    Args:
        prompt: as rendered; the answer begins with a recipient where that ends with `>>>`.
        names: the tools that may be called.
    """

    def __init__(self, *, prompt: str, names: tuple[str, ...], new_call_id: Callable[[], str]) -> None:
        self._new_call_id = new_call_id
        self._heads = tuple(f"{name}\n" for name in (EVERYBODY, *names))
        self._n_head_chars = max(map(len, self._heads))
        self._n_calls = 0
        self._tool = ""
        self._is_first = prompt.endswith(HEAD)
        self._held = HEAD if self._is_first else ""
        self._searched = 0

    def feed(self, text: str) -> Parsed:
        """Content and calls that have become certain."""
        self._held += text
        content: list[str] = []
        calls: list[ToolCall] = []
        while self._advance(content, calls):
            pass
        return Parsed("".join(content), tool_calls=tuple(calls))

    def finish(self) -> Parsed:
        """What was held back: a call that is whole, else content."""
        held, self._held = self._held, ""
        if self._tool and (arguments := json_object(held)) is not None:
            return Parsed(tool_calls=(self._call(arguments),))
        return Parsed(self._as_content(held))

    def _advance(self, content: list[str], calls: list[ToolCall]) -> bool:
        """One step; False when more text is needed."""
        at = self._held.find(HEAD, self._searched)
        if at < 0:
            kept = overlap(self._held, HEAD)
            self._pass(len(self._held) - kept, content)
            return False
        start = at + len(HEAD)
        head = next((head for head in self._heads if self._held.startswith(head, start)), None)
        if head is None:
            behind = self._held[start : start + self._n_head_chars]
            if any(head.startswith(behind) for head in self._heads):
                self._pass(at, content)
                return False
            if self._is_first:
                self._held, self._is_first = self._held[start:], False
            else:
                self._pass(at + 1, content)  # three marks may be the last ones of four
            return True
        rest = self._held[start + len(head) :]
        if not self._end_message(at, content, calls):
            self._pass(at + 1, content)
            return True
        self._held = rest
        self._tool = "" if head == f"{EVERYBODY}\n" else head[:-1]
        self._is_first, self._searched = False, 0
        return True

    def _pass(self, end: int, content: list[str]) -> None:
        """There is no head before `end`: it is content, or belongs to the object of a call."""
        if self._tool:
            self._searched = end
            return
        if end:
            content.append(self._as_content(self._held[:end]))
            self._held = self._held[end:]

    def _end_message(self, at: int, content: list[str], calls: list[ToolCall]) -> bool:
        """A head stands at `at`. False: it is within the object of a call, which is not whole there."""
        if not self._tool:
            self._pass(at, content)
            return True
        arguments = json_object(self._held[:at])
        if arguments is None:
            return False
        calls.append(self._call(arguments))
        return True

    def _call(self, arguments: JsonObject) -> ToolCall:
        self._n_calls += 1
        return ToolCall(self._tool, arguments, id=self._new_call_id(), index=self._n_calls - 1)

    def _as_content(self, text: str) -> str:
        """The text with the recipient that it had, without the `>>>` that the prompt ends with."""
        if self._tool:
            text, self._tool = f"{HEAD}{self._tool}\n{text}", ""
        if self._is_first and text:
            self._is_first = False
            text = text.removeprefix(HEAD)
        return text
