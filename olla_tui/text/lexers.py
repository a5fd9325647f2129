"""The lexers that colour code. Making one compiles dozens of patterns and takes up to a tenth of a second."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pygments.lexer import Lexer

MAX_LEXERS = 128
MAX_NAME_CHARS = 40
"""Longer words after a fence's mark name no language."""

_made: dict[str, Lexer | None] = {}


def make_lexer(language: str) -> Lexer | None:
    """The lexer of a language, None where Pygments knows none; safe in any thread."""
    if language in _made:
        return _made[language]
    from pygments.lexers import get_lexer_by_name
    from pygments.util import ClassNotFound

    try:
        lexer = get_lexer_by_name(language, stripnl=False, ensurenl=False)
    except ClassNotFound:
        lexer = None
    if len(_made) >= MAX_LEXERS:
        _made.clear()
    _made[language] = lexer
    return lexer


class Lexers:
    """Lexers by language, made when they are wanted."""

    def find(self, language: str) -> Lexer | None:
        """The lexer of a language, None where there is none."""
        return make_lexer(language) if 0 < len(language) <= MAX_NAME_CHARS else None


class LexersOnOrder(Lexers):
    """Lexers that are made elsewhere: until then there is none, and nobody waits."""

    def __init__(self) -> None:
        self._wanted: set[str] = set()

    def find(self, language: str) -> Lexer | None:
        if language in _made:
            return _made[language]
        if 0 < len(language) <= MAX_NAME_CHARS:
            self._wanted.add(language)
        return None

    @property
    def has_orders(self) -> bool:
        """Whether a lexer was wanted that is not made yet."""
        return bool(self._wanted)

    def take_orders(self) -> set[str]:
        """The languages whose lexers are to be made, each told once."""
        orders, self._wanted = self._wanted, set()
        return orders


def make_lexers(languages: set[str]) -> bool:
    """Make the lexers of languages; whether any of them has one. For a thread beside the screen's."""
    lexers = [make_lexer(language) for language in languages]
    return any(lexer is not None for lexer in lexers)
