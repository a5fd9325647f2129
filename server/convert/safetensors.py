"""Safetensors files: where each tensor lies, and reading one.

Layout: u64 length of the header, little-endian; the header, JSON with `dtype`, `shape` and `data_offsets` of
each tensor; the data. A file may come from anybody: lengths are compared with the size of the file before
they are used, and nothing is mapped.
"""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from server.errors import BadModelFile

MAX_HEADER_BYTES = 100_000_000
"""Bound of the reference implementation."""

Array = npt.NDArray[Any]

# Name in the file to numpy's type; BF16 has none and is read as its 16 bits.
_TYPES: dict[str, type[np.generic]] = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16}


class StoredTensor(NamedTuple):
    """A tensor in a file. `shape` begins with the slowest dimension, `offset` is where its bytes begin."""

    path: Path
    name: str
    kind: str
    shape: tuple[int, ...]
    offset: int


def read_index(path: Path, name: str) -> dict[str, StoredTensor]:
    """All tensors of a file. `name`: for error texts. Raises: BadModelFile."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(8)
            if head.startswith(b"version "):
                raise BadModelFile(
                    f"{name} is a pointer of Git LFS", hint="Fetch the files with `git lfs pull`."
                )
            (length,) = struct.unpack("<Q", head) if len(head) == 8 else (0,)
            if not 2 <= length <= min(size - 8, MAX_HEADER_BYTES):
                raise BadModelFile(f"{name} is no safetensors file, or is truncated")
            header = json.loads(file.read(length))
    except OSError as error:
        raise BadModelFile(f"{name} cannot be read: {(error.strerror or '').lower()}") from error
    except (ValueError, RecursionError) as error:
        raise BadModelFile(f"{name} has a header that is no JSON") from error
    if not isinstance(header, dict):
        raise BadModelFile(f"{name} has a header that is no JSON object")
    header.pop("__metadata__", None)
    start = 8 + length
    return {key: _tensor(path, name, key, entry, start, size) for key, entry in header.items()}


def _tensor(path: Path, name: str, key: str, entry: Any, start: int, size: int) -> StoredTensor:
    try:
        kind, shape = str(entry["dtype"]), tuple(entry["shape"])
        begin, end = entry["data_offsets"]
        numbers = (*shape, begin, end)
        if not all(isinstance(number, int) and number >= 0 for number in numbers):
            raise TypeError
    except (TypeError, KeyError, ValueError):
        raise BadModelFile(f"{name}: the tensor {key!r} is not described as it should be") from None
    if kind in _TYPES and math.prod(shape) * np.dtype(_TYPES[kind]).itemsize != end - begin:
        raise BadModelFile(f"{name}: the tensor {key!r} has {end - begin} bytes, which is not its shape")
    if not begin <= end <= size - start:
        raise BadModelFile(f"{name} is truncated: the tensor {key!r} ends behind the file's end")
    return StoredTensor(path, key, kind, shape, start + begin)


def load(tensor: StoredTensor) -> Array:
    """The elements; BF16 as unsigned 16-bit numbers. Raises: BadModelFile."""
    try:
        found = np.fromfile(
            tensor.path, _TYPES[tensor.kind], count=math.prod(tensor.shape), offset=tensor.offset
        )
    except OSError as error:
        raise BadModelFile(f"the tensor {tensor.name!r} cannot be read") from error
    if found.size != math.prod(tensor.shape):
        raise BadModelFile(f"the tensor {tensor.name!r} is truncated")
    return found.reshape(tensor.shape)


def is_supported(tensor: StoredTensor) -> bool:
    """Whether `load` reads its type."""
    return tensor.kind in _TYPES


def as_float32(values: Array, kind: str) -> npt.NDArray[np.float32]:
    """Elements of any type here as 32-bit floats."""
    if kind == "BF16":
        return (values.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return values.astype(np.float32, copy=False)


def from_float32(values: npt.NDArray[np.float32], kind: str) -> Array:
    """32-bit floats as elements of a type; BF16 rounded to even, as its 16 bits."""
    if kind == "F32":
        return values
    if kind == "F16":
        with np.errstate(over="ignore"):
            return values.astype(np.float16)
    bits = values.view(np.uint32)
    rounded = (bits + (np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1)))) >> np.uint32(16)
    return np.where(np.isnan(values), np.uint32(0x7FC0), rounded).astype(np.uint16)
