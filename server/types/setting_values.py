"""Values of settings that are words or amounts, as the environment and `config.toml` have them."""

from __future__ import annotations

_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}

ALERTS = ("bell", "notify", "title")


def parse_alerts(text: str) -> tuple[str, ...]:
    """Some of `ALERTS`, separated by commas, or "none". Raises: ValueError."""
    kinds = tuple(part.strip().lower() for part in text.split(",") if part.strip())
    if kinds == ("none",):
        return ()
    if not set(kinds) <= set(ALERTS):
        raise ValueError("bell, notify and title, or none, are needed")
    return kinds


def parse_kv_cache_type(text: str) -> str:
    """One of the types that llama.cpp stores keys and values in. Raises: ValueError."""
    lowered = text.lower()
    if lowered not in ("f16", "q8_0", "q4_0"):
        raise ValueError("f16, q8_0 or q4_0 is needed")
    return lowered


def parse_bytes(text: str) -> int:
    """A number of bytes, as it is or in KiB, MiB or GiB: "4GiB", "512M". Raises: ValueError."""
    digits = text.rstrip("KMGiBkmgb").rstrip()
    factor = _UNITS.get(text[len(digits) :].strip().lower().removesuffix("b").removesuffix("i"))
    if factor is None or not (digits.isascii() and digits.isdigit()):
        raise ValueError("a number of bytes is needed, such as 500MiB or 4GiB")
    return int(digits) * factor


def parse_rate(text: str) -> int:
    """Bytes a second, in the units of `parse_bytes` or in KB, MB or GB: "5MB/s". Raises: ValueError."""
    plain = text.strip().lower().removesuffix("/s").strip()
    for unit, factor in (("kb", 1000), ("mb", 1000**2), ("gb", 1000**3)):
        digits = plain.removesuffix(unit).rstrip()
        if digits != plain and digits.isascii() and digits.isdigit():
            return int(digits) * factor
    try:
        return parse_bytes(plain)
    except ValueError:
        raise ValueError("bytes a second are needed, such as 500KB/s or 5MB/s") from None
