"""Writing GGUF files: a header from records and a tensor table, and tensors behind it.

Layout: see `server.gguf.reader`. Records keep the bytes that they have in another file,
or `record` makes them.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from server.gguf.kinds import TENSOR_KINDS
from server.gguf.reader import DEFAULT_ALIGNMENT, tensor_bytes
from server.types.models import TensorInfo

VERSION = 3

# Number of the type and `struct` code, by the names used here.
_CODES: dict[str, tuple[int, str]] = {
    "u8": (0, "B"),
    "i8": (1, "b"),
    "u16": (2, "H"),
    "i16": (3, "h"),
    "u32": (4, "I"),
    "i32": (5, "i"),
    "f32": (6, "f"),
    "bool": (7, "?"),
    "u64": (10, "Q"),
    "i64": (11, "q"),
    "f64": (12, "d"),
}
_STRING, _ARRAY = 8, 9
_NUMBERS = {kind.name: number for number, kind in TENSOR_KINDS.items()}


class Value(NamedTuple):
    """A value with its type: "u32", "f32", "bool", "str" and so on; a list is an array of that type."""

    kind: str
    value: Any


def record(key: str, value: Value) -> bytes:
    """A key with its value, as they stand in a header."""
    return _string(key) + _typed(value)


def records(metadata: Mapping[str, Value]) -> list[bytes]:
    """All of a mapping, in its order."""
    return [record(key, value) for key, value in metadata.items()]


def encode_header(
    parts: Sequence[bytes], tensors: Sequence[TensorInfo], *, alignment: int = DEFAULT_ALIGNMENT
) -> bytes:
    """Everything before the weights, padded; shapes begin with the fastest dimension.

    Args:
        parts: records, `general.alignment` among them where it is not 32.
    """
    table = bytearray()
    offset = 0
    for info in tensors:
        layout = f"<I{len(info.shape)}QIQ"
        table += _string(info.name)
        table += struct.pack(layout, len(info.shape), *info.shape, _NUMBERS[info.type], offset)
        offset += padded(tensor_bytes(info), alignment)
    head = b"GGUF" + struct.pack("<IQQ", VERSION, len(tensors), len(parts)) + b"".join(parts) + bytes(table)
    return head + bytes(-len(head) % alignment)


def padded(n_bytes: int, alignment: int) -> int:
    """Bytes that a tensor takes with the padding behind it."""
    return n_bytes + -n_bytes % alignment


def _string(text: str) -> bytes:
    raw = text.encode("utf-8", "surrogateescape")
    return struct.pack("<Q", len(raw)) + raw


def _typed(value: Value) -> bytes:
    if isinstance(value.value, list | tuple):
        number = _STRING if value.kind == "str" else _CODES[value.kind][0]
        head = struct.pack("<IIQ", _ARRAY, number, len(value.value))
        if value.kind == "str":
            return head + b"".join(map(_string, value.value))
        return head + struct.pack(f"<{len(value.value)}{_CODES[value.kind][1]}", *value.value)
    if value.kind == "str":
        return struct.pack("<I", _STRING) + _string(value.value)
    number, code = _CODES[value.kind]
    return struct.pack("<I", number) + struct.pack(f"<{code}", value.value)
