"""Splits what a model writes into its reasoning, between two tags at the very start, and its answer."""

from __future__ import annotations

from enum import Enum, auto

from server.prompts.partial import overlap


class _State(Enum):
    LOOKING = auto()
    OPENED = auto()
    INSIDE = auto()
    CLOSED = auto()
    ANSWER = auto()


class ThinkingParser:
    """Fed in pieces; any cut into pieces gives the same joined result.

    Text that does not begin with the opening tag is all answer. Blanks before the opening tag are dropped,
    and those after each tag too unless `keeps_blanks`; a piece that may yet become a tag is held back.

    Args:
        inside: the prompt already ends with the opening tag.
    """

    def __init__(
        self, opening: str, closing: str, *, inside: bool = False, keeps_blanks: bool = False
    ) -> None:
        self._opening = opening
        self._closing = closing
        self._keeps_blanks = keeps_blanks
        self._held = ""
        self._state = self._after(_State.OPENED) if inside else _State.LOOKING

    def _after(self, eating: _State) -> _State:
        """The state after a tag: eating blanks, or the one that follows where blanks are kept."""
        if not self._keeps_blanks:
            return eating
        return _State.INSIDE if eating is _State.OPENED else _State.ANSWER

    def feed(self, text: str) -> tuple[str, str]:
        """Reasoning and answer that have become certain."""
        self._held += text
        thinking = answer = ""
        if self._state is _State.LOOKING:
            answer = self._look()
        if self._state is _State.OPENED:
            self._held = self._held.lstrip()
            self._state = _State.INSIDE if self._held else _State.OPENED
        if self._state is _State.INSIDE:
            thinking = self._think()
        if self._state is _State.CLOSED:
            self._held = self._held.lstrip()
            self._state = _State.ANSWER if self._held else _State.CLOSED
        if self._state is _State.ANSWER:
            answer += self._held
            self._held = ""
        return thinking, answer

    def _look(self) -> str:
        trimmed = self._held.lstrip()
        if trimmed.startswith(self._opening):
            self._held = trimmed[len(self._opening) :]
            self._state = self._after(_State.OPENED)
        elif not self._opening.startswith(trimmed):
            answer, self._held = self._held, ""
            self._state = _State.ANSWER
            return answer
        return ""

    def _think(self) -> str:
        before, found, after = self._held.partition(self._closing)
        if found:
            self._held = after
            self._state = self._after(_State.CLOSED)
            return before
        n_open = overlap(self._held, self._closing)
        cut = len(self._held) - n_open
        before, self._held = self._held[:cut], self._held[cut:]
        return before

    def finish(self) -> tuple[str, str]:
        """What was held back: reasoning if the closing tag never came, else answer."""
        held, self._held = self._held, ""
        return (held, "") if self._state is _State.INSIDE else ("", held)
