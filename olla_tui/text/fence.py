"""Colour the code of a fence, also while it grows.

Code is lexed in chunks that end where a new top-level statement most likely begins. A finished chunk is never
lexed again, so the cost of one more line does not grow with the fence, and as the chunks depend on the lines
alone, a streamed fence ends up coloured exactly as a whole one.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from pygments.token import Comment, Keyword, Name, Number, Operator, Punctuation, String, _TokenType

from olla_tui.text.lexers import Lexers
from olla_tui.text.styles import TextStyles, TokenRole
from olla_tui.text.wrap import Line, Span, wrap_code

MIN_CHUNK_LINES = 32
MAX_CHUNK_LINES = 96
MAX_LEXED_CHARS = 4000
"""A line longer than this is data, not code; its chunk stays plain."""

TAB_COLUMNS = 4

_ROLES: tuple[tuple[_TokenType, TokenRole], ...] = (
    (Comment, "comment"),
    (Keyword, "keyword"),
    (Operator.Word, "keyword"),
    (String, "string"),
    (Number, "number"),
    (Name.Function, "name"),
    (Name.Class, "name"),
    (Name.Decorator, "name"),
    (Name.Tag, "keyword"),
    (Name.Attribute, "name"),
    (Name.Builtin, "name"),
    (Operator, "operator"),
    (Punctuation, "operator"),
)


@lru_cache(maxsize=512)
def _role_of(token: _TokenType) -> TokenRole:
    for kind, role in _ROLES:
        if token in kind:
            return role
    return "plain"


def language_of(info: str) -> str:
    """The language that a fence's info string names: its first word, in lower case."""
    return info.split(maxsplit=1)[0].strip("{}.").lower() if info.strip() else ""


def _begins_chunk(lines: Sequence[str], start: int, at: int) -> bool:
    """Whether a chunk that began at `start` ends before line `at`."""
    n_lines = at - start
    if n_lines >= MAX_CHUNK_LINES:
        return True
    line = lines[at]
    return n_lines >= MIN_CHUNK_LINES and not lines[at - 1].strip() and bool(line) and not line[0].isspace()


def _colour(lexers: Lexers, language: str, lines: Sequence[str]) -> list[list[tuple[str, TokenRole]]]:
    """Lines of one chunk as texts with roles."""
    lexer = lexers.find(language)
    if lexer is None or any(len(line) > MAX_LEXED_CHARS for line in lines):
        return [[(line, "plain")] for line in lines]
    out: list[list[tuple[str, TokenRole]]] = [[]]
    for token, text in lexer.get_tokens("\n".join(lines)):
        role = _role_of(token)
        first, *rest = text.split("\n")
        if first:
            out[-1].append((first, role))
        for piece in rest:
            out.append([(piece, role)] if piece else [])
    if len(out) != len(lines):  # a lexer that changed the text; the text comes first
        return [[(line, "plain")] for line in lines]
    return out


class FenceLines:
    """The lines of one fence, coloured and wrapped for one width.

    `update` takes all code so far and lays out only the chunk at its end.
    """

    def __init__(self, info: str, width: int, styles: TextStyles) -> None:
        self._language = language_of(info)
        self._width = width
        self._styles = styles
        self._frozen: list[Line] = []
        self._n_frozen = 0  # lines of code in `_frozen`

    def update(self, code: str) -> list[Line]:
        """Lay out the code, which begins with what the last call was given up to its last finished chunk."""
        lines = code.split("\n")
        start = self._n_frozen
        for at in range(start + MIN_CHUNK_LINES, len(lines) - 1):  # the last line may still grow
            if _begins_chunk(lines, start, at):
                self._frozen += self._lay_out(lines[start:at])
                self._n_frozen = start = at
        return self._frozen + self._lay_out_rest(lines, start)

    def _lay_out_rest(self, lines: Sequence[str], start: int) -> list[Line]:
        at = len(lines) - 1
        if at >= start + MIN_CHUNK_LINES and _begins_chunk(lines, start, at):
            return self._lay_out(lines[start:at]) + self._lay_out(lines[at:])
        return self._lay_out(lines[start:])

    def _lay_out(self, lines: Sequence[str]) -> list[Line]:
        out: list[Line] = []
        expanded = [line.expandtabs(TAB_COLUMNS) for line in lines]
        for pieces in _colour(self._styles.lexers, self._language, expanded):
            spans: list[Span] = [(text, self._styles.token(role)) for text, role in pieces]
            out += wrap_code(spans, self._width)
        return out
