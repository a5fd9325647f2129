"""Sizes, numbers, times and durations as Ollama writes them for people. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable

_BYTE_UNITS = ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "KB"))

_YEAR_H = 24 * 365
_FOREVER_YEARS = 20
"""An expiry farther away than this many years is one that never comes."""


def human_bytes(size_bytes: int) -> str:
    """Decimal units; from 10 of a unit on without decimals and cut, not rounded: "6.3 MB", "999 KB"."""
    for unit_bytes, unit in _BYTE_UNITS:
        if size_bytes >= unit_bytes:
            value = size_bytes / unit_bytes
            if value >= 10 or value == math.trunc(value):
                return f"{int(value)} {unit}"
            return f"{value:.1f} {unit}"
    return f"{size_bytes} B"


def human_number(number: int) -> str:
    """Counts of parameters: "7B", "2.9B", "125M", "500.50M", "1K"."""
    if number >= 10**9:
        value = number / 10**9
        return f"{value:.0f}B" if value == math.floor(value) else f"{value:.1f}B"
    if number >= 10**6:
        value = number / 10**6
        return f"{value:.0f}M" if value == math.floor(value) else f"{value:.2f}M"
    return f"{number / 1000:.0f}K" if number >= 1000 else str(number)


def human_duration(duration_s: float) -> str:
    """A duration in one unit: "45 seconds", "About a minute", "3 weeks"."""
    seconds, minutes = int(duration_s), int(duration_s / 60)
    hours = math.floor(duration_s / 3600 + 0.5)
    if seconds < 1:
        return "Less than a second"
    if seconds < 60:
        return "1 second" if seconds == 1 else f"{seconds} seconds"
    if minutes < 60:
        return "About a minute" if minutes == 1 else f"{minutes} minutes"
    limits: tuple[tuple[int, Callable[[int], str]], ...] = (
        (2, lambda h: "About an hour"),
        (48, lambda h: f"{h} hours"),
        (24 * 7 * 2, lambda h: f"{h // 24} days"),
        (24 * 30 * 2, lambda h: f"{h // 24 // 7} weeks"),
        (_YEAR_H * 2, lambda h: f"{h // 24 // 30} months"),
    )
    for limit_h, text in limits:
        if hours < limit_h:
            return text(hours)
    return f"{int(duration_s / 3600) // _YEAR_H} years"


def human_time(then_s: float | None, now_s: float, *, never: str = "Never") -> str:
    """Distance of a Unix time from now: "2 hours ago", "2 days from now", "Forever"; None gives `never`."""
    if then_s is None:
        return never
    distance_s = then_s - now_s
    if distance_s / 3600 / _YEAR_H >= _FOREVER_YEARS + 1:
        return "Forever"
    if distance_s > 0:
        return f"{human_duration(distance_s)} from now"
    return f"{human_duration(-distance_s)} ago"


def processor(size_bytes: int, size_vram_bytes: int) -> str:
    """Where a loaded model lies: "100% GPU", "100% CPU" or "25%/75% CPU/GPU"."""
    if size_vram_bytes == 0:
        return "100% CPU"
    if size_vram_bytes == size_bytes:
        return "100% GPU"
    if size_vram_bytes > size_bytes or size_bytes == 0:
        return "Unknown"
    cpu_percent = math.floor((size_bytes - size_vram_bytes) / size_bytes * 100 + 0.5)
    return f"{cpu_percent}%/{100 - cpu_percent}% CPU/GPU"


def with_hint(message: str, hint: str) -> str:
    """A message and what to do about it, as sentences on one line."""
    return f"{message.rstrip('.')}. {hint}" if hint else message
