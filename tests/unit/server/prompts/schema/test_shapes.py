"""Schemas whose keywords are not what they must be are refused by name, and in no other way."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.errors import InvalidFormat
from server.prompts.grammar import grammar_for
from tests.support.grammars import accepts

KEYWORDS = (
    "type properties required additionalProperties minProperties maxProperties patternProperties items "
    "propertyNames prefixItems minItems maxItems pattern minLength maxLength format minimum maximum nullable "
    "not exclusiveMinimum exclusiveMaximum multipleOf anyOf oneOf allOf enum const $ref $defs uniqueItems "
    "additionalItems unevaluatedProperties definitions"
).split()
JUNK = st.sampled_from(
    [
        None, True, False, 0, 1, -1, 1.5, 10**40, float("inf"), float("nan"), "", "a", "object", "string",
        "integer", "#", "#/a", "#/$defs/a", [], {}, [1], ["a"], [None], [{}], {"a": 1}, {"a": {}},
        {"a": {"type": "string"}}, ["string", "null"], [[]], {"type": "x"}, "[", "(a",
        "a{99999}", "\\", "^a$", "date", "null",
    ]
)  # fmt: skip
schemas = st.recursive(
    st.dictionaries(st.sampled_from(KEYWORDS), JUNK, max_size=4),
    lambda inner: st.dictionaries(
        st.sampled_from(KEYWORDS),
        JUNK
        | inner
        | st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
        max_size=4,
    ),
    max_leaves=12,
)


@settings(max_examples=500)
@given(schemas)
def test_a_strange_schema_makes_a_grammar_or_is_refused(schema: dict[str, Any]) -> None:
    try:
        assert grammar_for(schema).startswith("root ::= ")
    except InvalidFormat as error:
        assert error.message.startswith("format")


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": 1}, "'type' at #"),
        ({"properties": {"a": {"required": "b"}}}, "'required' at #/properties/a"),
        ({"properties": {"a": 1}}, "'properties' at #"),
        ({"anyOf": ["string", "null"]}, "'anyOf' at #"),
        ({"allOf": [{"required": 1}, {"required": 2}]}, "'required' at #/allOf/0"),
        ({"allOf": [{"properties": []}, {"properties": {}}]}, "'properties' at #/allOf/0"),
        ({"type": "string", "format": []}, "'format' at #"),
        ({"type": "object", "minProperties": float("inf")}, "'minProperties' at #"),
        ({"$ref": "#/x", "x": {"type": {}}}, "'type' at #/x"),
        ({"$ref": "#/x", "x": 1}, "there must be a schema at #/x"),
        ({"items": {"items": {"enum": "a"}}}, "'enum' at #/items/items"),
    ],
)
def test_the_keyword_and_its_place_are_named(schema: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidFormat) as caught:
        grammar_for(schema)
    assert words in caught.value.message


def test_null_is_a_keyword_that_is_not_given() -> None:
    given_ = {"type": "string", "pattern": None, "minLength": None, "format": None}
    assert grammar_for(given_) == grammar_for({"type": "string"})
    parts = {"allOf": [{"type": "string", "maxLength": None}, {"maxLength": 2}]}
    assert not accepts(grammar_for(parts), '"abc"')


@pytest.mark.parametrize("year", [1, 4, 1900, 2000, 2023, 2024, 9999])
def test_dates_are_those_of_the_calendar(year: int) -> None:
    grammar = grammar_for({"type": "string", "format": "date"})
    for month in range(14):
        for day in (0, 1, 9, 10, 19, 20, 28, 29, 30, 31, 32):
            text = f"{year:04}-{month:02}-{day:02}"
            try:
                datetime.date.fromisoformat(text)
                is_date = True
            except ValueError:
                is_date = False
            assert accepts(grammar, f'"{text}"') == is_date
    assert not accepts(grammar, '"0000-01-01"')
