"""Word wrap for text that arrives in pieces and is shown at once, as Ollama's command line does it. Pure."""

from __future__ import annotations

from olla_tui.cli.tables import char_width, text_width

MARGIN = 5
"""Columns at the right that stay free."""

LONG_WORD_MARGIN = 10
"""A word longer than the terminal less this is cut instead of carried over."""


class WordWrapper:
    """Text in, text with line breaks and cursor moves out.

    A word that does not fit has been shown already when that is known; it is erased and written again on the
    next line. `width`: columns of the terminal, 0 for no wrapping.
    """

    def __init__(self) -> None:
        self._column = 0
        self._word = ""

    def feed(self, text: str, width: int) -> str:
        """What to write for the next piece of text."""
        if width < LONG_WORD_MARGIN:
            self._word = ""
            return text
        return "".join([self._place(char, width) for char in text])

    def _place(self, char: str, width: int) -> str:
        char_columns = char_width(char)
        if self._column + 1 > width - MARGIN and char not in "\r\n":
            return self._break_line(char, char_columns, width)
        self._column += char_columns
        if char in "\r\n":
            self._column, self._word = 0, ""
        elif char in " \t" or char_columns >= 2:
            self._word = ""
        else:
            self._word += char
        return char

    def _break_line(self, char: str, char_columns: int, width: int) -> str:
        word, columns = self._word, text_width(self._word)
        if columns > width - LONG_WORD_MARGIN:
            self._word, self._column = char, char_columns
            return f"\n{char}"
        if char in " \t":
            self._word, self._column = "", 0
            return "\n"
        back = f"\x1b[{columns}D" if columns else ""
        self._column = columns + char_columns
        self._word = "" if char_columns >= 2 else word + char
        return f"{back}\x1b[K\n{word}{char}"
