"""JSON as Go's encoding/json reads it into a struct, and the encoder for replies.

Clients were written against a server in Go, and some rely on what it forgives: keys in any case, unknown
keys, null for "not given", bytes after the first value. What it does not forgive fails with its words.
This module knows no field of any API.
"""

from __future__ import annotations

import binascii
import json
import math
import re
from typing import Any, NoReturn

import msgspec

from server.errors import InvalidRequest

MISSING_BODY = "missing request body"
"""What Ollama's own routes say of an empty body."""
EOF = "EOF"
"""What its OpenAI routes say of an empty body."""

_MAX_INT = 2**63 - 1
_SPACE = " \t\r\n"
_LITERALS = ("true", "false", "null")
_NUMBER_ENDS = frozenset(("-", ".", "e", "E", "e+", "E+", "e-", "E-"))
"""What can stand behind the digits of a number only when more digits follow."""
_HEX = re.compile("[0-9A-Fa-f]{0,4}")
_KEY_OF_CONSTANT = re.compile(r'"([^"\\]{1,64})"\s*:\s*(-?(?:NaN|Infinity))')
_SURROGATE = re.compile("[\ud800-\udfff]")

_encoder = msgspec.json.Encoder()
encode = _encoder.encode
"""JSON bytes of structs, dicts and lists; keys in the order of their fields."""


def decode(body: bytes, *, when_empty: str = MISSING_BODY) -> object:
    """The first JSON value of a body; bytes after it are ignored.

    Raises: InvalidRequest with `when_empty`, with "unexpected EOF" for a truncated body, or with Go's words.
    """
    try:
        return msgspec.json.decode(body)
    except RecursionError:
        raise InvalidRequest("exceeded max depth") from None
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return _decode_first(body.decode("utf-8", "replace"), when_empty)


def _decode_first(text: str, when_empty: str) -> object:
    """As `decode`, for what the strict decoder refuses: slower, forgiving, with exact errors."""
    start = len(text) - len(text.lstrip(_SPACE))
    if start == len(text):
        raise InvalidRequest(when_empty)
    try:
        return _without_surrogates(_decoder.raw_decode(text, start)[0])
    except _NoNumber as error:
        message = f"invalid character '{error.word.lstrip('-')[0]}' looking for beginning of value"
        key = _KEY_OF_CONSTANT.search(text)
        raise InvalidRequest(f'{message}: "{key[1]}" is {key[2]}' if key else message) from None
    except json.JSONDecodeError as error:
        raise InvalidRequest(_syntax_error(text, error)) from None
    except RecursionError:
        raise InvalidRequest("exceeded max depth") from None


def _number(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise InvalidRequest(f"json: cannot unmarshal number {text} into Go value of type float64")
    return value


def _integer(text: str) -> int | float:
    # Python refuses to parse integers of thousands of digits; no field of ours takes one.
    return int(text) if len(text) < 400 else _number(text)


class _NoNumber(Exception):
    """A word that Python takes for a number and JSON does not."""

    def __init__(self, word: str) -> None:
        super().__init__(word)
        self.word = word


def _constant(text: str) -> NoReturn:
    raise _NoNumber(text)


_decoder = json.JSONDecoder(parse_float=_number, parse_int=_integer, parse_constant=_constant)


def _without_surrogates(value: Any) -> Any:
    """`value` with lone surrogates, which no encoder takes, replaced as Go replaces them."""
    if isinstance(value, str):
        return _SURROGATE.sub("\ufffd", value)
    if isinstance(value, list):
        return [_without_surrogates(item) for item in value]
    if isinstance(value, dict):
        return {_without_surrogates(key): _without_surrogates(item) for key, item in value.items()}
    return value


def _syntax_error(text: str, error: json.JSONDecodeError) -> str:
    """Go's words for a syntax error that Python's decoder found."""
    at, found = error.pos, error.msg
    if found.startswith("Unterminated string") or _is_cut_short(text, at):
        return "unexpected EOF"
    if found.startswith("Illegal trailing comma"):
        at = _skip_space(text, at + 1)
    if found.startswith("Invalid \\"):
        at = _bad_escape(text, at)
    if at >= len(text):
        return "unexpected EOF"
    place = "looking for beginning of value"
    if found.startswith("Expecting property name"):
        place = "looking for beginning of object key string"
    elif found.startswith("Expecting ':'"):
        place = "after object key"
    elif found.startswith("Expecting ','"):
        place = "after array element or object key:value pair"
    elif found.startswith("Invalid control character"):
        place = "in string literal"
    elif found.startswith("Invalid \\u"):
        place = "in \\u hexadecimal character escape"
    elif found.startswith("Invalid \\"):
        place = "in string escape code"
    shown = text[at].encode("unicode_escape").decode() if text[at] != "'" else "\\'"
    return f"invalid character '{shown}' {place}"


def _bad_escape(text: str, at: int) -> int:
    """Where the escape near `at` goes wrong; the length of the text when it only ends too early."""
    start = text.rfind("\\", 0, at + 1) + 1
    if text[start : start + 1] != "u":
        return start
    digits = _HEX.match(text, start + 1)
    return start + 1 + (len(digits[0]) if digits else 0)


def _is_cut_short(text: str, at: int) -> bool:
    """Whether the text ends at `at`, or in the middle of a word or number that starts there."""
    at = _skip_space(text, at)
    rest = text[at:].rstrip(_SPACE)
    return not rest or rest in _NUMBER_ENDS or any(word.startswith(rest) for word in _LITERALS)


def _skip_space(text: str, at: int) -> int:
    while at < len(text) and text[at] in _SPACE:
        at += 1
    return at


class GoObject:
    """A JSON object as Go reads it into a struct: keys in any case, unknown keys ignored, null not given.

    Where a key comes twice, in whatever case, the last one that is not null counts. All readers raise
    InvalidRequest with Go's words when the value has a wrong type.
    """

    __slots__ = ("_fields", "_path", "_struct")

    def __init__(self, value: object, struct: str, *, path: str = "", go_type: str = "") -> None:
        """`struct`: Go's name of the outermost struct; `path`: dotted path of this object in it.

        `go_type`: Go's type of this object, "api." and the struct when not given. All three are for errors.
        """
        if value is not None and not isinstance(value, dict):
            target = f"struct field {struct}.{path}" if path else "value"
            raise InvalidRequest(
                f"json: cannot unmarshal {_kind(value)} into Go {target} of type {go_type or f'api.{struct}'}"
            )
        self._struct = struct
        self._path = path
        self._fields: dict[str, Any] = {}
        for key, item in (value or {}).items():
            if item is not None:
                self._fields[key.casefold()] = item

    def __contains__(self, name: str) -> bool:
        return name in self._fields

    def raw(self, name: str) -> Any:
        """The value as it is, None when not given."""
        return self._fields.get(name)

    def text(self, name: str) -> str:
        """A string, "" when not given."""
        value = self._fields.get(name, "")
        if not isinstance(value, str):
            self._refuse(name, value, "string")
        return value

    def flag(self, name: str, default: bool = False) -> bool:
        """A bool, `default` when not given."""
        value = self._fields.get(name, default)
        if not isinstance(value, bool):
            self._refuse(name, value, "bool")
        return value

    def integer(self, name: str) -> int | None:
        """An integer, None when not given."""
        value = self._fields.get(name)
        if value is not None:
            self._check_int(name, value)
        return value

    def number(self, name: str) -> float | None:
        """A number, None when not given."""
        value = self._fields.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            self._refuse(name, value, "float64")
        try:
            return float(value)
        except OverflowError:
            self._refuse(name, value, "float64", kind=f"number {value}")

    def mapping(self, name: str) -> dict[str, Any]:
        """An object with free keys, {} when not given."""
        value = self._fields.get(name, {})
        if not isinstance(value, dict):
            self._refuse(name, value, "map[string]interface {}")
        return value

    def text_mapping(self, name: str) -> dict[str, str]:
        """An object of strings with free keys, {} when not given."""
        value = self._fields.get(name, {})
        if not isinstance(value, dict):
            self._refuse(name, value, "map[string]string")
        for item in value.values():
            if item is not None and not isinstance(item, str):
                self._refuse(name, item, "string")
        return {key: item or "" for key, item in value.items()}

    def items(self, name: str, go_type: str = "[]interface {}") -> list[Any]:
        """A list, [] when not given."""
        value = self._fields.get(name, [])
        if not isinstance(value, list):
            self._refuse(name, value, go_type)
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of strings, empty when not given; a null in it reads as ""."""
        items = self.items(name, "[]string")
        for item in items:
            if item is not None and not isinstance(item, str):
                self._refuse(name, item, "string")
        return tuple(item or "" for item in items)

    def integers(self, name: str) -> tuple[int, ...]:
        """A list of integers, empty when not given; a null in it reads as 0."""
        items = self.items(name, "[]int")
        for item in items:
            if item is not None:
                self._check_int(name, item)
        return tuple(item or 0 for item in items)

    def child(self, name: str, go_type: str) -> GoObject:
        """An object of known keys, empty when not given."""
        return self._object(name, self._fields.get(name), go_type)

    def children(self, name: str, go_type: str) -> list[GoObject]:
        """A list of objects of known keys; `go_type` is that of one of them."""
        return [self._object(name, item, go_type) for item in self.items(name, f"[]{go_type}")]

    def blobs(self, name: str) -> tuple[bytes, ...]:
        """A list of base64 strings, decoded."""
        items = self.items(name, "[]api.ImageData")
        for item in items:
            if item is not None and not isinstance(item, str):
                self._refuse(name, item, "api.ImageData")
        return tuple(decode_base64(item or "") for item in items)

    def _object(self, name: str, value: object, go_type: str) -> GoObject:
        return GoObject(value, self._struct, path=self._full_path(name), go_type=go_type)

    def _check_int(self, name: str, value: object) -> None:
        if isinstance(value, bool) or not isinstance(value, int | float):
            self._refuse(name, value, "int")
        if isinstance(value, float) or not -_MAX_INT - 1 <= value <= _MAX_INT:
            self._refuse(name, value, "int", kind=f"number {value}")

    def _refuse(self, name: str, value: object, go_type: str, *, kind: str = "") -> NoReturn:
        raise InvalidRequest(
            f"json: cannot unmarshal {kind or _kind(value)} into Go struct field "
            f"{self._struct}.{self._full_path(name)} of type {go_type}"
        )

    def _full_path(self, name: str) -> str:
        return f"{self._path}.{name}" if self._path else name


def _kind(value: object) -> str:
    """Go's word for the kind of a JSON value."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, str):
        return "string"
    if isinstance(value, int | float):
        return "number"
    return "array" if isinstance(value, list) else "object"


def go_type_of(value: object) -> str:
    """Go's type of a JSON value that was decoded without a schema, as `%T` prints it."""
    names = {"bool": "bool", "string": "string", "number": "float64"}
    if value is None:
        return "<nil>"
    return names.get(_kind(value)) or (
        "[]interface {}" if isinstance(value, list) else "map[string]interface {}"
    )


def decode_base64(text: str) -> bytes:
    """Bytes of padded standard base64; line ends in it are skipped.

    Raises: InvalidRequest that names the byte, as Go's encoding/base64 does.
    """
    if "\n" in text or "\r" in text:
        text = text.replace("\r", "").replace("\n", "")
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except (binascii.Error, ValueError):
        raise InvalidRequest(f"illegal base64 data at input byte {_bad_base64_byte(text)}") from None


_BASE64 = re.compile("[A-Za-z0-9+/]*")


def _bad_base64_byte(text: str) -> int:
    """Where Go stops reading: a foreign character, a misplaced "=", or the start of an incomplete group."""
    match = _BASE64.match(text)
    n_good = match.end() if match else 0
    if n_good == len(text):
        return n_good - n_good % 4
    if text[n_good] != "=" or n_good % 4 < 2:
        return n_good
    n_padding = 4 - n_good % 4
    padding = text[n_good : n_good + n_padding]
    if padding != "=" * n_padding:
        cut = next((i for i, char in enumerate(padding) if char != "="), len(padding))
        return n_good + cut
    return n_good + n_padding
