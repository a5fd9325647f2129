"""Embedding vectors as bytes, little-endian float32, without numpy: the server process stays small."""

from __future__ import annotations

import math
import sys
from array import array
from collections.abc import Iterable

FLOAT_BYTES = 4


def floats(vector: bytes) -> array[float]:
    """The numbers of a vector."""
    return _swapped(array("f", vector))


def packed(numbers: Iterable[float]) -> bytes:
    """A vector of these numbers.

    Raises: TypeError for what is no number, OverflowError for a whole number that no float holds.
    """
    return _swapped(array("f", numbers)).tobytes()


def shortened(vector: bytes, n_dimensions: int) -> bytes:
    """The first `n_dimensions` values, normalised to length 1; a vector that is not longer stays as it is."""
    if n_dimensions * FLOAT_BYTES >= len(vector):
        return vector
    values = floats(vector[: n_dimensions * FLOAT_BYTES])
    norm = math.sqrt(math.fsum(value * value for value in values))
    return packed(value / norm if norm else 0.0 for value in values)


def _swapped(numbers: array[float]) -> array[float]:
    """From the machine's order of bytes to a vector's, and back; where they differ, in place."""
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers
