"""Printing of values as Go's fmt does it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence

from server.errors import InvalidTemplate
from server.prompts.gotemplate.json_text import go_json, plain_digits, shortest_digits
from server.prompts.gotemplate.values import (
    JsonList,
    JsonMap,
    Struct,
    TypeNames,
    Value,
    encode,
    is_int,
    type_name,
)
from server.types.quoting import go_quote

MAX_WIDTH = 1_000_000
"""Widths and precisions beyond this are refused by Go's fmt too."""

MAX_TEXT_CHARS = 32 << 20

_VERB = re.compile(r"%([-+# 0]*)(\*|\d+)?(?:\.(\*|\d*))?(.?)", re.DOTALL)


def printed(value: Value) -> str:
    """As an action prints it: nil is `<no value>`."""
    return "<no value>" if value is None else shown(value)


def shown(value: Value) -> str:
    """As %v prints it."""
    if value is None:
        return "<nil>"
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return shown_float(value)
    if isinstance(value, bytes):
        return "[" + " ".join(str(byte) for byte in value) + "]"
    if isinstance(value, JsonMap | JsonList):
        return go_json(value)
    if isinstance(value, Struct):
        if value.json_value is not None:
            return go_json(value)
        return "{" + " ".join(shown(field) for field in value.fields.values()) + "}"
    if isinstance(value, dict):
        return "map[" + " ".join(f"{key}:{shown(value[key])}" for key in sorted(value, key=encode)) + "]"
    if isinstance(value, TypeNames) and len(value) < 2:
        return value[0] if value else ""
    return "[" + " ".join(shown(item) for item in value) + "]"


def shown_float(value: float) -> str:
    """%v of a float64: shortest digits, an exponent below 1e-4 and from 1e6 on."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    negative, digits, exponent = shortest_digits(value)
    sign = "-" if negative else ""
    if value == 0:
        return f"{sign}0"
    if -4 <= exponent < 6:
        return sign + plain_digits(digits, exponent)
    mantissa = digits[0] + ("." + digits[1:] if len(digits) > 1 else "")
    return f"{sign}{mantissa}e{'+' if exponent >= 0 else '-'}{abs(exponent):02d}"


def sprint(values: tuple[Value, ...]) -> str:
    """fmt.Sprint: a blank between two values of which neither is a string."""
    out: list[str] = []
    for at, value in enumerate(values):
        if at and not isinstance(value, str) and not isinstance(values[at - 1], str):
            out.append(" ")
        out.append(shown(value))
    return "".join(out)


def sprintln(values: tuple[Value, ...]) -> str:
    """fmt.Sprintln: a blank between all values, and a line feed."""
    return " ".join(shown(value) for value in values) + "\n"


def sprintf(template: str, args: tuple[Value, ...]) -> str:
    """fmt.Sprintf without argument indexes; faults of verbs and counts are shown in the text, as Go does."""
    return _Printer(args).run(template)


class _Printer:
    def __init__(self, args: tuple[Value, ...]) -> None:
        self._args = args
        self._next = 0
        self._n_chars = 0

    def run(self, template: str) -> str:
        text = _VERB.sub(self._verb, template)
        if self._next < len(self._args):
            text += f"%!(EXTRA {', '.join(_typed(arg) for arg in self._args[self._next :])})"
        return text

    def _count(self, given: str | None) -> tuple[int | None, str]:
        """A width or precision, and the complaint about a bad one."""
        if given == "*":
            value = self._args[self._next] if self._next < len(self._args) else None
            self._next += 1
            return (value, "") if isinstance(value, int) and abs(value) <= MAX_WIDTH else (None, "bad")
        if not given:
            return None, ""
        if len(given) > 7 or int(given) > MAX_WIDTH:
            return None, "bad"
        return int(given), ""

    def _verb(self, match: re.Match[str]) -> str:
        flags, verb = match.group(1), match.group(4)
        width, bad_width = self._count(match.group(2))
        precision, bad_precision = self._count(match.group(3))
        if match.group(3) == "":
            precision = 0
        complaint = ("%!(BADWIDTH)" if bad_width else "") + ("%!(BADPREC)" if bad_precision else "")
        if width is not None and width < 0:
            flags, width = flags + "-", -width
        if not verb:
            return complaint + "%!(NOVERB)"
        if verb == "%":
            return complaint + "%"
        if self._next >= len(self._args):
            return f"{complaint}%!{verb}(MISSING)"
        value = self._args[self._next]
        self._next += 1
        text = _formatted(verb, flags, width, precision, value)
        self._n_chars += len(text)
        if self._n_chars > MAX_TEXT_CHARS:
            raise InvalidTemplate("printf is asked for a text that is too long")
        return complaint + text


def _formatted(verb: str, flags: str, width: int | None, precision: int | None, value: Value) -> str:
    if isinstance(value, dict | list | tuple) and not isinstance(value, JsonMap | JsonList | TypeNames):
        return _composite(verb, flags, width, precision, value)
    text = _body(verb, flags, precision, value)
    if text is None:
        padded = "" if value is None else f"{type_name(value)}={_padded(shown(value), flags, width, value)}"
        return f"%!{verb}({padded or '<nil>'})"
    return _padded(text, flags, width, value)


def _composite(
    verb: str, flags: str, width: int | None, precision: int | None, value: dict[str, Value] | Sequence[Value]
) -> str:
    """A list or map: each part is formatted by itself."""
    if (width or 0) * len(value) > MAX_TEXT_CHARS:
        raise InvalidTemplate("printf is asked for a text that is too long")
    if verb == "T":
        return _padded(type_name(value), flags, width, "")

    def part(item: Value) -> str:
        return "<nil>" if item is None else _formatted(verb, flags, width, precision, item)

    if isinstance(value, dict):
        return "map[" + " ".join(f"{part(key)}:{part(value[key])}" for key in sorted(value, key=encode)) + "]"
    return "[" + " ".join(part(item) for item in value) + "]"


def _padded(text: str, flags: str, width: int | None, value: Value) -> str:
    if width is None or len(text) >= width:
        return text
    if "-" in flags:
        return text.ljust(width)
    if "0" not in flags:
        return text.rjust(width)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    sign = text[0] if is_number and text[:1] in ("+", "-") else ""
    return sign + text[len(sign) :].rjust(width - len(sign), "0")


def _typed(value: Value) -> str:
    return "<nil>" if value is None else f"{type_name(value)}={shown(value)}"


def _body(verb: str, flags: str, precision: int | None, value: Value) -> str | None:
    if verb == "T":
        return type_name(value)
    if verb == "v":
        return _signed(shown(value), flags.replace("+", ""), value)
    if verb == "t":
        return shown(value) if isinstance(value, bool) else None
    if verb in "sqxX" and not isinstance(value, bool | int | float) and value is not None:
        return _text(verb, flags, precision, shown(value))
    if is_int(value):
        return _integer(verb, flags, precision, value)
    if isinstance(value, float):
        return _float(verb, flags, precision, value)
    return None


def _text(verb: str, flags: str, precision: int | None, text: str) -> str:
    if precision is not None:
        text = text[:precision]
    if verb == "s":
        return text
    if verb == "q":
        return go_quote(text)
    digits = encode(text).hex()
    return digits.upper() if verb == "X" else digits


_BASES: dict[str, Callable[[int], str]] = {
    "d": str,
    "b": lambda n: f"{n:b}",
    "o": lambda n: f"{n:o}",
    "O": lambda n: f"0o{n:o}",
    "x": lambda n: f"{n:x}",
    "X": lambda n: f"{n:X}",
}


def _integer(verb: str, flags: str, precision: int | None, value: int) -> str | None:
    if verb in ("c", "q", "U"):
        char = chr(value) if 0 <= value <= 0x10FFFF and not 0xD800 <= value <= 0xDFFF else "\ufffd"
        if verb == "c":
            return char
        if verb == "U":
            return f"U+{value:04X}"
        return "'" + go_quote(char)[1:-1].replace('\\"', '"').replace("'", "\\'") + "'"
    if verb not in _BASES:
        return None
    digits = _BASES[verb](abs(value))
    if precision is not None:
        digits = digits.rjust(precision, "0") if value or precision else ""
    if "#" in flags and verb in "xX":
        digits = f"0{verb}{digits}"
    return _signed(("-" if value < 0 else "") + digits, flags, value)


def _float(verb: str, flags: str, precision: int | None, value: float) -> str | None:
    if verb not in "eEfFgG":
        return None
    if (verb in "gG" and precision is None) or not math.isfinite(value):
        text = shown_float(value)
        text = text.upper() if verb == "G" else text
    else:
        text = f"{value:.{6 if precision is None else precision}{verb}}"
    return _signed(text, flags, value)


def _signed(text: str, flags: str, value: Value) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float) or text[:1] in ("-", "+"):
        return text
    return "+" + text if "+" in flags else " " + text if " " in flags else text
