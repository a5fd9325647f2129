"""Modelfiles: Ollama's grammar, read and written.

A file is lines of `COMMAND value`. A value that begins with a quote, or with three, goes on over lines until
one ends the same way. Comments begin with `#` at the beginning of a line. There are no escapes. Characters
that cannot be printed are dropped, except for tabs, and for line ends within quotes.
"""

from __future__ import annotations

import codecs
from typing import Literal

import msgspec

from server.errors import InvalidModelfile

CommandKind = Literal[
    "from",
    "license",
    "template",
    "system",
    "adapter",
    "draft",
    "renderer",
    "parser",
    "parameter",
    "message",
    "requires",
]

_KINDS: dict[str, CommandKind] = {
    "from": "from",
    "license": "license",
    "template": "template",
    "system": "system",
    "adapter": "adapter",
    "draft": "draft",
    "renderer": "renderer",
    "parser": "parser",
    "parameter": "parameter",
    "message": "message",
    "requires": "requires",
}
_ROLES = frozenset({"system", "user", "assistant"})

_BAD_COMMAND = (
    'command must be one of "from", "license", "template", "system", "adapter", "draft", "renderer", '
    '"parser", "parameter", "message", or "requires"'
)
_BAD_ROLE = 'message role must be one of "system", "user", or "assistant"'
_UNEXPECTED_END = "unexpected EOF"

_TRIPLE = '"""'


class Command(msgspec.Struct, frozen=True):
    """One command.

    Attributes:
        value: without its quotes.
        key: name of a parameter, or role of a message; "" for other commands.
        line: 1-based line on which it begins, 0 for a command that was not read.
    """

    kind: CommandKind
    value: str
    key: str = ""
    line: int = 0


def parse_modelfile(source: bytes | str) -> tuple[Command, ...]:
    """Read a Modelfile; bytes are UTF-8, or UTF-16 with a byte order mark.

    Raises: InvalidModelfile in Ollama's words.
    """
    commands = _Parser(_decode(source) if isinstance(source, bytes) else source).commands()
    if not any(command.kind == "from" for command in commands):
        raise InvalidModelfile("no FROM line", hint="Begin with FROM and a model or a GGUF file.")
    return commands


def format_modelfile(commands: tuple[Command, ...]) -> str:
    """Write commands, one per line, so that `parse_modelfile` reads the same again.

    A text of several lines of which one ends with three quotes has no form in the grammar and reads back cut.
    """
    return "".join(f"{_format(command)}\n" for command in commands)


def quote(text: str) -> str:
    """A value as it must stand in a Modelfile: quoted only where it has to be."""
    edges = text != text.strip() or text.startswith('"')
    if not edges and "\n" not in text and "\r" not in text:
        return text
    return f"{_TRIPLE}{text}{_TRIPLE}" if '"' in text else f'"{text}"'


def _format(command: Command) -> str:
    words = [command.kind.upper(), command.key] if command.key else [command.kind.upper()]
    return " ".join([*words, quote(command.value)])


def _decode(raw: bytes) -> str:
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return raw.decode("utf-16", "replace")
    return raw.decode("utf-8-sig", "replace")


def _unquoted(text: str) -> str | None:
    """The value in a trimmed text, None as long as its quotes are open."""
    if text.startswith(_TRIPLE):
        return text[3:-3] if len(text) >= 6 and text.endswith(_TRIPLE) else None
    if text.startswith('"'):
        return text[1:-1] if len(text) >= 2 and text.endswith('"') else None
    return text


class _Parser:
    """Walks over the text once. Line numbers in errors count a line's end with the line that follows."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._line = 1

    def commands(self) -> tuple[Command, ...]:
        found: list[Command] = []
        while (c := self._peek()) is not None:
            if c in " \t\r\n":
                self._next()
            elif c == "#":
                self._skip_comment()
            else:
                found.append(self._command())
        return tuple(found)

    def _peek(self) -> str | None:
        return self._text[self._at] if self._at < len(self._text) else None

    def _next(self) -> str:
        c = self._text[self._at]
        self._at += 1
        if c in "\r\n":
            self._line += 1
        return c

    def _skip_comment(self) -> None:
        while (c := self._peek()) is not None and c not in "\r\n":
            self._next()

    def _command(self) -> Command:
        line = self._line
        kind = _KINDS.get(self._command_word().lower())
        if kind is None:
            raise self._error(_BAD_COMMAND)
        key = ""
        if kind == "parameter":
            key = self._word("_0123456789")
        elif kind == "message":
            key = self._word("")
            if key not in _ROLES:
                raise self._error(_BAD_ROLE)
        return Command(kind, self._value(), key, line)

    def _command_word(self) -> str:
        """The word that begins a line and the blank behind it; its first character may be anything."""
        word = self._next()
        while (c := self._peek()) is not None:
            self._next()
            if c in " \t":
                return word
            if not _is_letter(c):
                raise self._error(_BAD_COMMAND)
            word += c
        raise InvalidModelfile(_UNEXPECTED_END, line=self._line)

    def _word(self, more: str) -> str:
        """A name and the blank behind it."""
        word = ""
        while (c := self._peek()) is not None:
            self._next()
            if c in " \t":
                return word
            if not _is_letter(c) and c not in more:
                raise InvalidModelfile(f"{_UNEXPECTED_END}: {word}", line=self._line)
            word += c
        raise InvalidModelfile(_UNEXPECTED_END, line=self._line)

    def _value(self) -> str:
        kept: list[str] = []
        while (c := self._peek()) is not None:
            self._next()
            if c in "\r\n" and _may_be_whole(kept):
                value = _unquoted("".join(kept).strip())
                if value is not None:
                    return value
            if c in "\t\r\n" or c.isprintable():
                kept.append(c)
        value = _unquoted("".join(kept).strip())
        if value is None:
            raise InvalidModelfile(
                _UNEXPECTED_END, hint="A quotation is not closed at the end of the file.", line=self._line
            )
        return value

    def _error(self, reason: str) -> InvalidModelfile:
        return InvalidModelfile(f"(line {self._line}): {reason}", line=self._line)


def _may_be_whole(kept: list[str]) -> bool:
    """Whether `_unquoted` may find a value; it looks at the whole text, too slow for each of its lines."""
    first = next((at for at, c in enumerate(kept) if not c.isspace()), None)
    if first is None or kept[first] != '"':
        return True
    last = next(at for at in range(len(kept) - 1, -1, -1) if not kept[at].isspace())
    is_triple = kept[first : first + 3] == list(_TRIPLE)
    return kept[last - 2 : last + 1] == list(_TRIPLE) if is_triple else kept[last] == '"'


def _is_letter(c: str) -> bool:
    return c.isascii() and c.isalpha()
