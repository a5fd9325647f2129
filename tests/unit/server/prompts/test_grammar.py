"""Grammars of formats, tried on llama.cpp's own grammar sampler."""

from __future__ import annotations

from typing import Any

import pytest

from server.errors import InvalidFormat
from server.prompts.grammar import grammar_for
from tests.support.grammars import check, texts


def test_no_format_has_no_grammar() -> None:
    assert grammar_for(None) == ""


def test_json_is_any_object() -> None:
    check(
        "json",
        ["{}", '{"a":1}', '{\n  "a": [1, -2.5e3, null, true, "x\\n\\u00e9é😀"],\n  "b": {}\n}'],
        ["[]", '"x"', '{"a":}', "{a:1}", '{"a":01}', '{"a":"\n"}', '{"a":1,}', "{}" + " " * 3],
    )


def test_blanks_are_bounded() -> None:
    check("json", ["{\n" + " " * 20 + '"a": 1}'], ["{" + " " * 2 + '"a":1}', "{\n\n\n}"])


ABC: dict[str, Any] = {
    "type": "object",
    "properties": {"a": {"type": "integer"}, "b": {"type": "string"}, "c": {"type": "boolean"}},
}


@pytest.mark.parametrize(
    ("changes", "good", "bad"),
    [
        (
            {"required": ["b"]},
            texts({"a": 1, "b": "x", "c": True}, {"b": ""}, {"a": -3, "b": ""}, {"b": "", "c": False}),
            texts({}, {"a": 1}, {"b": "x", "a": 1}, {"b": "x", "d": 1}, {"b": 1}, {"b": "", "c": 1}),
        ),
        (
            {},
            texts({}, {"a": 1}, {"c": True}, {"a": 1, "c": True}, {"a": 1, "b": "", "c": True}),
            texts({"z": 1}, {"c": True, "a": 1}),
        ),
        ({"required": ["a", "b", "c"]}, texts({"a": 1, "b": "x", "c": True}), texts({"a": 1, "c": True})),
        (
            {"additionalProperties": {"type": "number"}, "required": ["b"]},
            texts({"b": "x", "zz": 1.5}, {"b": "", "c": True, "ab": 1, "": 2}),
            [*texts({"b": "x", "zz": "s"}, {"zz": 1}), '{"b":"","b":1}', '{"b":"","\\u0062":1}'],
        ),
        (
            {"additionalProperties": True},
            texts({}, {"z": 1}, {"z": 1, "y": [1]}, {"a": 1, "z": None}, {"abc": 1}),
            texts({"z": 1, "a": 1}),
        ),
        (
            {"required": ["q"], "additionalProperties": {"type": "null"}},
            texts({"q": None}, {"a": 1, "q": None, "r": None}),
            texts({}, {"q": 1}),
        ),
        ({"maxProperties": 3, "minProperties": 0}, texts({}), texts([])),
    ],
    ids=["one required", "none", "all", "typed others", "any others", "required other", "counts"],
)
def test_objects(changes: dict[str, Any], good: list[str], bad: list[str]) -> None:
    check({**ABC, **changes}, good, bad)


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"type": "object"}, texts({}, {"a": [1]}), texts([], 1)),
        ({"additionalProperties": {"type": "string"}}, texts({}, {"a": "b", "c": ""}), texts({"a": 1})),
        (
            {"type": "object", "additionalProperties": True, "minProperties": 1, "maxProperties": 2},
            texts({"a": 1}, {"a": 1, "b": 2}),
            texts({}, {"a": 1, "b": 2, "c": 3}),
        ),
        ({"type": "object", "additionalProperties": False}, texts({}), texts({"a": 1})),
        ({"type": "array"}, texts([], [1, "a"]), texts({})),
        (
            {"items": {"type": "integer"}, "minItems": 1, "maxItems": 3},
            texts([1], [1, 2, 3]),
            texts([], [1, 2, 3, 4], ["a"]),
        ),
        ({"type": "array", "items": False}, texts([]), texts([1])),
        ({"type": "array", "maxItems": 0}, texts([]), texts([1])),
        (
            {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}], "items": False},
            texts([], [1], [1, "a"]),
            texts(["a"], [1, "a", 2]),
        ),
        (
            {"prefixItems": [{"type": "integer"}, {"type": "string"}], "minItems": 2},
            texts([1, "a"], [1, "a", None, {}]),
            texts([], [1], ["a", 1]),
        ),
        (
            {"prefixItems": [{"type": "integer"}], "items": {"type": "null"}, "minItems": 3},
            texts([1, None, None], [1, None, None, None]),
            texts([1, None], [1, 1, 1]),
        ),
        ({"type": "array", "items": [{"type": "null"}]}, texts([None], [None, 1]), texts([1])),
        ({"enum": ["a", 1, None, {"x": [1]}]}, texts("a", 1, None, {"x": [1]}), texts("b", 2, {"x": []})),
        ({"type": "string", "enum": ["a", 1]}, texts("a"), texts(1)),
        ({"type": "integer", "enum": [True, 1]}, texts(1), texts(True)),
        ({"const": 'x"y\\z\n\t é😀'}, texts('x"y\\z\n\t é😀'), texts("x")),
        ({"const": {}}, texts({}), texts([])),
        ({"type": ["string", "null"]}, texts("a", None), texts(1)),
        ({"type": "string", "nullable": True}, texts("a", None), texts(1)),
        ({"enum": ["a"], "nullable": True}, texts("a", None), texts(1)),
        ({"type": "number"}, ["1", "-0.5", "1e9"], ["01", ".5", "+1", '"1"']),
        ({"type": "null"}, ["null"], ["0"]),
        ({"type": "boolean"}, ["true", "false"], ["1"]),
        ({}, texts(1, {}, [], "x", None), ["x"]),
        ({"title": "T", "description": "d", "x-mine": 1}, texts(1), ["x"]),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, texts(1, None), texts("a")),
        ({"type": "integer", "anyOf": [{"minimum": 5}, {"maximum": 1}]}, texts(5, 1), texts(3, "a")),
        ({"anyOf": [{"type": "integer"}], "nullable": True}, texts(1, None), texts("a")),
        (
            {
                "allOf": [
                    {"properties": {"a": {"type": "integer"}}},
                    {"properties": {"a": {"minimum": 3}}, "required": ["a"]},
                ]
            },
            texts({"a": 3}),
            texts({}, {"a": 2}),
        ),
        ({"allOf": [{"type": ["integer", "string"]}, {"type": "number"}]}, texts(1), texts("a", 1.5)),
        ({"allOf": [{"enum": [1, 2, 3]}, {"enum": [2, 3, 4]}]}, texts(2, 3), texts(1, 4)),
        ({"allOf": [{"type": "string"}, {"maxLength": 3}, {"maxLength": 2}]}, texts("ab"), texts("abc")),
        (
            {
                "properties": {"x": {"type": "integer"}},
                "anyOf": [{"required": ["x"]}, {"properties": {"y": {"type": "null"}}, "required": ["y"]}],
            },
            texts({"x": 1}, {"x": 1, "y": None}, {"y": None}),
            texts({}, {"y": None, "x": 1}),
        ),
        ({"type": "integer", "multipleOf": 1, "uniqueItems": False}, texts(3), texts(0.5)),
    ],
)
def test_values_and_combinations(schema: dict[str, Any], good: list[str], bad: list[str]) -> None:
    check(schema, good, bad)


TREE = {
    "type": "object",
    "properties": {"k": {"type": "array", "items": {"$ref": "#/$defs/T"}}},
    "required": ["k"],
}


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        (
            {"$ref": "#/$defs/T", "$defs": {"T": TREE}},
            texts({"k": [{"k": []}, {"k": []}]}),
            texts({"k": [1]}),
        ),
        (
            {
                "properties": {"v": {"type": "integer"}, "n": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}},
                "required": ["v", "n"],
            },
            texts({"v": 1, "n": {"v": 2, "n": None}}),
            texts({"v": 1, "n": {}}),
        ),
        (
            {"items": {"$ref": "#/definitions/a~1b%20c"}, "definitions": {"a/b c": {"type": "integer"}}},
            texts([1]),
            texts(["x"]),
        ),
        (
            {"$ref": "#/$defs/n", "minimum": 3, "description": "d", "$defs": {"n": {"type": "integer"}}},
            texts(3),
            texts(2, "x"),
        ),
        (
            {
                "allOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/b"}],
                "$defs": {
                    "a": {"properties": {"x": {"type": "integer"}}, "required": ["x"]},
                    "b": {"properties": {"y": {"type": "integer"}}, "required": ["y"]},
                },
            },
            texts({"x": 1, "y": 2}),
            texts({"x": 1}, {"y": 2}),
        ),
    ],
    ids=["recursion", "root", "escapes", "beside", "allOf"],
)
def test_references(schema: dict[str, Any], good: list[str], bad: list[str]) -> None:
    check(schema, good, bad)


@pytest.mark.parametrize("least", [None, -120, -5, -1, 0, 1, 3, 99])
@pytest.mark.parametrize("most", [None, -3, -1, 0, 1, 7, 120, 1001])
@pytest.mark.parametrize("exclusive", [False, True])
def test_bounds_of_numbers(least: int | None, most: int | None, exclusive: bool) -> None:
    low, high = ("exclusiveMinimum", "exclusiveMaximum") if exclusive else ("minimum", "maximum")
    bounds = {key: value for key, value in ((low, least), (high, most)) if value is not None}

    def within(value: float) -> bool:
        above = least is None or value > least or (value == least and not exclusive)
        return above and (most is None or value < most or (value == most and not exclusive))

    for type_, values in (
        ("integer", [*range(-125, 130), 999, 1000, 1001, 1002, 5000, -5000]),
        ("number", [n / 4 for n in range(-490, 520)]),
    ):
        good = [str(value) for value in values if within(value)]
        bad = [str(value) for value in values if not within(value)]
        if good:
            check({"type": type_, **bounds}, good, [*bad, "01", "+1", "1e1000"] if bounds else bad)
        else:
            with pytest.raises(InvalidFormat):
                grammar_for({"type": type_, **bounds})
