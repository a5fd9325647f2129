"""Reading JSON as Go does: what is forgiven, and the words for what is not."""

from __future__ import annotations

import base64
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.errors import InvalidRequest
from server.wire.codec import EOF, GoObject, decode, decode_base64, encode, go_type_of

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def message_of(body: bytes, **options: str) -> str:
    with pytest.raises(InvalidRequest) as caught:
        decode(body, **options)
    return caught.value.message


@given(json_values)
def test_json_is_read_as_it_was_written(value: object) -> None:
    assert decode(json.dumps(value).encode()) == value
    assert msgspec.json.decode(encode(value)) == value


@given(json_values, st.binary())
def test_bytes_behind_the_first_value_do_not_matter(value: object, rest: bytes) -> None:
    assert decode(json.dumps([value]).encode() + rest) == [value]


@given(st.binary())
def test_no_bytes_raise_anything_but_invalid_request(body: bytes) -> None:
    try:
        decode(body)
    except InvalidRequest as error:
        assert error.message


@given(json_values, st.data())
def test_truncated_json_says_so(value: object, data: st.DataObject) -> None:
    whole = json.dumps({"a": value}).encode()
    n_bytes = data.draw(st.integers(1, len(whole) - 1))
    assert message_of(whole[:n_bytes]) == "unexpected EOF"


@pytest.mark.parametrize("body", [b"", b" ", b"\n\t\r "])
def test_an_empty_body_is_told_in_the_words_of_its_routes(body: bytes) -> None:
    assert message_of(body) == "missing request body"
    assert message_of(body, when_empty=EOF) == "EOF"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"x", "invalid character 'x' looking for beginning of value"),
        (b"{'a':1}", "invalid character '\\'' looking for beginning of object key string"),
        (b'{"a" 1}', "invalid character '1' after object key"),
        (b'{"a":1 "b":2}', "invalid character '\"' after array element or object key:value pair"),
        (b'{"a":1,}', "invalid character '}' looking for beginning of object key string"),
        (b'"\n"', "invalid character '\\n' in string literal"),
        (b'"\\x"', "invalid character 'x' in string escape code"),
        (b'"ab\\u00x0"', "invalid character 'x' in \\u hexadecimal character escape"),
        (b"NaN", "invalid character 'N' looking for beginning of value"),
        (
            b'{"options": {"top_p": NaN}}',
            "invalid character 'N' looking for beginning of value: \"top_p\" is NaN",
        ),
        (b"[-Infinity]", "invalid character 'I' looking for beginning of value"),
        (b"1e400", "json: cannot unmarshal number 1e400 into Go value of type float64"),
        (b"[" * 20_000, "exceeded max depth"),
        (b"[" * 700 + b'"\\ud800"' + b"]" * 700, "exceeded max depth"),
        (b'{"a":tru', "unexpected EOF"),
        (b'{"a":-', "unexpected EOF"),
    ],
)
def test_faults_in_gos_words(body: bytes, message: str) -> None:
    assert message_of(body) == message


def test_what_is_no_unicode_is_replaced() -> None:
    assert decode(b'"a\xff"') == "a\ufffd"
    assert decode(b'["\\ud800", {"\\udfff": 1}]') == ["\ufffd", {"\ufffd": 1}]
    assert decode(b'"\\ud83d\\ude00"') == "😀"


def test_keys_match_in_any_case_and_the_last_given_counts() -> None:
    fields = GoObject(decode(b'{"Model":"a","MODEL":"b","model":null,"other":1}'), "R")
    assert fields.text("model") == "b"
    assert "model" in fields
    assert fields.text("prompt") == ""


@pytest.mark.parametrize(
    ("reader", "value", "found", "go_type"),
    [
        ("text", 1, "number", "string"),
        ("text", ["x"], "array", "string"),
        ("flag", "true", "string", "bool"),
        ("flag", 1, "number", "bool"),
        ("integer", 1.0, "number 1.0", "int"),
        ("integer", "1", "string", "int"),
        ("integer", True, "bool", "int"),
        ("integer", 2**63, f"number {2**63}", "int"),
        ("number", "1", "string", "float64"),
        ("number", True, "bool", "float64"),
        ("mapping", [], "array", "map[string]interface {}"),
        ("text_mapping", {"a": 1}, "number", "string"),
        ("items", {}, "object", "[]interface {}"),
        ("texts", [1], "number", "string"),
        ("texts", "a", "string", "[]string"),
        ("integers", [1.5], "number 1.5", "int"),
        ("blobs", [1], "number", "api.ImageData"),
    ],
)
def test_wrong_types_in_gos_words(reader: str, value: object, found: str, go_type: str) -> None:
    fields = GoObject({"x": {"y": value}}, "Request").child("x", "api.X")
    with pytest.raises(InvalidRequest) as caught:
        getattr(fields, reader)("y")
    expected = f"json: cannot unmarshal {found} into Go struct field Request.x.y of type {go_type}"
    assert caught.value.message == expected


def test_an_object_is_needed_where_one_is_read() -> None:
    with pytest.raises(InvalidRequest, match=r"^json: cannot unmarshal array into Go value of type api\.R$"):
        GoObject([], "R")
    with pytest.raises(InvalidRequest, match=r"string into Go struct field R\.m of type api\.M$"):
        GoObject({"m": ["x"]}, "R").children("m", "api.M")


def test_null_within_lists_is_the_empty_value() -> None:
    fields = GoObject({"t": ["a", None], "i": [None, 2], "m": {"k": None}, "o": [None]}, "R")
    assert fields.texts("t") == ("a", "")
    assert fields.integers("i") == (0, 2)
    assert fields.text_mapping("m") == {"k": ""}
    assert fields.children("o", "api.O")[0].text("x") == ""


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (None, "<nil>"),
        (True, "bool"),
        (1, "float64"),
        ("", "string"),
        ([], "[]interface {}"),
        ({}, "map[string]interface {}"),
    ],
)
def test_gos_names_of_types(value: object, name: str) -> None:
    assert go_type_of(value) == name


@given(st.binary())
def test_base64_with_line_ends(data: bytes) -> None:
    text = base64.encodebytes(data).decode().replace("\n", "\r\n")
    assert decode_base64(text) == data


@pytest.mark.parametrize(
    ("text", "byte"),
    [
        ("data:image/png;base64,AA==", 4),
        ("AAA", 0),
        ("AAAAA", 4),
        ("AAAA!AAA", 4),
        ("A===", 1),
        ("AA=A", 3),
        ("AA==AAAA", 4),
        ("=", 0),
        ("é", 0),
    ],
)
def test_bad_base64_names_the_byte(text: str, byte: int) -> None:
    with pytest.raises(InvalidRequest, match=f"^illegal base64 data at input byte {byte}$"):
        decode_base64(text)


@given(st.text())
def test_no_text_raises_anything_but_invalid_request(text: str) -> None:
    try:
        decode_base64(text)
    except InvalidRequest as error:
        assert error.message.startswith("illegal base64 data at input byte ")


def test_a_number_that_no_float_holds_is_refused() -> None:
    fields = GoObject(decode(b'{"x":' + b"9" * 350 + b"}"), "T")
    with pytest.raises(InvalidRequest, match=r"of type float64$"):
        fields.number("x")
