"""Strings of a schema as GBNF, without the quotes."""

from __future__ import annotations

from server.prompts.schema.formats import FORMATS, UNCONSTRAINED
from server.prompts.schema.gbnf import char_code, literal, repeat
from server.prompts.schema.patterns import Piece, UnsupportedPattern, pattern_piece
from server.prompts.schema.reading import count, refused
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
