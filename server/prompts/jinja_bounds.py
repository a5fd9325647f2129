"""How large what a chat template makes may be, checked before it is made where that can be told.

A value weighs as much as the characters of all texts in it and a few for each of its parts, counted as often
as they stand in it: so much would be written if it were printed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from jinja2.exceptions import SecurityError

MAX_TEXT_CHARS = 32 << 20
MAX_INDENT = 1_000
_PART_CHARS = 8
"""What a number, or the brackets and commas of a container, count for."""

_DIGITS = re.compile(r"\d{8,}")
_NESTED = re.compile(r"\{[^{}]*\{")


def bounded(value: Any) -> Any:
    """The value. Raises: SecurityError when it weighs too much."""
    if isinstance(value, str | bytes):
        if len(value) > MAX_TEXT_CHARS:
            _refuse()
    elif isinstance(value, list | tuple | dict):
        weight(value)
    return value


def weight(value: Any) -> int:
    """What a value weighs. Raises: SecurityError as soon as it is too much."""
    total = 0
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str | bytes):
            total += len(item)
        elif isinstance(item, list | tuple):
            total += _PART_CHARS * (1 + len(item))
            if total <= MAX_TEXT_CHARS:
                waiting.extend(item)
        elif isinstance(item, dict):
            total += _PART_CHARS * (1 + len(item))
            if total <= MAX_TEXT_CHARS:
                waiting.extend(item)
                waiting.extend(item.values())
        if total > MAX_TEXT_CHARS:
            _refuse()
    return total


def joined(parts: Iterable[str]) -> str:
    """The texts as one. Raises: SecurityError before it would be too long."""
    known = list(parts)
    if sum(map(len, known)) > MAX_TEXT_CHARS:
        _refuse()
    return "".join(known)


def check_product(left: Any, right: Any) -> None:
    """Raises: SecurityError when a sequence taken so often would weigh too much."""
    for sequence, factor in ((left, right), (right, left)):
        if isinstance(sequence, str | bytes | list | tuple) and isinstance(factor, int):
            _allow(weight(sequence) * max(factor, 0))


def check_method(owner: Any, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    """Raises: SecurityError when a method of a text or a list would make too much."""
    values = (*args, *kwargs.values())
    if isinstance(owner, list):
        if name in ("append", "extend", "insert"):
            _allow(weight(owner) + weight(list(values)) + _PART_CHARS)
    elif name in ("format", "format_map"):
        check_filter("format", (owner, *values))
    elif name == "join":
        check_filter("join", (args[0] if args else (), owner))
    elif name == "replace":
        check_filter("replace", (owner, *args), kwargs)
    elif name == "translate":
        _allow(len(owner) * max(map(_length, _values_of(values)), default=1))
    elif name == "expandtabs":
        _allow(len(owner) + owner.count("\t" if isinstance(owner, str) else b"\t") * _largest(values, 8))
    elif name in ("split", "rsplit", "splitlines"):
        _allow(len(owner) * 2)
    else:
        _allow(len(owner) + _largest(values, 0))


def check_filter(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any] | None = None) -> None:
    """Raises: SecurityError when a filter would make too much of its first argument."""
    first, rest = (args[0] if args else ""), (*args[1:], *(kwargs or {}).values())
    if name == "format":
        _check_format(str(first), rest)
    elif name == "join" and isinstance(first, list | tuple | dict | str):
        separator = rest[0] if rest else ""
        _allow(weight(first) + len(first) * len(str(separator)))
    elif name == "replace":
        old, new = (str(value) for value in (*rest, "", "")[:2])
        text = str(first)
        count = text.count(old) if old else len(text) + 1
        _allow(len(text) + count * len(new))
    elif name == "tojson":
        if max(_largest(rest, 0), _longest(rest)) > MAX_INDENT:
            _refuse()
    elif name == "indent":
        _allow(_n_lines(first) * max(_largest(rest, 4), _longest(rest)))
    elif name == "wordwrap":
        _allow(_length(first) * max(_longest(rest), 1) + _largest(rest, 0))
    else:
        _allow(_largest(rest, 0))


def _check_format(pattern: str, values: tuple[Any, ...]) -> None:
    """No wide fields, and no large value in many places."""
    if _DIGITS.search(pattern):
        _refuse()
    n_fields = pattern.count("%") + pattern.count("{")
    widest = max(map(_length, _values_of(values)), default=0)
    widths = sum(map(int, re.findall(r"\d+", pattern)))
    # The width of a field can be a value.
    number = _largest(_values_of(values), 0) if "*" in pattern or _NESTED.search(pattern) else 0
    _allow(len(pattern) + widths + n_fields * (widest + number))


def _values_of(values: Iterable[Any]) -> Iterable[Any]:
    for value in values:
        if isinstance(value, dict):
            yield from value.values()
        else:
            yield value


def _length(value: Any) -> int:
    if isinstance(value, str | bytes):
        return len(value)
    return weight(value) if isinstance(value, list | tuple | dict) else 40


def _largest(values: Iterable[Any], least: int) -> int:
    """The largest number among the values, booleans aside."""
    numbers = [abs(value) for value in values if isinstance(value, int) and not isinstance(value, bool)]
    return max([least, *numbers])


def _longest(values: Iterable[Any]) -> int:
    """Length of the longest text among the values."""
    return max((len(value) for value in values if isinstance(value, str)), default=0)


def _n_lines(value: Any) -> int:
    return value.count("\n") + 1 if isinstance(value, str) else 1


def _allow(n_chars: int) -> None:
    if n_chars > MAX_TEXT_CHARS:
        _refuse()


def _refuse() -> None:
    raise SecurityError(f"a text longer than {MAX_TEXT_CHARS} characters")
