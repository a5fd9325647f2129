"""Vectors as text: each number with the fewest digits that give the same float32, as Go prints them. Pure."""

from __future__ import annotations

import struct


def vector_text(vector: bytes) -> str:
    """A little-endian float32 vector as a JSON list without spaces."""
    return f"[{','.join(number_text(number) for (number,) in struct.iter_unpack('<f', vector))}]"


def number_text(number: float) -> str:
    """A float32 with the fewest digits; exponents below 1e-6 and from 1e21 on, without leading zeros."""
    if number == 0:
        return "0" if str(number)[0] != "-" else "-0"
    for n_digits in range(9):
        text = f"{number:.{n_digits}e}"
        if _is_same(float(text), number):
            break
    mantissa, _, exponent = text.partition("e")
    power = int(exponent)
    if power < -6 or power >= 21:
        return f"{mantissa}e{power:+d}" if power >= 0 else f"{mantissa}e{power}"
    sign, digits = ("-" if number < 0 else ""), mantissa.lstrip("-").replace(".", "")
    if power < 0:
        return f"{sign}0.{'0' * (-power - 1)}{digits}"
    if len(digits) <= power + 1:
        return f"{sign}{digits}{'0' * (power + 1 - len(digits))}"
    return f"{sign}{digits[: power + 1]}.{digits[power + 1 :]}"


def _is_same(rounded: float, number: float) -> bool:
    """Whether a number rounds to a float32; beyond the largest one none does."""
    try:
        return struct.unpack("<f", struct.pack("<f", rounded)) == (number,)
    except OverflowError:
        return False
