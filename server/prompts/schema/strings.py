"""Strings of a schema as GBNF, without the quotes."""

from __future__ import annotations

import re
from collections.abc import Iterable

from server.prompts.schema.formats import FORMATS, UNCONSTRAINED
from server.prompts.schema.gbnf import char_code, json_literal, literal, repeat
from server.prompts.schema.patterns import Piece, UnsupportedPattern, pattern_piece
from server.prompts.schema.reading import ANNOTATIONS, Schema, count, refused
from server.types.messages import JsonObject

ONE_CHAR = "one-char"


def string_piece(schema: JsonObject, path: str) -> str | None:
    """GBNF of the text; None for any text. Raises InvalidFormat."""
    least, most = count(schema, "minLength", path) or 0, count(schema, "maxLength", path)
    if most is not None and most < least:
        raise refused("minLength", path, "it is more than maxLength")
    piece = _constrained(schema, path)
    if piece is None:
        if not least and most is None:
            return None
        return repeat(ONE_CHAR, least, most)
    if piece.least < least:
        raise refused("minLength", path, "a pattern or format beside it allows shorter texts")
    if most is not None and (piece.most is None or piece.most > most):
        raise refused("maxLength", path, "a pattern or format beside it allows longer texts")
    return piece.gbnf


def _constrained(schema: JsonObject, path: str) -> Piece | None:
    pattern, format_ = schema.get("pattern"), schema.get("format")
    if format_ in UNCONSTRAINED:
        format_ = None
    if pattern is None and format_ is None:
        return None
    if pattern is not None and format_ is not None:
        raise refused("format", path, "it stands beside a pattern")
    if format_ is not None:
        if format_ not in FORMATS:
            raise refused("format", path, f"{format_!r} is none of {', '.join(FORMATS)}")
        return FORMATS[format_]
    if not isinstance(pattern, str):
        raise refused("pattern", path, "it must be a text")
    try:
        return pattern_piece(pattern)
    except UnsupportedPattern as exc:
        raise refused("pattern", path, str(exc)) from exc


def key_piece(schema: Schema, path: str) -> str | None:
    """GBNF of names that satisfy a schema, quotes included; None when any does. Raises InvalidFormat."""
    if schema is True:
        return None
    if not isinstance(schema, dict):
        raise refused("propertyNames", path, "it allows no name")
    known = ANNOTATIONS | {"type", "pattern", "minLength", "maxLength", "enum", "const"}
    if others := schema.keys() - known:
        raise refused(min(others), path, "names cannot be held to it")
    if schema.get("type", "string") != "string":
        raise refused("type", path, "names are strings")
    if "enum" in schema or "const" in schema:
        values = [schema["const"]] if "const" in schema else schema["enum"]
        if len(schema.keys() - ANNOTATIONS - {"type"}) > 1 or not isinstance(values, list):
            raise refused("enum", path, "it stands beside other keywords, or is no list")
        names = [value for value in values if isinstance(value, str)]
        if not names:
            raise refused("enum", path, "it allows no name")
        return "(" + " | ".join(json_literal(name) for name in dict.fromkeys(names)) + ")"
    piece = string_piece(schema, path)
    return None if piece is None else f'"\\"" ({piece}) "\\""' if piece else '"\\"\\""'


def matches_any(pattern: str, names: Iterable[str]) -> bool:
    """Whether a pattern is found in one of the names; True when that cannot be told."""
    try:
        found = re.compile(pattern, re.ASCII)
    except re.error:
        return True
    return any(found.search(name) for name in names)


def other_key(taken: tuple[str, ...]) -> str:
    """GBNF for a key, quotes included, that is none of those taken. It holds no escapes."""
    trie: _Trie = {}
    for key in taken:
        if all(char.isprintable() and char not in '"\\' for char in key):
            node = trie
            for char in key:
                node = node.setdefault(char, {})
            node[""] = {}
    return f'"\\"" {_others(trie)} "\\""'


_Trie = dict[str, "_Trie"]


def _others(node: _Trie) -> str:
    """GBNF for the ends of texts that lead to no key."""
    children = sorted(char for char in node if char)
    if not children:
        return "key-char+" if "" in node else "key-char*"
    others = "".join(char_code(char) for char in children)
    choices = [rf'[^"\\\x00-\x1F\x7F{others}] key-char*']
    choices += [f"{literal(char)} {_others(node[char])}" for char in children]
    body = "(" + " | ".join(choices) + ")"
    return body if "" in node else f"{body}?"
