"""JSON schemas as GBNF grammars: what the grammar accepts, the schema accepts.

Properties come in the order of the schema. What a grammar cannot enforce is refused by name, so that nobody
takes an unconstrained answer for a constrained one. Of `oneOf` at least one choice holds, as of `anyOf`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from server.errors import InvalidFormat
from server.prompts.schema.gbnf import json_literal, repeat, with_dependencies
from server.prompts.schema.merge import merged
from server.prompts.schema.numbers import integer_range, number_range
from server.prompts.schema.reading import (
    ANNOTATIONS,
    Schema,
    check_keywords,
    count,
    number_bounds,
    object_parts,
    refused,
    resolve_pointer,
    types_of,
)
from server.prompts.schema.strings import ONE_CHAR, other_key, string_piece
from server.types.messages import JsonObject

MAX_DEPTH = 48
MAX_RULES = 4000
MAX_GRAMMAR_CHARS = 1 << 20

_COMMA = '"," ws'
_NAME = re.compile(r"[a-z][a-z0-9-]*")
_KINDS: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "array": list,
    "object": dict,
}


def schema_grammar(schema: JsonObject) -> str:
    """GBNF with the root rule "root". Raises InvalidFormat naming the keyword that cannot be enforced."""
    return _Converter(schema).convert()


class _Converter:
    def __init__(self, root: JsonObject) -> None:
        self._root = root
        self._rules: dict[str, str] = {}
        self._json_rules: set[str] = {"ws"}
        self._ref_rules: dict[str, str] = {}
        self._left_refs: dict[str, set[str]] = {}  # references that another one may begin with
        self._open_ref = ""  # the reference being written, while nothing of it was written yet
        self._depth = 0

    def convert(self) -> str:
        body = self._visit(self._root, "#")
        self._check_loops()
        rules = {"root": body, **self._rules, **with_dependencies(self._json_rules)}
        text = "".join(f"{name} ::= {rule}\n" for name, rule in rules.items())
        if len(text) > MAX_GRAMMAR_CHARS:
            raise InvalidFormat(f"format is too large: its grammar has {len(text)} characters")
        return text

    # rules

    def _rule(self, body: str) -> str:
        """A name for the body; a body that is a name already stays."""
        if _NAME.fullmatch(body):
            return body
        name = f"r{len(self._rules)}"
        self._set_rule(name, body)
        return name

    def _set_rule(self, name: str, body: str) -> None:
        self._rules[name] = body
        if len(self._rules) > MAX_RULES:
            raise InvalidFormat(f"format is too large: it takes more than {MAX_RULES} grammar rules")

    def _json(self, name: str) -> str:
        self._json_rules.add(name)
        return name

    @contextmanager
    def _deeper(self, path: str, open_ref: str) -> Iterator[None]:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise InvalidFormat(f"format is nested deeper than {MAX_DEPTH} levels at {path[:80]}")
        outer, self._open_ref = self._open_ref, open_ref
        yield
        self._open_ref = outer
        self._depth -= 1

    def _part(self, schema: Schema, path: str) -> str:
        """The rule of what stands inside a list or an object."""
        with self._deeper(path, ""):
            return self._rule(self._visit(schema, path))

    def _instead(self, schema: Schema, path: str) -> str:
        """The body for another schema in the place of this one."""
        with self._deeper(path, self._open_ref):
            return self._visit(schema, path)

    # schemas

    def _visit(self, schema: Schema, path: str) -> str:
        """The body of a rule for the schema."""
        if schema is True:
            return self._json("value")
        if not isinstance(schema, dict):
            raise refused("false" if schema is False else repr(schema), path, "nothing can satisfy it")
        check_keywords(schema, path)
        if "$ref" in schema:
            return self._reference(schema, path)
        if "allOf" in schema:
            return self._all_of(schema, path)
        for keyword in ("anyOf", "oneOf"):
            if keyword in schema:
                return self._any_of(schema, keyword, path)
        if "const" in schema or "enum" in schema:
            return self._literals(schema, path)
        types = types_of(schema, path)
        if not types:
            return self._json("value")
        bodies = [self._typed(schema, type_, path) for type_ in types]
        if schema.get("nullable") is True and "null" not in types:
            bodies.append(self._json("null"))
        return " | ".join(bodies)

    def _typed(self, schema: JsonObject, type_: str, path: str) -> str:
        if type_ == "object":
            return self._object(schema, path)
        if type_ == "array":
            return self._array(schema, path)
        if type_ == "string":
            return self._string(schema, path)
        if type_ in ("integer", "number"):
            return self._number(schema, type_, path)
        return self._json(type_)

    def _string(self, schema: JsonObject, path: str) -> str:
        body = string_piece(schema, path)
        if body is None:
            return self._json("string")
        if ONE_CHAR in body:
            self._json(ONE_CHAR)
        return f'"\\"" ({body}) "\\""' if body else '"\\"\\""'

    def _number(self, schema: JsonObject, type_: str, path: str) -> str:
        bounds = number_bounds(schema, type_, path)
        if bounds is None:
            return self._json(type_)
        body = integer_range(bounds) if type_ == "integer" else number_range(bounds)
        if body is None:
            raise refused("minimum", path, "no number is within the bounds")
        return body

    # combinations

    def _reference(self, schema: JsonObject, path: str) -> str:
        pointer = schema["$ref"]
        target = resolve_pointer(self._root, pointer, path)
        others = {key: value for key, value in schema.items() if key != "$ref" and key not in ANNOTATIONS}
        if others:
            return self._instead(merged([target, others], path, self._resolved), path)
        if self._open_ref:
            self._left_refs.setdefault(self._open_ref, set()).add(pointer)
        if pointer not in self._ref_rules:
            name = self._ref_rules[pointer] = f"ref{len(self._ref_rules)}"
            with self._deeper(path, pointer):
                self._set_rule(name, self._visit(target, pointer))
        return self._ref_rules[pointer]

    def _check_loops(self) -> None:
        """A reference that may begin with itself says nothing."""
        for start in self._left_refs:
            reached: set[str] = set()
            waiting = [start]
            while waiting:
                for pointer in self._left_refs.get(waiting.pop(), set()) - reached:
                    reached.add(pointer)
                    waiting.append(pointer)
            if start in reached:
                raise refused("$ref", start, "it refers to itself")

    def _resolved(self, schema: Any, path: str) -> Any:
        """The schema with its reference replaced by what it refers to."""
        for _ in range(MAX_DEPTH):
            if not isinstance(schema, dict) or "$ref" not in schema:
                return schema
            target = resolve_pointer(self._root, schema["$ref"], path)
            others = {key: value for key, value in schema.items() if key != "$ref"}
            schema = {"allOf": [target, others]} if others.keys() - ANNOTATIONS else target
        raise refused("$ref", path, "it refers to itself")

    def _all_of(self, schema: JsonObject, path: str) -> str:
        if not isinstance(schema["allOf"], list):
            raise refused("allOf", path, "it must be a list of schemas")
        return self._instead(merged([schema], path, self._resolved), path)

    def _any_of(self, schema: JsonObject, keyword: str, path: str) -> str:
        choices = schema[keyword]
        if not isinstance(choices, list) or not choices:
            raise refused(keyword, path, "it must be a list of schemas")
        others = {key: value for key, value in schema.items() if key != keyword and key not in ANNOTATIONS}
        if others.pop("nullable", False):
            choices = [*choices, {"type": "null"}]
        bodies: list[str] = []
        for at, choice in enumerate(choices):
            place = f"{path}/{keyword}/{at}"
            bodies.append(
                self._instead(merged([others, choice], place, self._resolved) if others else choice, place)
            )
        return " | ".join(dict.fromkeys(bodies))

    def _literals(self, schema: JsonObject, path: str) -> str:
        keyword = "const" if "const" in schema else "enum"
        values = [schema["const"]] if "const" in schema else schema["enum"]
        if not (isinstance(values, list) and isinstance(schema.get("enum", []), list)):
            raise refused("enum", path, "it must be a list of values")
        others = schema.keys() & _VALUE_KEYWORDS
        if others:
            raise refused(min(others), path, f"it stands beside {keyword}")
        types = types_of(schema, path)
        kept = [value for value in values if not types or any(_is_a(value, type_) for type_ in types)]
        if "const" in schema and "enum" in schema:
            kept = [value for value in kept if value in schema["enum"]]
        if schema.get("nullable") is True:
            kept.append(None)
        if not kept:
            raise refused(keyword, path, "nothing can satisfy it")
        return " | ".join(dict.fromkeys(json_literal(value) for value in kept))

    # lists and objects

    def _array(self, schema: JsonObject, path: str) -> str:
        first, rest = schema.get("prefixItems", []), schema.get("items", True)
        if isinstance(rest, list):  # the form of older drafts
            first, rest = rest, schema.get("additionalItems", True)
        if not isinstance(first, list):
            raise refused("prefixItems", path, "it must be a list of schemas")
        least, most = count(schema, "minItems", path) or 0, count(schema, "maxItems", path)
        if rest is False:
            most = len(first) if most is None else min(most, len(first))
        if most is not None and most < least:
            raise refused("minItems", path, "it is more than the list may hold")
        kept = first if most is None else first[:most]
        heads = [self._part(item, f"{path}/prefixItems/{at}") for at, item in enumerate(kept)]
        n_more = None if most is None else most - len(heads)
        tail = None if n_more == 0 else self._part(rest, f"{path}/items")
        return f'"[" ws {_listed(heads, tail, least, n_more)} ws "]"'

    def _object(self, schema: JsonObject, path: str) -> str:
        properties, required, extra = object_parts(schema, path)
        least, most = count(schema, "minProperties", path) or 0, count(schema, "maxProperties", path)
        if properties:
            if least > len(required):
                raise refused("minProperties", path, "it stands beside properties")
            if most is not None and (extra is not False or most < len(properties)):
                raise refused("maxProperties", path, "it stands beside properties")
            return f'"{{" ws {self._pairs(properties, required, extra, path)} ws "}}"'
        most = 0 if extra is False else most
        if most is not None and most < least:
            raise refused("minProperties", path, "it is more than the object may hold")
        if extra is True and not least and most is None:
            return self._json("object")
        pair = None if most == 0 else self._extra_pair(extra, path, ())
        return f'"{{" ws {_listed([], pair, least, most)} ws "}}"'

    def _pairs(
        self, properties: dict[str, Schema], required: frozenset[str], extra: Schema, path: str
    ) -> str:
        """The pairs of an object in the order of its properties, commas between those that are there."""
        after = start = '""'  # what may follow a pair, and what may come while there is none
        if extra is not False:
            pair = self._extra_pair(extra, path, tuple(properties))
            after, start = self._rule(f"({_COMMA} {pair})*"), f"({pair} ({_COMMA} {pair})*)?"
        for key in reversed(properties):
            value = self._part(properties[key], f"{path}/properties/{key}")
            pair = self._rule(f'{json_literal(key)} ":" ws {value}')
            skipped = "" if key in required else f" | {start}"
            start = self._rule(f"{pair} {after}{skipped}")
            after = self._rule(f"{_COMMA} {pair} {after}" + ("" if key in required else f" | {after}"))
        return start

    def _extra_pair(self, extra: Schema, path: str, taken: tuple[str, ...]) -> str:
        """A pair whose key is none of those taken."""
        key = self._json("string")
        if taken:
            self._json("key-char")
            key = self._rule(other_key(taken))
        return self._rule(f'{key} ":" ws {self._part(extra, f"{path}/additionalProperties")}')


_VALUE_KEYWORDS = frozenset(
    """exclusiveMaximum exclusiveMinimum format items maxItems maxLength maximum minItems minLength minimum
    pattern prefixItems properties required""".split()
)


def _listed(heads: list[str], tail: str | None, least: int, n_more: int | None) -> str:
    """Items with commas between: the heads in order, then at most `n_more` tails; at least `least` in all."""
    body = ""
    if tail is not None and heads:
        body = repeat(f"({_COMMA} {tail})", max(least - len(heads), 0), n_more)
    elif tail is not None:
        more = repeat(f"({_COMMA} {tail})", max(least - 1, 0), None if n_more is None else n_more - 1)
        body = f"{tail} {more}" if least else f"({tail} {more})?"
    for at in range(len(heads) - 1, -1, -1):
        comma = f"{_COMMA} " if at else ""
        body = f"{comma}{heads[at]} {body}"
        body = body if at < least else f"({body})?"
    return body or '""'


def _is_a(value: Any, type_: str) -> bool:
    if type_ == "null":
        return value is None
    if isinstance(value, bool):
        return type_ == "boolean"
    return type_ in _KINDS and isinstance(value, _KINDS[type_])
