"""Points in time as Go prints them: RFC 3339 with up to nine digits of a second, trailing zeros cut."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from functools import lru_cache

_NS_PER_S = 1_000_000_000
FOREVER_S = (2**63 - 1) / _NS_PER_S
"""Longest duration that Go can hold, about 292 years: what "never" becomes when a server adds it to now."""


def utc_text(time_ns: int) -> str:
    """UTC with "Z". `time_ns`: Unix time in nanoseconds."""
    seconds, fraction_ns = divmod(time_ns, _NS_PER_S)
    return f"{_utc_second(seconds)}{_fraction(fraction_ns)}Z"


@lru_cache(maxsize=4)
def _utc_second(seconds: int) -> str:
    # A stream stamps hundreds of lines within one second.
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def local_text(time_s: float) -> str:
    """This machine's time with its offset, "Z" where that is zero. `time_s`: Unix time in seconds."""
    seconds = math.floor(time_s)
    # A float near now holds no more than microseconds.
    fraction_ns = round((time_s - seconds) * 1_000_000) * 1_000
    if fraction_ns >= _NS_PER_S:
        seconds, fraction_ns = seconds + 1, 0
    local = datetime.fromtimestamp(seconds, UTC).astimezone()
    offset = local.strftime("%z")
    zone = "Z" if offset in ("+0000", "-0000") else f"{offset[:3]}:{offset[3:5]}"
    return f"{local.strftime('%Y-%m-%dT%H:%M:%S')}{_fraction(fraction_ns)}{zone}"


def _fraction(fraction_ns: int) -> str:
    return f".{fraction_ns:09d}".rstrip("0") if fraction_ns else ""


def parse_time(text: str) -> float:
    """Unix time in seconds of an RFC 3339 text, to the microsecond. Raises: ValueError."""
    return datetime.fromisoformat(text).timestamp()
