"""A model with noise on its weights: it often continues a text as the model does, and often not."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from server.gguf.reader import read_header

_ELEMENT_BYTES = {"F16": 2, "F32": 4}
_ALIGNMENT = 32


def write_noisy(source: Path, path: Path, share: float) -> Path:
    """A copy of a model of F16 weights, each changed by up to `share` of itself or so."""
    header = read_header(source)
    data = bytearray(source.read_bytes())
    rng = np.random.default_rng(5)
    offset = header.data_offset
    for tensor in header.tensors:
        n = math.prod(tensor.shape)
        if tensor.type == "F16":
            weights = np.frombuffer(data, np.float16, n, offset)
            noisy = weights * (1.0 + share * rng.standard_normal(n).astype(np.float32))
            data[offset : offset + 2 * n] = noisy.astype(np.float16).tobytes()
        n_bytes = n * _ELEMENT_BYTES[tensor.type]
        offset += n_bytes + -n_bytes % _ALIGNMENT
    path.write_bytes(data)
    return path
