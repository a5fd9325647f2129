"""Pieces of GBNF, llama.cpp's grammar language, and the rules of JSON in it."""

from __future__ import annotations

import json
from typing import Any

COMMA = '"," ws'
MAX_REPEAT = 1000
"""Most copies in one `{m,n}`; llama.cpp refuses more than 2000 and pays for each."""

JSON_RULES: dict[str, str] = {
    # Blanks are bounded so that a model cannot fill its answer with them.
    "ws": r'| " " | "\n"{1,2} [ \t]{0,20}',
    "hex": "[0-9a-fA-F]",
    "char": r'[^"\\\x00-\x1F\x7F] | "\\" (["\\/bfnrt] | "u" hex{4})',
    # One character of text each, for strings of bounded length: no halves of surrogate pairs.
    "one-char": r'[^"\\\x00-\x1F\x7F] | "\\" (["\\/bfnrt] | "u" unit)',
    "unit": "[0-9a-cefA-CEF] hex{3} | [dD] [0-7] hex{2}",
    "key-char": r'[^"\\\x00-\x1F\x7F]',
    "string": r'"\"" char* "\""',
    "whole": '"0" | [1-9] [0-9]{0,15}',
    "integer": '"-"? whole',
    "number": '"-"? whole ("." [0-9]{1,16})? ([eE] [-+]? [0-9]{1,3})?',
    "boolean": '"true" | "false"',
    "null": '"null"',
    "value": "object | array | string | number | boolean | null",
    "pair": 'string ":" ws value',
    "object": '"{" ws (pair ("," ws pair)* ws)? "}"',
    "array": '"[" ws (value ("," ws value)* ws)? "]"',
}
"""Rules by name; each names only others of these."""

_USES: dict[str, tuple[str, ...]] = {
    "char": ("hex",),
    "one-char": ("unit",),
    "unit": ("hex",),
    "string": ("char",),
    "integer": ("whole",),
    "number": ("whole",),
    "value": ("object", "array", "string", "number", "boolean", "null"),
    "pair": ("string", "ws", "value"),
    "object": ("ws", "pair"),
    "array": ("ws", "value"),
}


def with_dependencies(names: set[str]) -> dict[str, str]:
    """The JSON rules of these names and all that they name."""
    needed: dict[str, str] = {}
    waiting = sorted(names)
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed[name] = JSON_RULES[name]
            waiting.extend(_USES.get(name, ()))
    return needed


def literal(text: str) -> str:
    """GBNF for exactly this text."""
    escaped = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
    return '"' + "".join(escaped.get(char) or _plain_or_code(char) for char in text) + '"'


def _plain_or_code(char: str) -> str:
    return char if char.isprintable() else char_code(char)


def char_code(char: str) -> str:
    """A character as GBNF's escape, safe inside brackets too."""
    code = ord(char)
    if code < 0x100:
        return f"\\x{code:02X}"
    return f"\\u{code:04X}" if code < 0x10000 else f"\\U{code:08X}"


def json_literal(value: Any) -> str:
    """GBNF for a JSON value, with the blanks that any JSON may have between its parts."""
    if isinstance(value, dict):
        pairs = [f'{json_literal(key)} ":" ws {json_literal(item)}' for key, item in value.items()]
        return _bracketed("{", pairs, "}")
    if isinstance(value, list | tuple):
        return _bracketed("[", [json_literal(item) for item in value], "]")
    text = json.dumps(value, ensure_ascii=False)
    if not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text):
        text = json.dumps(value)
    return literal(text)


def _bracketed(opening: str, items: list[str], closing: str) -> str:
    inner = ' "," ws '.join(items)
    return f'"{opening}" ws {inner} ws "{closing}"' if items else f'"{opening}" ws "{closing}"'


def repeat(item: str, least: int, most: int | None) -> str:
    """`item` between `least` and `most` times, None for any number; `item` is one name or group.

    "" when it may not stand at all.

    Long runs are cut into groups of MAX_REPEAT so that each count has one reading.
    """
    if most == 0:
        return ""
    if most is None:
        if least <= 1:
            return f"{item}{'+' if least else '*'}"
        return f"{_exactly(item, least)} {item}*"
    if most <= MAX_REPEAT:
        return f"{item}{{{least},{most}}}" if most != least else _exactly(item, least)
    optional = _up_to(item, most - least)
    return f"{_exactly(item, least)} {optional}" if least else optional


def _exactly(item: str, n: int) -> str:
    n_groups, rest = divmod(n, MAX_REPEAT)
    parts = []
    if n_groups:
        parts.append(f"({item}{{{MAX_REPEAT}}}){{{n_groups}}}" if n_groups > 1 else f"{item}{{{MAX_REPEAT}}}")
    if rest or not parts:
        parts.append(f"{item}{{{rest}}}")
    return " ".join(parts)


def _up_to(item: str, n: int) -> str:
    n_groups, rest = divmod(n, MAX_REPEAT)
    if not n_groups:
        return f"{item}{{0,{rest}}}"
    group = f"({item}{{{MAX_REPEAT}}})"
    fewer = f"{group}{{0,{n_groups - 1}}} {item}{{0,{MAX_REPEAT - 1}}}"
    full = f"{group}{{{n_groups}}} {item}{{0,{rest}}}" if rest else f"{group}{{{n_groups}}}"
    return f"({fewer} | {full})"


def listed(heads: list[str], tail: str | None, least: int, n_more: int | None) -> str:
    """Items with commas between: the heads in order, then at most `n_more` tails; at least `least` in all."""
    body = ""
    if tail is not None and heads:
        body = repeat(f"({COMMA} {tail})", max(least - len(heads), 0), n_more)
    elif tail is not None:
        more = repeat(f"({COMMA} {tail})", max(least - 1, 0), None if n_more is None else n_more - 1)
        body = f"{tail} {more}" if least else f"({tail} {more})?"
    for at in range(len(heads) - 1, -1, -1):
        comma = f"{COMMA} " if at else ""
        body = f"{comma}{heads[at]} {body}"
        body = body if at < least else f"({body})?"
    return body or '""'
