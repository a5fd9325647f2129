"""Bounds of numbers as GBNF."""

from __future__ import annotations

from typing import NamedTuple

from server.prompts.schema.gbnf import literal

_MAX_DIGITS = 16
_FRACTION = '("." [0-9]{1,15})?'
_ZERO_FRACTION = '("." "0"{1,15})?'
_POSITIVE_FRACTION = '"." "0"{0,14} [1-9] [0-9]{0,14}'


class Bounds(NamedTuple):
    """Whole-numbered bounds; None where there is none. `over` and `under` exclude the bound itself."""

    least: int | None = None
    most: int | None = None
    over: bool = False
    under: bool = False


def multiples(step: float, *, of_integers: bool) -> str | None:
    """GBNF for the multiples of a step whose last digits tell them; None for other steps."""
    for n_digits in range(_MAX_DIGITS):
        zeros = literal("0" * n_digits)
        if step == 10**n_digits:
            if not n_digits and of_integers:
                return '"-"? ("0" | [1-9] [0-9]{0,15})'
            return f'"-"? ("0" | [1-9] [0-9]{{0,{_MAX_DIGITS - 1 - n_digits}}} {zeros})'
        if step in (2 * 10**n_digits, 5 * 10**n_digits):
            digits = "[2468]" if step == 2 * 10**n_digits else '"5"'
            ends = "[02468]" if step == 2 * 10**n_digits else "[05]"
            last = f"({digits} | [1-9] [0-9]{{0,{_MAX_DIGITS - 2 - n_digits}}} {ends})"
            return f'"-"? ("0" | {last} {zeros})'
        if n_digits and not of_integers and step == float(f"1e-{n_digits}"):
            return f'"-"? ("0" | [1-9] [0-9]{{0,{_MAX_DIGITS - 1 - n_digits}}}) ("." [0-9]{{1,{n_digits}}})?'
    return None


def integer_range(bounds: Bounds) -> str | None:
    """GBNF for the integers within; None when there are none."""
    least = None if bounds.least is None else bounds.least + bounds.over
    most = None if bounds.most is None else bounds.most - bounds.under
    if least is not None and most is not None and least > most:
        return None
    parts: list[str] = []
    if most is None or most >= 0:
        parts.append(_whole(max(least or 0, 0), most))
    if least is None or least < 0:
        nearest = 1 if most is None or most >= 0 else -most
        parts.append('"-" ' + _grouped(_whole(nearest, None if least is None else -least)))
    return " | ".join(parts)


def number_range(bounds: Bounds) -> str | None:
    """GBNF for the decimal numbers within, without exponents; None when there are none."""
    least, most, over, under = bounds
    parts: list[str] = []
    if most is None or most > 0 or (most == 0 and not under):
        is_bound = least is not None and least >= 0
        parts.append(_magnitudes(max(least or 0, 0), over and is_bound, most, under))
    if least is None or least < 0:
        is_bound = most is not None and most <= 0
        nearest = -most if most is not None and is_bound else 0
        excluded = under if is_bound and nearest else True  # minus zero is zero
        farthest = None if least is None else -least
        below = _magnitudes(nearest, excluded, farthest, over)
        parts.append(f'"-" {_grouped(below)}' if below else "")
    kept = [part for part in parts if part]
    return " | ".join(kept) if kept else None


def _magnitudes(low: int, over: bool, high: int | None, under: bool) -> str:
    """Numbers from `low` on, both at least 0; "" when there are none."""
    if high is not None and (high < low or (high == low and (over or under))):
        return ""
    if high == low:
        return f"{literal(str(low))} {_ZERO_FRACTION}"
    parts = [f"{literal(str(low))} {_POSITIVE_FRACTION if over else _FRACTION}"]
    if high is None or high > low + 1:
        parts.append(f"{_grouped(_whole(low + 1, None if high is None else high - 1))} {_FRACTION}")
    if high is not None and not under:
        parts.append(f"{literal(str(high))} {_ZERO_FRACTION}")
    return " | ".join(parts)


def _grouped(alternatives: str) -> str:
    return f"({alternatives})"


def _whole(low: int, high: int | None) -> str:
    """GBNF for the integers from `low` (at least 0) to `high`, without leading zeros."""
    first = str(low)
    if high is None:
        parts = _same_length(first, "9" * len(first))
        if len(first) < _MAX_DIGITS:
            parts.append(f"[1-9] [0-9]{{{len(first)},{_MAX_DIGITS - 1}}}")
        return " | ".join(parts)
    parts = []
    last = str(high)
    for n_digits in range(len(first), len(last) + 1):
        start = first if n_digits == len(first) else "1" + "0" * (n_digits - 1)
        end = last if n_digits == len(last) else "9" * n_digits
        parts.extend(_same_length(start, end))
    return " | ".join(parts)


def _same_length(low: str, high: str) -> list[str]:
    """Alternatives for the digit strings from `low` to `high`."""
    if not low:
        return [""]
    if low.strip("0") == "" and high.strip("9") == "":
        return [f"[0-9]{{{len(low)}}}"]
    if low[0] == high[0]:
        return [f"{literal(low[0])} {rest}".rstrip() for rest in _same_length(low[1:], high[1:])]
    rest = len(low) - 1
    first, last = int(low[0]), int(high[0])
    parts: list[str] = []
    if low[1:].strip("0"):
        parts += [f"{literal(low[0])} {tail}" for tail in _same_length(low[1:], "9" * rest)]
        first += 1
    tail_of_high: list[str] = []
    if high[1:].strip("9"):
        tail_of_high = [f"{literal(high[0])} {tail}" for tail in _same_length("0" * rest, high[1:])]
        last -= 1
    if first <= last:
        parts.append(f"[{first}-{last}] [0-9]{{{rest}}}" if rest else f"[{first}-{last}]")
    return parts + tail_of_high
