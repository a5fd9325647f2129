"""Numbers as short texts of a steady width."""

from __future__ import annotations

import math


def bytes_text(n_bytes: float) -> str:
    """Decimal bytes with a unit, as Ollama prints them: "6.2 MB", "9.3 GB"."""
    value = float(max(0, n_bytes))
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 999.5 or unit == "TB":
            break
        value /= 1000
    digits = 0 if unit == "B" or value >= 99.95 else 1
    return f"{value:.{digits}f} {unit}"


def gib_text(n_bytes: float) -> str:
    """Binary gigabytes without a unit, for "17.1/24 G"."""
    value = max(0.0, n_bytes) / 2**30
    if 0 < value < 0.05:
        return "<0.1"
    return f"{value:.0f}" if value >= 99.95 else f"{value:.1f}"


def count_text(count: float) -> str:
    """A count in at most four characters: "412", "3.1k", "32k", "1.2M"."""
    value = float(count)
    for unit in ("", "k", "M"):
        if value < 999.5 or unit == "M":
            break
        value /= 1000
    if not unit:
        return f"{value:.0f}"
    return f"{value:.1f}{unit}" if value < 9.95 and value != int(value) else f"{value:.0f}{unit}"


def context_length_text(n_tokens: int) -> str:
    """A context length as its makers write it: "32k" for 32768."""
    if n_tokens >= 1024 and n_tokens % 1024 == 0:
        return f"{n_tokens // 1024}k"
    return count_text(n_tokens)


def rate_text(per_s: float) -> str:
    """Tokens a second: "41.3", "120"; "–" for none."""
    if per_s <= 0:
        return "–"
    return f"{per_s:.0f}" if per_s >= 99.95 else f"{per_s:.1f}"


def seconds_text(seconds: float) -> str:
    """A measured duration: "0.38 s", "12.4 s", "3m05s"."""
    if seconds < 9.995:
        return f"{seconds:.2f} s"
    if seconds < 99.95:
        return f"{seconds:.1f} s"
    return countdown_text(seconds)


def countdown_text(seconds: float) -> str:
    """Time that is left: "27s", "4m12s", "3h02m", "2d04h"; "forever" for infinity."""
    if math.isinf(seconds):
        return "forever"
    total = max(0, math.ceil(seconds))
    if total < 60:
        return f"{total}s"
    if total < 3600:
        return f"{total // 60}m{total % 60:02d}s"
    if total < 86_400:
        return f"{total // 3600}h{total % 3600 // 60:02d}m"
    return f"{total // 86_400}d{total % 86_400 // 3600:02d}h"


def age_text(seconds: float) -> str:
    """How long ago: "now", "5 min ago", "3 h ago", "12 d ago"."""
    if seconds < 60:
        return "now"
    if seconds < 3600:
        return f"{seconds // 60:.0f} min ago"
    if seconds < 86_400:
        return f"{seconds // 3600:.0f} h ago"
    return f"{seconds // 86_400:.0f} d ago"


def percent_text(fraction: float) -> str:
    """A share in four characters, right-aligned: " 71%", "100%"."""
    return f"{round(100 * min(1.0, max(0.0, fraction))):3d}%"
