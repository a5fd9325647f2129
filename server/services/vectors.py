"""Arithmetic on embedding vectors as bytes, without numpy: the server process stays small."""

from __future__ import annotations

import math
import sys
from array import array


def floats(vector: bytes) -> array[float]:
    """The float32 values of a little-endian vector."""
    values = array("f", vector)
    if sys.byteorder == "big":
        values.byteswap()
    return values


def shortened(vector: bytes, n_dimensions: int) -> bytes:
    """The first `n_dimensions` values, normalised to length 1; a vector that is not longer stays as it is."""
    if n_dimensions * 4 >= len(vector):
        return vector
    values = floats(vector[: n_dimensions * 4])
    norm = math.sqrt(math.fsum(value * value for value in values))
    scaled = array("f", (value / norm if norm else 0.0 for value in values))
    if sys.byteorder == "big":
        scaled.byteswap()
    return scaled.tobytes()
