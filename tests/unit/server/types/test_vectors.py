"""Vectors as bytes."""

from __future__ import annotations

import math
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.types.vectors import floats, packed, shortened

VALUES = st.lists(st.floats(min_value=-1, max_value=1, width=32), min_size=1, max_size=32)


@given(VALUES, st.integers(min_value=1, max_value=40))
def test_a_shortened_vector_has_length_one_and_the_same_direction(values: list[float], n: int) -> None:
    vector = array("f", values).tobytes()
    cut = floats(shortened(vector, n))
    if n >= len(values):
        assert list(cut) == values
        return
    assert len(cut) == n
    norm = math.sqrt(math.fsum(value * value for value in values[:n]))
    if norm > 1e-3:
        assert math.sqrt(math.fsum(value * value for value in cut)) == pytest.approx(1, rel=1e-5)
        assert list(cut) == pytest.approx([value / norm for value in values[:n]], rel=1e-5, abs=1e-6)


def test_a_vector_of_zeros_stays_one() -> None:
    assert list(floats(shortened(bytes(16), 2))) == [0.0, 0.0]


@given(VALUES)
def test_a_vector_reads_back(values: list[float]) -> None:
    assert list(floats(packed(values))) == values


def test_bytes_are_little_endian() -> None:
    assert packed([1.0]) == b"\x00\x00\x80\x3f"


@pytest.mark.parametrize(("numbers", "error"), [(["x"], TypeError), ([10**400], OverflowError)])
def test_what_is_no_vector(numbers: list[float], error: type[Exception]) -> None:
    with pytest.raises(error):
        packed(numbers)
