"""Numbers of vectors: the fewest digits that give the same float32."""

from __future__ import annotations

import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from olla_tui.cli.float32 import number_text, vector_text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.008406024, "0.008406024"),
        (-0.034009017, "-0.034009017"),
        (-0.00009311943, "-0.00009311943"),
        (-1.707999e-8, "-1.707999e-8"),
        (-8.556575e-33, "-8.556575e-33"),
        (0.5, "0.5"),
        (1.0, "1"),
        (123456.0, "123456"),
        (12.5, "12.5"),
        (0.0, "0"),
        (-0.0, "-0"),
        (1e21, "1e+21"),
    ],
)
def test_texts(number: float, text: str) -> None:
    assert number_text(struct.unpack("<f", struct.pack("<f", number))[0]) == text


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=5))
def test_reading_back_gives_the_same_vector(numbers: list[float]) -> None:
    vector = struct.pack(f"<{len(numbers)}f", *numbers)
    read = json.loads(vector_text(vector))
    assert list(struct.unpack(f"<{len(numbers)}f", struct.pack(f"<{len(numbers)}f", *read))) == numbers
