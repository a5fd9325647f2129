"""JSON exactly as Go's encoding/json writes it: compact, HTML-safe, maps in the order of their keys."""

from __future__ import annotations

import base64
import json
import re

from server.prompts.gotemplate.values import JsonList, OrderedObject, Struct, TypeNames, Value, encode

_HTML = re.compile("[<>&\u2028\u2029\ud800-\udfff]")


def go_json(value: Value) -> str:
    """The JSON text of a value."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json_string(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return json_float(value)
    if isinstance(value, bytes):
        return f'"{base64.b64encode(value).decode()}"'
    if isinstance(value, Struct):
        return _object(value.fields if value.json_value is None else value.json_value, in_order=True)
    if isinstance(value, dict):
        return _object(value, in_order=isinstance(value, OrderedObject))
    if isinstance(value, TypeNames) and len(value) == 1:
        return json_string(value[0])
    if isinstance(value, JsonList) and value.is_nil:
        return "null"
    return "[" + ",".join(go_json(item) for item in value) + "]"


def _object(members: dict[str, Value], *, in_order: bool) -> str:
    keys = list(members) if in_order else sorted(members, key=encode)
    return "{" + ",".join(f"{json_string(key)}:{go_json(members[key])}" for key in keys) + "}"


def json_string(text: str) -> str:
    """A JSON string with Go's HTML escapes."""
    return _HTML.sub(_escape, json.dumps(text, ensure_ascii=False))


def _escape(match: re.Match[str]) -> str:
    char = match.group()
    if 0xD800 <= ord(char) <= 0xDFFF:
        return "\\ufffd"
    return f"\\u{ord(char):04x}"


def json_float(value: float) -> str:
    """The shortest digits that read back as the value, with an exponent outside 1e-6 to 1e21."""
    if value != value or value in (float("inf"), float("-inf")):
        return "null"
    negative, digits, exponent = shortest_digits(value)
    sign = "-" if negative else ""
    if value == 0:
        return f"{sign}0"
    if 1e-6 <= abs(value) < 1e21:
        return sign + plain_digits(digits, exponent)
    mantissa = digits[0] + ("." + digits[1:] if len(digits) > 1 else "")
    return f"{sign}{mantissa}e{'+' if exponent >= 0 else '-'}{abs(exponent)}"


def shortest_digits(value: float) -> tuple[bool, str, int]:
    """Sign, significant digits and decimal exponent of the first digit."""
    mantissa, _, exponent = f"{value!r}".partition("e")
    negative = mantissa.startswith("-")
    whole, _, fraction = mantissa.lstrip("-").partition(".")
    digits = (whole + fraction).lstrip("0")
    leading = len(whole) - 1 if whole.strip("0") else -(len(fraction) - len(fraction.lstrip("0"))) - 1
    digits = digits.rstrip("0") or "0"
    return negative, digits, leading + int(exponent or 0)


def plain_digits(digits: str, exponent: int) -> str:
    """Digits without an exponent: the first has the weight 10**exponent."""
    if exponent < 0:
        return "0." + "0" * (-exponent - 1) + digits
    if exponent + 1 >= len(digits):
        return digits + "0" * (exponent + 1 - len(digits))
    return digits[: exponent + 1] + "." + digits[exponent + 1 :]
