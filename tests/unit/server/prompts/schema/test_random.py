"""Schemas and values at random: a grammar accepts what is made for its schema, and only what is valid."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from server.errors import InvalidFormat
from server.prompts.grammar import grammar_for
from tests.support.grammars import GrammarMatcher, accepts

NAMES = st.sampled_from(["a", "ab", "b", "é", 'q"'])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-20, 20) | st.sampled_from(["", "a", "abc", 'q"\n']),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)
SCALARS = st.one_of(
    st.sampled_from([{"type": "null"}, {"type": "boolean"}, {"type": "string"}, {"type": "integer"}]),
    st.builds(
        lambda n, m: {"type": "integer", "minimum": n, "maximum": n + m},
        st.integers(-20, 20),
        st.integers(0, 20),
    ),
    st.builds(
        lambda n, m: {"type": "string", "minLength": n, "maxLength": n + m},
        st.integers(0, 3),
        st.integers(0, 3),
    ),
    st.builds(lambda values: {"enum": values}, st.lists(VALUES, min_size=1, max_size=3)),
)


def _object(properties: dict[str, Any], required: list[str], extra: Any) -> dict[str, Any]:
    kept = [key for key in properties if key in required]
    return {"type": "object", "properties": properties, "required": kept, "additionalProperties": extra}


SCHEMAS = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.builds(
            lambda item, n, m: {"type": "array", "items": item, "minItems": n, "maxItems": n + m},
            inner,
            st.integers(0, 2),
            st.integers(0, 2),
        ),
        st.builds(
            _object,
            st.dictionaries(NAMES, inner, min_size=1, max_size=3),
            st.lists(NAMES, max_size=3),
            st.booleans() | inner,
        ),
        st.builds(lambda choices: {"anyOf": choices}, st.lists(inner, min_size=1, max_size=3)),
    ),
    max_leaves=6,
)


def valid(value: Any, schema: Any) -> bool:
    """Whether a value satisfies a schema of the kinds above, properties in any order."""
    if isinstance(schema, bool):
        return schema
    if "anyOf" in schema:
        return any(valid(value, choice) for choice in schema["anyOf"])
    if "enum" in schema:
        return json.dumps(value) in [json.dumps(known) for known in schema["enum"]]
    match schema["type"]:
        case "null":
            return value is None
        case "boolean":
            return isinstance(value, bool)
        case "string":
            return isinstance(value, str) and schema.get("minLength", 0) <= len(value) <= schema.get(
                "maxLength", 99
            )
        case "integer":
            is_integer = isinstance(value, int) and not isinstance(value, bool)
            return is_integer and schema.get("minimum", value) <= value <= schema.get("maximum", value)
        case "array":
            if not isinstance(value, list) or not schema["minItems"] <= len(value) <= schema["maxItems"]:
                return False
            return all(valid(item, schema["items"]) for item in value)
    if not isinstance(value, dict) or not set(schema["required"]) <= value.keys():
        return False
    known = schema["properties"]
    return all(valid(item, known.get(key, schema["additionalProperties"])) for key, item in value.items())


def made_for(schema: Any, data: st.DataObject) -> Any:
    """A value that satisfies the schema, its properties in the schema's order."""
    if isinstance(schema, bool):
        return data.draw(VALUES)
    if "anyOf" in schema:
        return made_for(data.draw(st.sampled_from(schema["anyOf"])), data)
    if "enum" in schema:
        return data.draw(st.sampled_from(schema["enum"]))
    match schema["type"]:
        case "null":
            return None
        case "boolean":
            return data.draw(st.booleans())
        case "string":
            alphabet = st.characters(exclude_categories=["Cs"], exclude_characters="\x7f")
            sizes = {"min_size": schema.get("minLength", 0), "max_size": schema.get("maxLength", 8)}
            return data.draw(st.text(alphabet=alphabet, **sizes))
        case "integer":
            return data.draw(st.integers(schema.get("minimum", -99), schema.get("maximum", 99)))
        case "array":
            n_items = data.draw(st.integers(schema["minItems"], schema["maxItems"]))
            return [made_for(schema["items"], data) for _ in range(n_items)]
    made = {
        key: made_for(inner, data)
        for key, inner in schema["properties"].items()
        if key in schema["required"] or data.draw(st.booleans())
    }
    if schema["additionalProperties"] is not False and data.draw(st.booleans()):
        made["other"] = made_for(schema["additionalProperties"], data)
    return made


@settings(max_examples=150, deadline=None)
@given(SCHEMAS, st.data(), st.sampled_from([None, 2]))
def test_valid_values_are_accepted(schema: Any, data: st.DataObject, indent: int | None) -> None:
    value = made_for(schema, data)
    assert valid(value, schema)
    assert accepts(grammar_for(schema), json.dumps(value, ensure_ascii=False, indent=indent))


@settings(max_examples=150, deadline=None)
@given(SCHEMAS, VALUES)
def test_what_is_accepted_is_valid(schema: Any, value: Any) -> None:
    if accepts(grammar_for(schema), json.dumps(value, ensure_ascii=False)):
        assert valid(value, schema)


@settings(max_examples=100, deadline=None)
@given(
    st.recursive(
        VALUES,
        lambda inner: st.dictionaries(
            st.sampled_from(
                [
                    "type",
                    "properties",
                    "items",
                    "anyOf",
                    "allOf",
                    "enum",
                    "required",
                    "$ref",
                    "minimum",
                    "maxLength",
                    "pattern",
                    "additionalProperties",
                    "prefixItems",
                    "const",
                    "minItems",
                ]
            ),
            inner | st.sampled_from(["object", "string", "#", "integer"]),
            max_size=4,
        ),
    )
)
def test_any_schema_is_converted_or_refused(schema: Any) -> None:
    assume(isinstance(schema, dict))
    try:
        grammar = grammar_for(schema)
    except InvalidFormat as exc:
        assert exc.message
    else:
        GrammarMatcher(grammar).close()
