"""Tool calls as a tag and JSON: `<tool_call>{...}</tool_call>`, `[TOOL_CALLS] [{...}]`, bare `{...}`."""

from __future__ import annotations

import re
from enum import Enum, auto

from server.prompts.call_block import Call
from server.prompts.call_json import ObjectScanner, read_call
from server.prompts.partial import overlap

_BEFORE_ANCHORED = " \t\r\n["
"""What may stand between an anchored tag and its object."""


class _State(Enum):
    LOOKING = auto()
    CALL = auto()
    BETWEEN = auto()
    PASSING = auto()


class TaggedCalls:
    """Fed in pieces; any cut into pieces gives the same joined content and the same calls.

    What stands between the tags and is no call stays content, tags included. Blanks, commas and closing marks
    around calls are dropped.

    Args:
        tags: texts of which each opens calls; most forms have one.
        closing: text that closes them, "" when the form has none or it is not known.
        names: tools that the model may call; empty: not known.
        anchored: calls count only at the very start of the answer, and only of known tools: for tags such as
            "{" which answers have too.
    """

    def __init__(
        self, tags: tuple[str, ...], closing: str, names: tuple[str, ...], *, anchored: bool = False
    ) -> None:
        self._tags = tags
        self._closing = closing
        self._names = names
        self._anchored = anchored
        self._held = ""
        self._state = _State.LOOKING
        self._block_open = False
        self._is_array = False
        self._blanks = ""
        self._start = 0
        self._scanner = ObjectScanner(closing)
        self._scanning = False
        extra = "`" if any("`" in tag for tag in tags) else ""
        self._glue = re.compile(rf"[\s,;{extra}]*")
        self._array_glue = re.compile(rf"[\s,;{extra}\]]*")
        self._opener = re.compile(r"\{" + (f"|{re.escape(closing)}" if closing else ""))

    def feed(self, text: str) -> tuple[str, list[Call]]:
        """Content and calls that have become certain."""
        self._held += text
        content: list[str] = []
        calls: list[Call] = []
        while self._advance(content, calls):
            pass
        return "".join(content), calls

    def finish(self) -> tuple[str, list[Call]]:
        """What was held back; a call that never ended is content."""
        held, self._held = self._blanks + self._held, ""
        if self._state is _State.BETWEEN:
            held = held[self._glue_end(held) :]
        return held, []

    def _advance(self, content: list[str], calls: list[Call]) -> bool:
        """One step; False when more text is needed."""
        match self._state:
            case _State.LOOKING:
                return self._look(content)
            case _State.CALL:
                return self._read(content, calls)
            case _State.BETWEEN:
                return self._between(content)
        content.append(self._held)
        self._held = ""
        return False

    def _look(self, content: list[str]) -> bool:
        if self._anchored:
            trimmed = self._held.lstrip()
            if trimmed.startswith(self._tags):
                self._blanks = self._held[: len(self._held) - len(trimmed)]
                self._held = trimmed
                return self._open_block(0, content)
            if any(tag.startswith(trimmed) for tag in self._tags):
                return False
            self._state = _State.PASSING
            return True
        places = [at for tag in self._tags if (at := self._held.find(tag)) >= 0]
        if places:
            return self._open_block(min(places), content)
        cut = len(self._held) - max(overlap(self._held, tag) for tag in self._tags)
        content.append(self._held[:cut])
        self._held = self._held[cut:]
        return False

    def _open_block(self, at: int, content: list[str]) -> bool:
        content.append(self._held[:at])
        self._held = self._held[at:]
        self._is_array = False
        self._begin_call()
        return True

    def _begin_call(self) -> None:
        self._state = _State.CALL
        self._block_open = True
        self._scanning = False

    def _read(self, content: list[str], calls: list[Call]) -> bool:
        held = self._held
        if not self._scanning:
            opener = self._opener.search(held, len(held) - len(self._after_tag(held)))
            if self._anchored and self._after_tag(held).lstrip(_BEFORE_ANCHORED)[:1] not in ("", "{"):
                return self._refuse(0, content)
            if opener is None:
                return False
            if opener.group() != "{":
                return self._refuse(opener.end(), content)
            self._start = opener.start()
            self._scanner.start(self._start)
            self._scanning = True
        ended = self._scanner.scan(held)
        if ended is None:
            return False
        end, is_whole = ended
        before = held[: self._start]
        call = read_call(held[self._start : end], self._after_tag(before), self._names) if is_whole else None
        if call is None or (self._anchored and self._names and call[0] not in self._names):
            return self._refuse(end, content)
        calls.append(call)
        self._is_array = self._is_array or before.rstrip().endswith("[")
        self._blanks = ""
        self._held = held[end:]
        self._state = _State.BETWEEN
        return True

    def _after_tag(self, text: str) -> str:
        return next((text[len(tag) :] for tag in self._tags if tag != "{" and text.startswith(tag)), text)

    def _refuse(self, end: int, content: list[str]) -> bool:
        """What looked like a call is content after all."""
        content.append(self._blanks + self._held[:end])
        self._held = self._held[end:]
        self._blanks = ""
        self._state = _State.PASSING if self._anchored else _State.LOOKING
        return True

    def _glue_end(self, text: str) -> int:
        glue = (self._array_glue if self._is_array else self._glue).match(text)
        return glue.end() if glue else 0

    def _between(self, content: list[str]) -> bool:
        self._held = self._held[self._glue_end(self._held) :]
        held = self._held
        if self._closing and held.startswith(self._closing):
            self._held = held[len(self._closing) :]
            self._block_open = False
            return True
        starts = ("{", *self._names) if self._block_open else ()
        if held.startswith((*self._tags, *starts)):
            self._begin_call()
            return True
        if any(start.startswith(held) for start in (*self._tags, self._closing, *starts)):
            return False
        self._state = _State.PASSING if self._anchored else _State.LOOKING
        return True
