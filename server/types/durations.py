"""Durations as Go writes them, and Ollama's `keep_alive`."""

from __future__ import annotations

import math
import re

from server.errors import InvalidRequest

MAX_DURATION_S = (2**63 - 1) / 1e9
"""Longest duration that Go holds, about 292 years."""

_UNIT_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"(\d*\.?\d*)([^\d.]*)")


def parse_go_duration(text: str) -> float:
    """Seconds of a Go duration such as "1h30m", "300ms" or "-1s"; "0" needs no unit.

    Raises: ValueError with the text of Go's time.ParseDuration.
    """
    invalid = ValueError(f'time: invalid duration "{text}"')
    sign, rest = 1.0, text
    if rest[:1] in ("-", "+"):
        sign, rest = (-1.0 if rest[0] == "-" else 1.0), rest[1:]
    if rest == "0":
        return 0.0
    if not rest:
        raise invalid
    total_s = 0.0
    while rest:
        match = _PART.match(rest)
        if match is None or match[1] in ("", "."):
            raise invalid
        number, unit = match[1], match[2]
        if not unit:
            raise ValueError(f'time: missing unit in duration "{text}"')
        if unit not in _UNIT_S:
            raise ValueError(f'time: unknown unit "{unit}" in duration "{text}"')
        total_s += float(number) * _UNIT_S[unit]
        rest = rest[match.end() :]
    if total_s > MAX_DURATION_S:
        raise invalid
    return sign * total_s


def format_go_duration(seconds: float) -> str:
    """The text that Go prints for a duration, for instance "5m0s", "1.5s" or "250ms"."""
    total_ns = round(abs(seconds) * 1e9)
    sign = "-" if seconds < 0 and total_ns else ""
    if total_ns == 0:
        return "0s"
    if total_ns < 1_000_000_000:
        for unit, size_ns in (("ms", 1_000_000), ("µs", 1_000), ("ns", 1)):
            if total_ns >= size_ns:
                return f"{sign}{_decimal(total_ns, size_ns)}{unit}"
    whole_s, fraction_ns = divmod(total_ns, 1_000_000_000)
    minutes, seconds_part = divmod(whole_s, 60)
    hours, minutes = divmod(minutes, 60)
    text = f"{_decimal(seconds_part * 1_000_000_000 + fraction_ns, 1_000_000_000)}s"
    if hours or minutes:
        text = f"{minutes}m{text}"
    if hours:
        text = f"{hours}h{text}"
    return sign + text


def _decimal(value: int, unit: int) -> str:
    """`value / unit` without trailing zeros; both are integers, so that nothing is rounded."""
    whole, rest = divmod(value, unit)
    digits = f"{rest:0{len(str(unit)) - 1}d}".rstrip("0")
    return f"{whole}.{digits}" if digits else str(whole)


def parse_keep_alive(value: object) -> float | None:
    """Seconds that a `keep_alive` field asks for; None when it is absent, inf for a negative one.

    A number of more seconds than a duration holds means never, too.

    Raises: InvalidRequest with Ollama's text.
    """
    if value is None:
        return None
    if isinstance(value, bool):
        raise InvalidRequest("Unsupported type: 'bool'")
    if isinstance(value, int | float):
        return math.inf if value < 0 or value > MAX_DURATION_S else float(value)
    if isinstance(value, str):
        try:
            seconds = parse_go_duration(value)
        except ValueError as error:
            raise InvalidRequest(str(error)) from None
        return math.inf if seconds < 0 else seconds
    kind = "map[string]interface {}" if isinstance(value, dict) else "[]interface {}"
    raise InvalidRequest(f"Unsupported type: '{kind}'")
