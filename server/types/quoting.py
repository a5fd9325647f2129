"""Quoting of texts as Go's `strconv.Quote` does it, which Ollama's error texts and `show` replies use."""

from __future__ import annotations

_ESCAPES = {
    '"': '\\"',
    "\\": "\\\\",
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\v": "\\v",
}


def go_quote(text: str) -> str:
    """The text in double quotes, with Go's escapes for quotes, backslashes and what cannot be printed.

    A lone surrogate, which no UTF-8 text has, becomes U+FFFD.
    """
    return '"' + "".join(_quote_character(c) for c in text) + '"'


def _quote_character(c: str) -> str:
    if c in _ESCAPES:
        return _ESCAPES[c]
    if c.isprintable():
        return c
    code = ord(c)
    if 0xD800 <= code <= 0xDFFF:
        return "\N{REPLACEMENT CHARACTER}"
    if code < 0x20 or code == 0x7F:
        return f"\\x{code:02x}"
    if code < 0x10000:
        return f"\\u{code:04x}"
    return f"\\U{code:08x}"
