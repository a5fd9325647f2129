"""Constants as Go writes them: quoted strings, characters and numbers."""

from __future__ import annotations

import re

from server.types.quoting import go_quote

_SIMPLE = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\"}
_MAX_INT = 2**63 - 1
_DECIMAL_FLOAT = re.compile(r"[+-]?(\d[\d_]*)?(\.[\d_]*)?([eE][+-]?\d[\d_]*)?")


def unquote(literal: str) -> str:
    """The text of a Go string or character literal, quotes included. Raises ValueError."""
    quote, inner = literal[0], literal[1:-1]
    if quote == "`":
        return inner.replace("\r", "")
    out = bytearray()
    at = 0
    while at < len(inner):
        char = inner[at]
        if char != "\\":
            out += char.encode("utf-8", "replace")
            at += 1
            continue
        piece, at = _escape(inner, at + 1, quote)
        out += piece
    return out.decode("utf-8", "surrogateescape")


def _escape(text: str, at: int, quote: str) -> tuple[bytes, int]:
    char = text[at : at + 1]
    if char in _SIMPLE:
        return _SIMPLE[char].encode(), at + 1
    if char == quote:
        return char.encode(), at + 1
    n_digits, base, start = {"x": (2, 16, 1), "u": (4, 16, 1), "U": (8, 16, 1)}.get(char, (3, 8, 0))
    digits = text[at + start : at + start + n_digits]
    allowed = "0123456789abcdefABCDEF" if base == 16 else "01234567"
    if len(digits) != n_digits or any(digit not in allowed for digit in digits):
        raise ValueError("invalid syntax")
    value = int(digits, base)
    if char in ("u", "U"):
        if value > 0x10FFFF or 0xD800 <= value <= 0xDFFF:
            raise ValueError("invalid syntax")
        return chr(value).encode(), at + start + n_digits
    if value > 0xFF:
        raise ValueError("invalid syntax")
    return bytes([value]), at + start + n_digits


def number_value(literal: str) -> int | float:
    """The value of a Go number or character literal; a float where Go's untyped constant is one.

    Raises ValueError, also for imaginary numbers, which no prompt needs.
    """
    if literal[0] == "'":
        text = unquote(literal)
        if len(text) != 1:
            raise ValueError(f"malformed character constant: {literal}")
        return ord(text)
    bad = ValueError(f"illegal number syntax: {go_quote(literal)}")
    integer = _integer(literal)
    if integer is not None:
        if not -_MAX_INT - 1 <= integer <= _MAX_INT:
            raise ValueError(f"integer overflow: {go_quote(literal)}")
        return integer
    try:
        if literal.lstrip("+-")[:2].lower() == "0x":
            return float.fromhex(literal.replace("_", ""))
        if _DECIMAL_FLOAT.fullmatch(literal):
            value = float(literal)
            if value not in (float("inf"), float("-inf")):
                return value
    except (ValueError, OverflowError) as exc:
        raise bad from exc
    raise bad


def _integer(literal: str) -> int | None:
    sign, digits = (literal[0], literal[1:]) if literal[0] in "+-" else ("", literal)
    if len(digits) > 1 and digits[0] == "0" and digits[1] in "01234567_":
        digits = "0o" + digits[1:]  # Go's old octal form
    try:
        return int(sign + digits, 0)
    except ValueError:
        return None
