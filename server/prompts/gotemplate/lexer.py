"""From template source to tokens, by the rules of Go's text/template lexer."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum, auto
from typing import NamedTuple

from server.errors import InvalidTemplate
from server.prompts.gotemplate.nodes import line_and_column
from server.types.quoting import go_quote

LEFT = "{{"
RIGHT = "}}"
SPACES = " \t\r\n"
COMMENT_OPEN = "/*"
COMMENT_CLOSE = "*/"


class Kind(Enum):
    """Kinds of tokens; the keywords stand last."""

    TEXT = auto()
    LEFT = auto()
    RIGHT = auto()
    SPACE = auto()
    ASSIGN = auto()
    DECLARE = auto()
    PIPE = auto()
    LEFT_PAREN = auto()
    RIGHT_PAREN = auto()
    CHAR = auto()
    STRING = auto()
    RAW_STRING = auto()
    CHAR_CONSTANT = auto()
    NUMBER = auto()
    BOOL = auto()
    FIELD = auto()
    VARIABLE = auto()
    IDENTIFIER = auto()
    DOT = auto()
    EOF = auto()
    BLOCK = auto()
    BREAK = auto()
    CONTINUE = auto()
    DEFINE = auto()
    ELSE = auto()
    END = auto()
    IF = auto()
    NIL = auto()
    RANGE = auto()
    TEMPLATE = auto()
    WITH = auto()


KEYWORDS = {
    "block": Kind.BLOCK,
    "break": Kind.BREAK,
    "continue": Kind.CONTINUE,
    "define": Kind.DEFINE,
    "else": Kind.ELSE,
    "end": Kind.END,
    "if": Kind.IF,
    "nil": Kind.NIL,
    "range": Kind.RANGE,
    "template": Kind.TEMPLATE,
    "with": Kind.WITH,
}
_SINGLE = {"=": Kind.ASSIGN, "|": Kind.PIPE}


class Token(NamedTuple):
    """A token and its offset in the source, in characters."""

    kind: Kind
    pos: int
    text: str


def syntax_error(source: str, pos: int, message: str) -> InvalidTemplate:
    """The error of Go's parser for a fault at `pos`."""
    line, _ = line_and_column(source, pos)
    return InvalidTemplate(f"template: :{line}: {message}", hint="Correct the template at that line.")


def is_name_char(char: str) -> bool:
    """Whether Go's lexer takes the character for part of a name."""
    return char == "_" or char.isalpha() or char.isdecimal()


class Lexer:
    """Tokens of one source, made on demand so that faults are found in reading order."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._pos = 0
        self._paren_depth = 0

    def tokens(self) -> Iterator[Token]:
        """All tokens, EOF last. Raises InvalidTemplate."""
        source = self._source
        while True:
            start = self._pos
            at = source.find(LEFT, start)
            if at < 0:
                if start < len(source):
                    yield Token(Kind.TEXT, start, source[start:])
                self._pos = len(source)
                yield Token(Kind.EOF, len(source), "")
                return
            text = source[start:at]
            trimmed = self._has_left_trim(at + len(LEFT))
            if trimmed:
                text = text.rstrip(SPACES)
            if text:
                yield Token(Kind.TEXT, start, text)
            self._pos = at + len(LEFT)
            after_marker = self._pos + (2 if trimmed else 0)
            if source.startswith(COMMENT_OPEN, after_marker):
                self._skip_comment(after_marker)
                continue
            yield Token(Kind.LEFT, at, LEFT)
            self._pos = after_marker
            self._paren_depth = 0
            yield from self._action(at)

    def _has_left_trim(self, pos: int) -> bool:
        source = self._source
        return source.startswith("-", pos) and source[pos + 1 : pos + 2] in tuple(SPACES)

    def _right_delimiter(self, pos: int) -> tuple[bool, bool]:
        """Whether the action ends at `pos`, and whether it trims what follows."""
        source = self._source
        if source[pos : pos + 1] in tuple(SPACES) and source.startswith("-" + RIGHT, pos + 1):
            return True, True
        return source.startswith(RIGHT, pos), False

    def _skip_comment(self, pos: int) -> None:
        end = self._source.find(COMMENT_CLOSE, pos)
        if end < 0:
            raise self._error(pos, "unclosed comment")
        after = end + len(COMMENT_CLOSE)
        closed, trims = self._right_delimiter(after)
        if not closed:
            raise self._error(pos, "comment ends before closing delimiter")
        self._end_action(after, trims)

    def _end_action(self, pos: int, trims: bool) -> None:
        self._pos = pos + (2 if trims else 0) + len(RIGHT)
        if trims:
            rest = self._source
            while self._pos < len(rest) and rest[self._pos] in SPACES:
                self._pos += 1

    def _action(self, opened_at: int) -> Iterator[Token]:
        source = self._source
        while True:
            pos = self._pos
            closed, trims = self._right_delimiter(pos)
            if closed:
                if self._paren_depth:
                    raise self._error(pos, "unclosed left paren")
                self._end_action(pos, trims)
                yield Token(Kind.RIGHT, pos, RIGHT)
                return
            if pos >= len(source):
                raise self._error(opened_at, "unclosed action")
            yield self._inside(pos, source[pos])

    def _inside(self, pos: int, char: str) -> Token:
        source = self._source
        following = source[pos + 1 : pos + 2]
        if char in SPACES:
            return self._space(pos)
        if char in _SINGLE:
            return self._take(_SINGLE[char], pos, pos + 1)
        if char == ":":
            if following != "=":
                raise self._error(pos, "expected :=")
            return self._take(Kind.DECLARE, pos, pos + 2)
        if char == '"' or char == "'":
            return self._quoted(pos, char)
        if char == "`":
            end = source.find("`", pos + 1)
            if end < 0:
                raise self._error(pos, "unterminated raw quoted string")
            return self._take(Kind.RAW_STRING, pos, end + 1)
        if char == "$":
            return self._name(Kind.VARIABLE, pos)
        if char == "." and following and not ("0" <= following <= "9"):
            return self._name(Kind.FIELD, pos)
        if char in ".+-" or "0" <= char <= "9":
            return self._number(pos)
        if is_name_char(char):
            return self._identifier(pos)
        if char in "()":
            self._paren_depth += 1 if char == "(" else -1
            if self._paren_depth < 0:
                raise self._error(pos, "unexpected right paren")
            return self._take(Kind.LEFT_PAREN if char == "(" else Kind.RIGHT_PAREN, pos, pos + 1)
        if char.isascii() and char.isprintable():
            return self._take(Kind.CHAR, pos, pos + 1)
        raise self._error(pos, f"unrecognized character in action: {_named(char)}")

    def _space(self, pos: int) -> Token:
        end = pos
        while end < len(self._source) and self._source[end] in SPACES:
            if self._right_delimiter(end)[1]:
                break
            end += 1
        return self._take(Kind.SPACE, pos, end)

    def _quoted(self, pos: int, quote: str) -> Token:
        source = self._source
        at = pos + 1
        while at < len(source) and source[at] != "\n":
            if source[at] == quote:
                return self._take(Kind.STRING if quote == '"' else Kind.CHAR_CONSTANT, pos, at + 1)
            at += 2 if source[at] == "\\" and source[at + 1 : at + 2] != "\n" else 1
        what = "quoted string" if quote == '"' else "character constant"
        raise self._error(pos, f"unterminated {what}")

    def _name(self, kind: Kind, pos: int) -> Token:
        """A field or a variable; the bare `.` and `$` too."""
        end = self._name_end(pos + 1)
        if end == pos + 1 and kind is Kind.FIELD and self._at_terminator(end):
            return self._take(Kind.DOT, pos, end)
        if not self._at_terminator(end):
            raise self._error(pos, f"bad character {_named(self._source[end])}")
        return self._take(kind, pos, end)

    def _identifier(self, pos: int) -> Token:
        end = self._name_end(pos)
        if not self._at_terminator(end):
            raise self._error(pos, f"bad character {_named(self._source[end])}")
        word = self._source[pos:end]
        if word in ("true", "false"):
            return self._take(Kind.BOOL, pos, end)
        return self._take(KEYWORDS.get(word, Kind.IDENTIFIER), pos, end)

    def _name_end(self, pos: int) -> int:
        while pos < len(self._source) and is_name_char(self._source[pos]):
            pos += 1
        return pos

    def _at_terminator(self, pos: int) -> bool:
        if pos >= len(self._source) or self._source[pos] in SPACES + ".,|:)(":
            return True
        return self._source.startswith(RIGHT, pos)

    def _number(self, pos: int) -> Token:
        source = self._source
        end = pos + 1 if source[pos] in "+-" else pos
        digits = "0123456789_"
        if source[end : end + 1] == "0":
            end += 1
            base = {"x": "0123456789abcdefABCDEF_", "o": "01234567_", "b": "01_"}
            following = source[end : end + 1].lower()
            if following in base:
                digits = base[following]
                end += 1
        end = self._skip(end, digits)
        if source[end : end + 1] == ".":
            end = self._skip(end + 1, digits)
        exponents = {"0123456789_": "eE", "0123456789abcdefABCDEF_": "pP"}.get(digits, "")
        if exponents and source[end : end + 1] in tuple(exponents):
            end += 1
            if source[end : end + 1] in ("+", "-"):
                end += 1
            end = self._skip(end, "0123456789_")
        if end < len(source) and is_name_char(source[end]):
            raise self._error(pos, f"bad number syntax: {go_quote(source[pos : end + 1])}")
        return self._take(Kind.NUMBER, pos, end)

    def _skip(self, pos: int, chars: str) -> int:
        while pos < len(self._source) and self._source[pos] in chars:
            pos += 1
        return pos

    def _take(self, kind: Kind, pos: int, end: int) -> Token:
        self._pos = end
        return Token(kind, pos, self._source[pos:end])

    def _error(self, pos: int, message: str) -> InvalidTemplate:
        return syntax_error(self._source, pos, message)


def _named(char: str) -> str:
    """A character as Go's %#U writes it."""
    return f"U+{ord(char):04X} '{char}'" if char.isprintable() else f"U+{ord(char):04X}"
