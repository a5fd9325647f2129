"""JSON as Go writes and reads it."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.storage import gojson

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"stop": ["<|im_end|>"]}, r'{"stop":["\u003c|im_end|\u003e"]}'),
        ("a&b\u2028\u2029", r'"a\u0026b\u2028\u2029"'),
        ('é\n\t"\\', r'"é\n\t\"\\"'),
        ("a\ud800b", '"a\N{REPLACEMENT CHARACTER}b"'),
        ("😀 \x7f\b\f", '"😀 \x7f\\b\\f"'),
        (0.7, "0.7"),
        (5e-324, "5e-324"),
        (1.0, "1"),
        (100000.0, "100000"),
        (1e16, "10000000000000000"),
        (1e20, "100000000000000000000"),
        (1e21, "1e+21"),
        (1.5e300, "1.5e+300"),
        (0.000001, "0.000001"),
        (1e-7, "1e-7"),
        (1.25e-9, "1.25e-9"),
        (-0.0, "-0"),
        (None, "null"),
        (True, "true"),
        (7, "7"),
        ((), "[]"),
    ],
)
def test_writes_as_go(value: Any, text: str) -> None:
    assert gojson.encode(value).decode() == text + "\n"


def test_maps_are_sorted_all_the_way_down() -> None:
    assert gojson.encode_sorted({"b": {"z": 1, "a": 2}, "a": [{"d": 1, "c": 2}]}) == (
        b'{"a":[{"c":2,"d":1}],"b":{"a":2,"z":1}}\n'
    )


@pytest.mark.parametrize("value", [math.nan, math.inf, object(), b"bytes"])
def test_refuses_what_json_has_no_form_for(value: Any) -> None:
    with pytest.raises(ValueError, match="no JSON form"):
        gojson.encode(value)


@given(json_values)
def test_what_is_written_reads_back(value: Any) -> None:
    raw = gojson.encode(value)
    assert json.loads(raw, parse_int=_number) == value or _has_surrogate(value)
    assert not set(b"<>&") & set(raw)


def _number(digits: str) -> int | float:
    """A whole number as it was written: beyond 2^53 it was a float."""
    return int(digits) if abs(int(digits)) <= 2**53 else float(digits)


def _has_surrogate(value: Any) -> bool:
    return "\\ud" in json.dumps(value)


def test_reads_leniently() -> None:
    assert gojson.decode_first(b'  {"a":1} trailing') == ({"a": 1}, 9)
    assert gojson.folded({"MediaType": 1, "DIGEST": 2}) == {"mediatype": 1, "digest": 2}
    assert gojson.folded(None) == {}


@pytest.mark.parametrize("raw", [b"", b"{", b"nope", b"[" * 100_000, b"\xff"])
def test_refuses_what_is_no_json(raw: bytes) -> None:
    with pytest.raises(ValueError):
        gojson.decode_first(raw)
