"""JSON schemas as GBNF grammars: what the grammar accepts, the schema accepts.

Properties come in the order of the schema. What a grammar cannot enforce is refused by name, so that nobody
takes an unconstrained answer for a constrained one. The choices of `oneOf` must exclude each other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from server.errors import InvalidFormat
from server.prompts.schema.exclusive import may_satisfy
from server.prompts.schema.gbnf import COMMA, json_literal, listed, with_dependencies
from server.prompts.schema.merge import merged
from server.prompts.schema.numbers import integer_range, number_range
from server.prompts.schema.reading import (
    ANNOTATIONS,
    Schema,
    check_keywords,
    count,
    is_a,
    is_among,
    multiples_of,
    number_bounds,
    object_parts,
    pointer,
    refused,
    resolve_pointer,
    types_of,
)
from server.prompts.schema.shapes import check_shapes
from server.prompts.schema.strings import ONE_CHAR, key_piece, matches_any, other_key, string_piece
from server.types.messages import JsonObject

MAX_DEPTH = 48
MAX_RULES = 4000
MAX_GRAMMAR_CHARS = 1 << 20
MAX_CHOICES = 64
"""Choices of one `oneOf`, each of which is compared with each other."""

_NAME = re.compile(r"[a-z][a-z0-9-]*")


def schema_grammar(schema: JsonObject) -> str:
    """GBNF with the root rule "root". Raises InvalidFormat naming the keyword that cannot be enforced."""
    return _Converter(schema).convert()


class _Converter:
    def __init__(self, root: JsonObject) -> None:
        self._root = root
        self._rules: dict[str, str] = {}
        self._json_rules: set[str] = {"ws"}
        self._ref_rules: dict[str, str] = {}
        self._checked_refs: set[str] = set()
        self._left_refs: dict[str, set[str]] = {}  # references that another one may begin with
        self._open_ref = ""  # the reference being written, while nothing of it was written yet
        self._depth = 0

    def convert(self) -> str:
        check_shapes(self._root, "#")
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
        self._with_chars(body)
        return f'"\\"" ({body}) "\\""' if body else '"\\"\\""'

    def _number(self, schema: JsonObject, type_: str, path: str) -> str:
        bounds = number_bounds(schema, type_, path)
        step = schema.get("multipleOf")
        if step is not None and not (step == 1 and type_ == "integer"):
            return multiples_of(step, bounds, type_, path)
        if bounds is None:
            return self._json(type_)
        body = integer_range(bounds) if type_ == "integer" else number_range(bounds)
        if body is None:
            raise refused("minimum", path, "no number is within the bounds")
        return body

    # combinations

    def _reference(self, schema: JsonObject, path: str) -> str:
        reference = schema["$ref"]
        target = self._target(reference, path)
        others = {key: value for key, value in schema.items() if key != "$ref" and key not in ANNOTATIONS}
        if others:
            return self._instead(merged([target, others], path, self._resolved), path)
        if self._open_ref:
            self._left_refs.setdefault(self._open_ref, set()).add(reference)
        if reference not in self._ref_rules:
            name = self._ref_rules[reference] = f"ref{len(self._ref_rules)}"
            with self._deeper(path, reference):
                self._set_rule(name, self._visit(target, reference))
        return self._ref_rules[reference]

    def _target(self, reference: str, path: str) -> Schema:
        """What a reference refers to."""
        target: Schema = resolve_pointer(self._root, reference, path)
        if reference not in self._checked_refs:
            self._checked_refs.add(reference)
            check_shapes(target, reference)
        return target

    def _check_loops(self) -> None:
        """A reference that may begin with itself says nothing."""
        for start in self._left_refs:
            reached: set[str] = set()
            waiting = [start]
            while waiting:
                for reference in self._left_refs.get(waiting.pop(), set()) - reached:
                    reached.add(reference)
                    waiting.append(reference)
            if start in reached:
                raise refused("$ref", start, "it refers to itself")

    def _resolved(self, schema: Any, path: str) -> Any:
        """The schema with its reference replaced by what it refers to."""
        for _ in range(MAX_DEPTH):
            if not isinstance(schema, dict) or "$ref" not in schema:
                return schema
            target = self._target(schema["$ref"], path)
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
        if keyword == "oneOf":
            self._check_exclusive(choices, path)
        others = {key: value for key, value in schema.items() if key != keyword and key not in ANNOTATIONS}
        if others.pop("nullable", False):
            choices = [*choices, {"type": "null"}]
        bodies: list[str] = []
        for at, choice in enumerate(choices):
            place = pointer(path, keyword, at)
            bodies.append(
                self._instead(merged([others, choice], place, self._resolved) if others else choice, place)
            )
        return " | ".join(dict.fromkeys(bodies))

    def _check_exclusive(self, choices: list[Schema], path: str) -> None:
        """Raise InvalidFormat when a document that is made for one choice might satisfy another."""

        def flat(schema: Any) -> Schema:
            whole: Schema = self._resolved(schema, path)
            return merged([whole], path, self._resolved) if isinstance(whole, dict) else whole

        if len(choices) > MAX_CHOICES:
            raise refused("oneOf", path, f"it has more than {MAX_CHOICES} choices")
        for at, choice in enumerate(choices):
            for other_at, other in enumerate(choices):
                if at != other_at and may_satisfy(choice, other, flat):
                    why = f"what is made for choice {at} may satisfy choice {other_at} too; anyOf allows that"
                    raise refused("oneOf", path, why)

    def _literals(self, schema: JsonObject, path: str) -> str:
        keyword = "const" if "const" in schema else "enum"
        values = [schema["const"]] if "const" in schema else schema["enum"]
        if not (isinstance(values, list) and isinstance(schema.get("enum", []), list)):
            raise refused("enum", path, "it must be a list of values")
        others = schema.keys() & _VALUE_KEYWORDS
        if others:
            raise refused(min(others), path, f"it stands beside {keyword}")
        types = types_of(schema, path)
        kept = [value for value in values if not types or any(is_a(value, type_) for type_ in types)]
        if "const" in schema and "enum" in schema:
            kept = [value for value in kept if is_among(value, schema["enum"])]
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
        heads = [self._part(item, pointer(path, "prefixItems", at)) for at, item in enumerate(kept)]
        n_more = None if most is None else most - len(heads)
        tail = None if n_more == 0 else self._part(rest, pointer(path, "items"))
        return f'"[" ws {listed(heads, tail, least, n_more)} ws "]"'

    def _object(self, schema: JsonObject, path: str) -> str:
        properties, required, extra = object_parts(schema, path)
        least, most = count(schema, "minProperties", path) or 0, count(schema, "maxProperties", path)
        key, extra = self._other_names(schema, properties, extra, path)
        if properties:
            if least > len(required):
                raise refused("minProperties", path, "it stands beside properties")
            if most is not None and (extra is not False or most < len(properties)):
                raise refused("maxProperties", path, "it stands beside properties")
            return f'"{{" ws {self._pairs(properties, required, extra, path, key)} ws "}}"'
        most = 0 if extra is False else most
        if most is not None and most < least:
            raise refused("minProperties", path, "it is more than the object may hold")
        if least > 1:
            raise refused("minProperties", path, "names may repeat")
        if extra is True and not least and most is None and not key:
            return self._json("object")
        pair = None if most == 0 else self._extra_pair(extra, path, (), key)
        return f'"{{" ws {listed([], pair, least, most)} ws "}}"'

    def _other_names(
        self, schema: JsonObject, properties: dict[str, Schema], extra: Schema, path: str
    ) -> tuple[str, Schema]:
        """GBNF for the names beside the properties, "" for any, and the schema of their values."""
        names = schema.get("propertyNames", True)
        patterns = schema.get("patternProperties", {})
        if not isinstance(patterns, dict):
            raise refused("patternProperties", path, "it must be an object of schemas")
        if names not in (True, {}) and (properties or patterns):
            raise refused("propertyNames", path, "it stands beside properties")
        if len(patterns) > 1:
            raise refused("patternProperties", path, "a name may match several patterns")
        for pattern, value in patterns.items():
            key = key_piece({"pattern": pattern}, pointer(path, "patternProperties", pattern))
            if value is False or matches_any(pattern, properties):
                raise refused("patternProperties", path, f"{pattern!r} concerns other properties")
            return self._with_chars(key or ""), value
        key = key_piece(names, pointer(path, "propertyNames"))
        return self._with_chars(key or ""), extra

    def _with_chars(self, body: str) -> str:
        """The body, once the rule of single characters is there if it needs it."""
        if ONE_CHAR in body:
            self._json(ONE_CHAR)
        return body

    def _pairs(
        self, properties: dict[str, Schema], required: frozenset[str], extra: Schema, path: str, key: str
    ) -> str:
        """The pairs of an object in the order of its properties, commas between those that are there."""
        after = start = '""'  # what may follow a pair, and what may come while there is none
        if extra is not False:
            pair = self._extra_pair(extra, path, tuple(properties), key)
            after, start = self._rule(f"({COMMA} {pair})*"), f"({pair} ({COMMA} {pair})*)?"
        for name in reversed(properties):
            value = self._part(properties[name], pointer(path, "properties", name))
            pair = self._rule(f'{json_literal(name)} ":" ws {value}')
            skipped = "" if name in required else f" | {start}"
            start = self._rule(f"{pair} {after}{skipped}")
            after = self._rule(f"{COMMA} {pair} {after}" + ("" if name in required else f" | {after}"))
        return start

    def _extra_pair(self, extra: Schema, path: str, taken: tuple[str, ...], key: str) -> str:
        """A pair whose name is none of those taken; `key`: GBNF of the names, "" for any."""
        if not key:
            key = self._json("string")
            if taken:
                self._json("key-char")
                key = other_key(taken)
        value = self._part(extra, pointer(path, "additionalProperties"))
        return self._rule(f'{self._rule(key)} ":" ws {value}')


_VALUE_KEYWORDS = frozenset(
    """additionalProperties exclusiveMaximum exclusiveMinimum format items maxItems maxLength maxProperties
    maximum minItems minLength minProperties minimum multipleOf pattern patternProperties prefixItems
    properties propertyNames required""".split()
)
