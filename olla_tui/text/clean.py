"""Take terminal control out of foreign text, also when it arrives in pieces.

A model's output may hold escape sequences, of malice or by accident; none may reach the terminal. What stays:
printable text, tabs and line feeds. A carriage return, alone or before a line feed, ends a line.
"""

from __future__ import annotations

import re

MAX_STRING_CHARS = 1024
"""Longest body of an OSC, DCS, SOS, PM or APC string that is taken out as one; bounds what is held back."""

_SUSPECT = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_STRING = rf"(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x18\x1a\x1b\x9c\n]{{0,{MAX_STRING_CHARS}}}"
_CSI = r"(?:\x1b\[|\x9b)[0-?]{0,64}[ -/]{0,8}"
_SEQUENCE = re.compile(rf"{_STRING}(?:\x07|\x9c|\x1b\\)?|{_CSI}[@-~]?|\x1b[ -/]{{0,8}}[0-~]?|\r\n?")
_WHOLE = re.compile(
    rf"{_STRING}(?:\x07|\x9c|\x1b\\)|{_CSI}[@-~]|\x1b(?:[ -/]{{1,8}}[0-~]|[0-OQ-WYZ\\`-~])|\r\n"
)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def _replace(match: re.Match[str]) -> str:
    return "\n" if match[0][0] == "\r" else ""


def _settled(text: str) -> str:
    text = _CONTROL.sub("", _SEQUENCE.sub(_replace, text))
    text = text.replace("\u2028", "\n").replace("\u2029", "\n")
    return re.sub(r"[\ud800-\udfff]", "\N{REPLACEMENT CHARACTER}", text)


class Cleaner:
    """Cleans a text that arrives in pieces; the pieces' borders never change the result."""

    def __init__(self) -> None:
        self._held = ""

    def feed(self, text: str) -> str:
        """Clean the next piece; a sequence that may go on is held back."""
        if not self._held and not _SUSPECT.search(text):
            return text
        text = self._held + text
        self._held = ""
        for match in _SEQUENCE.finditer(text):
            if match.end() == len(text) and not _WHOLE.fullmatch(match[0]):
                self._held = match[0]
                text = text[: match.start()]
        return _settled(text)

    def finish(self) -> str:
        """What was held back, cleaned as the end of the text."""
        held, self._held = self._held, ""
        return _settled(held)


def clean(text: str) -> str:
    """Clean a whole text."""
    return _settled(text) if _SUSPECT.search(text) else text


def clean_line(text: str) -> str:
    """Clean a text for a place that has one line: line ends and tabs become spaces."""
    return clean(text).replace("\n", " ").replace("\t", " ")
