"""Whatever a model likes, what it writes under a schema is valid by the schema, or the schema is refused."""

from __future__ import annotations

import json
import re
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.engine.candidates import Candidates
from server.engine.model import Model
from server.engine.sampler import Sampler
from server.errors import InvalidFormat
from server.prompts.grammar import grammar_for
from server.types.generation import SamplingParams

REFUSAL = re.compile(r"format: '[^']+' at #\S*")
NAMES = st.sampled_from(["a", "b", "ab", "x/y", 'q"', "é"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-20, 20) | st.sampled_from(["", "a", "abc", 1.5, 1.0]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=2),
    max_leaves=4,
)
COUNTS = st.integers(0, 4)
PATTERNS = st.sampled_from(["^a", "b$", "^[a-c]{1,3}$", "x|y", r"^\d+$", "(", "é", "^(ab|cd)+$", "(?=a)"])


def some(**keywords: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """A schema with some of the keywords."""
    return st.fixed_dictionaries({}, optional=keywords)


BOUNDS = st.integers(-30, 30) | st.sampled_from([0.5, -1.5, 2.0, 1e9])
SCALARS = st.one_of(
    st.sampled_from([{"type": name} for name in ("null", "boolean", "string", "integer", "number")]),
    some(
        type=st.sampled_from(["integer", "number", ["integer", "null"]]),
        minimum=BOUNDS,
        maximum=BOUNDS,
        exclusiveMinimum=BOUNDS,
        exclusiveMaximum=BOUNDS,
    ),
    some(
        type=st.sampled_from(["integer", "number"]),
        multipleOf=st.sampled_from([1, 2, 5, 10, 100, 3, 0.1, 0.01, 2.5]),
    ),
    some(
        type=st.sampled_from(["string", ["string", "integer"]]),
        minLength=COUNTS,
        maxLength=COUNTS,
        pattern=PATTERNS,
        format=st.sampled_from(["date", "ipv4", "uuid", "email", "fancy"]),
    ),
    some(
        enum=st.lists(VALUES, max_size=3), const=VALUES, type=st.sampled_from(["integer", "string", "object"])
    ),
)


def compound(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    any_schema = inner | st.booleans() | st.sampled_from([{"$ref": "#"}, {"$ref": "#/$defs/d"}])
    several = st.lists(any_schema, min_size=1, max_size=3)
    array = some(
        type=st.just("array"),
        items=any_schema,
        prefixItems=several,
        minItems=COUNTS,
        maxItems=COUNTS,
        uniqueItems=st.booleans(),
    )
    structure = some(
        type=st.just("object"),
        properties=st.dictionaries(NAMES, any_schema, max_size=3),
        required=st.lists(NAMES, max_size=2),
        additionalProperties=any_schema,
        patternProperties=st.dictionaries(PATTERNS, any_schema, max_size=1),
        propertyNames=some(pattern=PATTERNS, maxLength=COUNTS, enum=st.lists(NAMES, max_size=2)),
        minProperties=COUNTS,
        maxProperties=COUNTS,
    )
    beyond = some(
        **{
            "not": any_schema,
            "if": any_schema,
            "then": any_schema,
            "else": any_schema,
            "contains": any_schema,
            "dependentRequired": st.dictionaries(NAMES, st.lists(NAMES, max_size=2), max_size=2),
            "unevaluatedProperties": any_schema,
            "type": st.sampled_from(["object", "array", "integer"]),
        }
    )
    both = some(anyOf=several, oneOf=several, allOf=several, type=st.sampled_from(["object", "integer"]))
    mixed = st.builds(lambda one, other: {**one, **other}, both, structure | SCALARS)
    return array | structure | structure | both | mixed | beyond


SCHEMAS = st.builds(
    lambda schema, shared: {**schema, "$defs": {"d": shared}},
    st.recursive(SCALARS, compound, max_leaves=8),
    SCALARS,
)


def text_of(model: Model, gbnf: str, seed: int) -> str | None:
    """What a model of random likes writes; None when it comes to no end."""
    params = SamplingParams(seed=seed % 2**31, temperature=1.5, grammar=gbnf)
    sampler = Sampler(model, params, 512, Candidates(model.n_vocab))
    rng = np.random.default_rng(seed)
    closers = [token for text in ('"', "}", "]", '"}', "0") for token in model.tokenize(text)[-1:]]
    data = b""
    try:
        for step in range(250):
            row = rng.normal(0, 3, model.n_vocab).astype(np.float32)
            row[model.eos] += 0.5 * step
            row[closers] += 0.1 * step
            token = sampler.sample(row)
            sampler.accept(token)
            if model.is_eog(token):
                return data.decode()
            data += model.piece(token)
    finally:
        sampler.close()
    return None


@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
@given(schema=SCHEMAS, seed=st.integers(0, 2**32))
def test_a_random_walk_through_the_grammar_is_valid(spark: Model, schema: dict[str, Any], seed: int) -> None:
    try:
        grammar = grammar_for(schema)
    except InvalidFormat as error:
        assert REFUSAL.match(error.message) or "nested deeper" in error.message, error.message
        return
    text = text_of(spark, grammar, seed)
    if text is not None:
        check(schema, text)


def check(schema: dict[str, Any], text: str) -> None:
    validator = jsonschema.Draft202012Validator(
        schema, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
    )
    document = json.loads(text)
    errors = [error.message for error in validator.iter_errors(document) if error.validator != "multipleOf"]
    assert not errors, (text, errors)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    "schema",
    [
        {
            "type": "object",
            "properties": {
                "value": {"type": "integer"},
                "next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]},
            },
            "required": ["value", "next"],
        },
        {"type": "object", "patternProperties": {"^x-[a-z]+$": {"type": "integer"}}, "minProperties": 1},
        {
            "type": "object",
            "propertyNames": {"pattern": "^[a-z]{2}$"},
            "additionalProperties": {"type": "null"},
        },
        {"type": "array", "items": {"type": "number", "exclusiveMinimum": 3, "maximum": 12}, "minItems": 3},
        {
            "oneOf": [
                {
                    "type": "object",
                    "properties": {"kind": {"const": "cat"}, "n": {"type": "integer", "multipleOf": 10}},
                    "required": ["kind", "n"],
                },
                {
                    "type": "object",
                    "properties": {"kind": {"const": "dog"}, "name": {"type": "string", "format": "date"}},
                    "required": ["kind", "name"],
                },
            ]
        },
    ],
    ids=["recursion", "patterns", "names", "bounds", "tagged"],
)
def test_schemas_that_people_write(spark: Model, schema: dict[str, Any], seed: int) -> None:
    text = text_of(spark, grammar_for(schema), seed)
    if text is not None:
        check(schema, text)
