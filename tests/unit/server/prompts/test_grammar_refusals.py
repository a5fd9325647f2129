"""Schemas that no grammar can hold, refused by the name of what cannot be enforced."""

from __future__ import annotations

import json
from typing import Any

import pytest

from server.errors import InvalidFormat
from server.prompts.grammar import grammar_for
from tests.support.grammars import check, texts


@pytest.mark.parametrize(
    ("schema", "keyword"),
    [
        ({"not": {}}, "not"),
        ({"if": {}}, "if"),
        ({"if": {}, "then": {}, "else": {}}, "else"),
        ({"not": {"type": "string"}, "type": "integer"}, "not"),
        ({"dependentRequired": {"a": ["b"]}}, "dependentRequired"),
        ({"dependentSchemas": {"a": {}}}, "dependentSchemas"),
        ({"unevaluatedItems": False}, "unevaluatedItems"),
        ({"type": "array", "uniqueItems": True}, "uniqueItems"),
        ({"type": "array", "uniqueItems": True, "maxItems": 2}, "uniqueItems"),
        ({"type": "array", "contains": {}}, "contains"),
        ({"type": "number", "multipleOf": 3}, "multipleOf"),
        ({"type": "integer", "multipleOf": 0}, "multipleOf"),
        ({"type": "integer", "multipleOf": 5, "minimum": 3}, "multipleOf"),
        ({"type": "number", "exclusiveMaximum": 0.5}, "maximum"),
        ({"type": "number", "minimum": 0.5}, "minimum"),
        ({"type": "integer", "minimum": "1"}, "minimum"),
        ({"patternProperties": {"a": {}, "b": {}}}, "patternProperties"),
        ({"patternProperties": {"a": {}}, "properties": {"ab": {}}}, "patternProperties"),
        ({"patternProperties": {"a": {}}, "required": ["b"]}, "patternProperties"),
        ({"patternProperties": {"a": False}}, "patternProperties"),
        ({"patternProperties": 3}, "patternProperties"),
        ({"patternProperties": {"(?=a)": {}}}, "pattern"),
        ({"propertyNames": {"pattern": "a"}, "properties": {"a": {}}}, "propertyNames"),
        ({"propertyNames": False}, "propertyNames"),
        ({"propertyNames": {"format": "date"}}, "format"),
        ({"propertyNames": {"enum": [1]}}, "enum"),
        ({"type": "object", "minProperties": 2}, "minProperties"),
        ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, "oneOf"),
        ({"oneOf": [{"enum": [1, 2]}, {"enum": [2.0]}]}, "oneOf"),
        ({"oneOf": [{"properties": {"a": {}}}, {"type": "object", "properties": {"b": {}}}]}, "oneOf"),
        ({"oneOf": [{"minimum": 3}, {"type": "string"}, True]}, "oneOf"),
        ({"allOf": [{"prefixItems": [{}]}, {"items": {"type": "null"}}]}, "prefixItems"),
        (
            {
                "allOf": [
                    {"properties": {"a": {}}, "unevaluatedProperties": False},
                    {"properties": {"b": {}}},
                ]
            },
            "unevaluatedProperties",
        ),
        (
            {
                "allOf": [
                    {"properties": {"a": {}}, "additionalProperties": {"type": "string"}},
                    {"properties": {"b": {"type": "integer"}}},
                ]
            },
            "type",
        ),
        ({"type": "object", "properties": {"a": {}}, "minProperties": 1}, "minProperties"),
        ({"type": "string", "format": "fancy"}, "format"),
        ({"type": "string", "format": "date", "pattern": "x"}, "format"),
        ({"type": "string", "pattern": "a*", "maxLength": 3}, "maxLength"),
        ({"type": "string", "pattern": "^a?$", "minLength": 1}, "minLength"),
        ({"type": "string", "minLength": 3, "maxLength": 2}, "minLength"),
        ({"type": "string", "minLength": -1}, "minLength"),
        ({"enum": ["abc"], "minLength": 5}, "minLength"),
        ({"enum": []}, "enum"),
        ({"type": "integer", "enum": ["a"]}, "enum"),
        ({"type": "thing"}, "type"),
        ({"type": []}, "type"),
        ({"anyOf": []}, "anyOf"),
        ({"anyOf": 3}, "anyOf"),
        ({"allOf": [{"type": "string"}, {"type": "integer"}]}, "type"),
        ({"allOf": [{"pattern": "a"}, {"pattern": "b"}]}, "pattern"),
        ({"allOf": [False]}, "allOf"),
        (
            {"allOf": [{"properties": {"a": {}}, "additionalProperties": False}, {"properties": {"b": {}}}]},
            "additionalProperties",
        ),
        ({"required": ["a"], "additionalProperties": False}, "required"),
        ({"properties": {"a": False}, "required": ["a"]}, "false"),
        ({"properties": 3}, "properties"),
        ({"$ref": "#/nowhere"}, "$ref"),
        ({"$ref": "https://example.com/schema"}, "$ref"),
        ({"$ref": 3}, "$ref"),
        ({"anyOf": [{"$ref": "#"}, {"type": "integer"}]}, "$ref"),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}, "$ref"),
        ({"allOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {"$ref": "#/$defs/a"}}}, "$ref"),
    ],
)
def test_what_cannot_be_enforced_is_refused_by_name(schema: dict[str, Any], keyword: str) -> None:
    with pytest.raises(InvalidFormat) as caught:
        grammar_for(schema)
    assert repr(keyword) in caught.value.message


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"type": "integer", "multipleOf": 10}, ["0", "10", "-200"], ["1", "15", "100.0"]),
        ({"type": "integer", "multipleOf": 2}, ["0", "2", "-14", "100"], ["1", "-3", "01"]),
        ({"type": "integer", "multipleOf": 50}, ["0", "50", "150"], ["20", "105"]),
        ({"type": "number", "multipleOf": 0.01}, ["0", "1.5", "-3.25", "10"], ["0.001", "1e2"]),
        ({"type": "number", "multipleOf": 1}, ["3", "-1"], ["0.5"]),
        ({"multipleOf": 5}, ["5", "10"], ["6", '"5"']),
        ({"type": "array", "uniqueItems": True, "maxItems": 1}, texts([], [1]), texts([1, 1])),
        ({"enum": [1, True]}, texts(1, True), texts(0)),
        ({"const": 1, "enum": [1.0, True]}, ["1"], ["true"]),
        ({"type": "integer", "enum": [1.0, 1.5]}, ["1.0"], ["1.5"]),
        (
            {"patternProperties": {"^x-": {"type": "integer"}}},
            texts({}, {"x-a": 1, "x-": 2}),
            texts({"a": 1}, {"x-a": "1"}),
        ),
        (
            {
                "properties": {"id": {"type": "null"}},
                "required": ["id"],
                "patternProperties": {r"^\d+$": {"type": "boolean"}},
                "additionalProperties": False,
            },
            texts({"id": None}, {"id": None, "12": True}),
            texts({"12": True}, {"id": None, "x": True}),
        ),
        (
            {"propertyNames": {"pattern": "^[a-z]$"}, "additionalProperties": {"type": "integer"}},
            texts({}, {"a": 1, "b": 2}),
            texts({"ab": 1}, {"a": "x"}),
        ),
        (
            {"propertyNames": {"enum": ["a", "é", 3]}, "minProperties": 1},
            texts({"a": [1]}, {"é": None}),
            texts({}, {"b": 1}),
        ),
        ({"propertyNames": {"maxLength": 2}}, texts({"ab": 1}, {"": 1}), texts({"abc": 1})),
        ({"oneOf": [{"type": "integer"}, {"type": "string"}]}, texts(1, "a"), texts(None)),
        (
            {
                "oneOf": [
                    {"properties": {"kind": {"const": "a"}}, "required": ["kind"], "type": "object"},
                    {"$ref": "#/$defs/b"},
                ],
                "$defs": {
                    "b": {
                        "allOf": [{"properties": {"kind": {"enum": ["b"]}}}],
                        "required": ["kind"],
                        "type": "object",
                    }
                },
            },
            texts({"kind": "a"}, {"kind": "b"}),
            texts({"kind": "c"}, {}),
        ),
        (
            {
                "oneOf": [
                    {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
                    {"type": "object", "properties": {"b": {"type": "integer"}}, "required": ["b"]},
                ]
            },
            texts({"a": 1}, {"b": 2}),
            texts({}, {"a": 1, "b": 2}),
        ),
        (
            {
                "allOf": [
                    {"properties": {"a": {}}, "additionalProperties": {"type": "integer"}},
                    {"properties": {"b": {"minimum": 3}}},
                ]
            },
            texts({"a": "x", "b": 3}),
            texts({"b": 2}),
        ),
    ],
)
def test_what_digits_names_and_choices_can_tell(
    schema: dict[str, Any], good: list[str], bad: list[str]
) -> None:
    check(schema, good, bad)


def test_the_place_is_a_json_pointer() -> None:
    schema = {"properties": {"a/b": {"items": {"properties": {"c~d": {"not": {}}}}}}}
    with pytest.raises(InvalidFormat) as caught:
        grammar_for(schema)
    assert "'not' at #/properties/a~1b/items/properties/c~0d " in caught.value.message


def test_a_schema_beyond_the_bounds_is_refused() -> None:
    deep: dict[str, Any] = {}
    for _ in range(200):
        deep = {"items": deep}
    wide = {"properties": {f"p{n}": {"type": "string", "maxLength": n} for n in range(5000)}}
    for schema in (deep, wide):
        with pytest.raises(InvalidFormat):
            grammar_for(schema)


def test_the_same_schema_is_converted_once() -> None:
    schema = {"type": "object", "properties": {"once": {"type": "integer"}}}
    assert grammar_for(schema) is grammar_for(json.loads(json.dumps(schema)))


def test_an_enum_that_is_no_list_is_refused_beside_a_const_too() -> None:
    for schema in ({"enum": None}, {"enum": None, "const": "x"}):
        with pytest.raises(InvalidFormat, match="enum"):
            grammar_for(schema)
