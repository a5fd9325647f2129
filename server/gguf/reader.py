"""Header of a GGUF file: metadata and tensor table, never the weights.

Layout (version 2 and 3, little-endian): magic "GGUF", u32 version, u64 number of tensors, u64 number of keys;
per key a string, u32 type and value; per tensor a string, u32 number of dimensions, u64 each, u32 type, u64
offset; then padding up to `general.alignment` and the data. A string is a u64 length and UTF-8 bytes.

A file may come from anybody. Every count is compared with the bytes that are left before anything is
reserved for it, so that a damaged or hostile header costs an error and no memory. Whatever llama.cpp's
gguf.cpp refuses is refused here, so that its code only ever sees headers that are whole. Arrays are skipped:
`GgufArray` knows where its elements lie and `GgufHeader.read_array` fetches them.
"""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import msgspec

from server.errors import BadModelFile
from server.gguf.cursor import Cursor
from server.gguf.kinds import TENSOR_KINDS
from server.types.models import TensorInfo

MAGIC = b"GGUF"

MAX_KEYS = 1 << 16
MAX_TENSORS = 1 << 17
MAX_DIMENSIONS = 4
MAX_ARRAY_ELEMENTS = 1 << 26
# Arrays of numbers up to this length (one number per layer, say) are read with the header, and of all
# together so many.
MAX_EAGER_ELEMENTS = 1024
MAX_EAGER_TOTAL = 1 << 16
# GGML_MAX_NAME of ggml.h without the final NUL.
MAX_TENSOR_NAME_BYTES = 63
DEFAULT_ALIGNMENT = 32

_KINDS_BY_NAME = {kind.name: kind for kind in TENSOR_KINDS.values()}
_ALIGNMENT_KEY = "general.alignment"
_MAX_INT64 = (1 << 63) - 1
_TYPE_U32 = 4
_TYPE_STRING = 8
_TYPE_ARRAY = 9
# GGUF value type to `struct` code.
_NUMBERS: dict[int, str] = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    _TYPE_U32: "I",
    5: "i",
    6: "f",
    7: "?",
    10: "Q",
    11: "q",
    12: "d",
}


class GgufArray(msgspec.Struct, frozen=True):
    """An array in the metadata.

    Attributes:
        element_type: GGUF's number of the type.
        count: elements.
        offset: where the first element begins in the file, bytes.
        values: the elements if they are few numbers, None otherwise.
    """

    element_type: int
    count: int
    offset: int
    values: tuple[Any, ...] | None = None


class GgufHeader(msgspec.Struct, frozen=True):
    """What stands before the weights.

    Attributes:
        metadata: str, int, float, bool or GgufArray by key, in the order of the file.
        tensors: in the order of the file; shapes begin with the fastest dimension, as stored.
        n_parameters: elements of all tensors together.
        data_offset: where the weights begin, bytes.
        data_bytes: bytes of all tensors without padding.
        file_bytes: size of the file.
    """

    path: Path
    version: int
    metadata: dict[str, Any]
    tensors: tuple[TensorInfo, ...]
    n_parameters: int
    data_offset: int
    data_bytes: int
    file_bytes: int

    def read_array(self, key: str, *, start: int = 0, limit: int | None = None) -> list[Any]:
        """Elements `start` to `start + limit` of an array; to its end without a limit.

        Raises: KeyError when there is no such array, BadModelFile when the file cannot be read any more.
        """
        array = self.metadata[key]
        if not isinstance(array, GgufArray):
            raise KeyError(key)
        stop = array.count if limit is None else min(array.count, start + limit)
        if array.values is not None:
            return list(array.values[start:stop])
        try:
            with self.path.open("rb") as file:
                return _read_elements(_cursor(self.path, file), array, start, stop)
        except OSError as error:
            raise _unreadable(self.path, error) from error


def read_header(path: Path) -> GgufHeader:
    """Read the header of a GGUF file.

    Raises: BadModelFile when the file is gone, not GGUF, of a version or byte order that llama.cpp does not
    load either, truncated, or damaged.
    """
    try:
        with path.open("rb") as file:
            return parse_header(path, file)
    except OSError as error:
        raise _unreadable(path, error) from error


def parse_header(path: Path, file: BinaryIO) -> GgufHeader:
    """As `read_header`, from an open file; the path is for texts and later reads. Raises: OSError too."""
    cursor = _cursor(path, file)
    version = _read_version(cursor)
    n_tensors, n_keys = cursor.unpack("QQ")
    # A key takes at least 13 bytes: length, type and one byte of value. A tensor takes 24.
    cursor.check_count("keys", n_keys, 13, MAX_KEYS)
    cursor.check_count("tensors", n_tensors, 24, MAX_TENSORS)
    metadata = _read_metadata(cursor, n_keys)
    alignment = metadata.get(_ALIGNMENT_KEY, DEFAULT_ALIGNMENT)
    if alignment <= 0 or alignment & (alignment - 1):
        raise cursor.bad(f"its alignment is {alignment}, not a power of 2")
    tensors = _read_tensors(cursor, n_tensors)
    data_offset = cursor.position + -cursor.position % alignment
    _check_layout(cursor, tensors, data_offset, alignment)
    return GgufHeader(
        path=path,
        version=version,
        metadata=metadata,
        tensors=tuple(tensor.info for tensor in tensors),
        n_parameters=sum(tensor.n_elements for tensor in tensors),
        data_offset=data_offset,
        data_bytes=sum(tensor.n_bytes for tensor in tensors),
        file_bytes=cursor.size,
    )


def is_gguf(path: Path) -> bool:
    """Whether a file begins with GGUF's magic, in either byte order. False for a file that cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(4) in (MAGIC, MAGIC[::-1])
    except OSError:
        return False


def tensor_bytes(info: TensorInfo) -> int:
    """Bytes of a tensor's data, without padding."""
    kind = _KINDS_BY_NAME[info.type]
    return math.prod(info.shape) // kind.block_elements * kind.block_bytes


def shortest_float32(value: float) -> float:
    """The shortest number that is `value` as a 32-bit float: 1e-05 for 9.999999747378752e-06."""
    if not math.isfinite(value):
        return value
    exact = struct.pack("<f", value)
    for n_digits in range(6, 10):
        candidate = float(f"{value:.{n_digits}g}")
        try:
            if struct.pack("<f", candidate) == exact:
                return candidate
        except OverflowError:
            # Rounded up beyond the largest 32-bit float.
            continue
    return value


def _cursor(path: Path, file: BinaryIO) -> Cursor:
    size = file.seek(0, 2)
    file.seek(0)
    return Cursor(path.name, file, size)


def _unreadable(path: Path, error: OSError) -> BadModelFile:
    reason = error.strerror or type(error).__name__
    return BadModelFile(f"model file {path.name} cannot be read: {reason.lower()}")


def _read_version(cursor: Cursor) -> int:
    magic = cursor.take(4)
    if magic == MAGIC[::-1]:
        raise cursor.bad("it is a big-endian GGUF file")
    if magic != MAGIC:
        raise cursor.bad("it is not a GGUF file")
    (version,) = cursor.unpack("I")
    if version == 1:
        raise cursor.bad("GGUF version 1 is no longer supported; convert the model again")
    if version & 0xFFFF == 0:
        raise cursor.bad("it is a big-endian GGUF file")
    if version > 3:
        raise cursor.bad(f"GGUF version {version} is not known")
    return int(version)


def _read_metadata(cursor: Cursor, n_keys: int) -> dict[str, Any]:
    metadata: dict[str, Any] = {}
    n_eager = 0
    for _ in range(n_keys):
        key = cursor.text()
        if not key:
            raise cursor.bad("one of its keys is empty")
        if key in metadata:
            raise cursor.bad(f"it has the key {key!r} twice")
        (value_type,) = cursor.unpack("I")
        if key == _ALIGNMENT_KEY and value_type != _TYPE_U32:
            raise cursor.bad("its alignment is no unsigned 32-bit number")
        if value_type == _TYPE_ARRAY:
            array = _read_array(cursor, key, MAX_EAGER_TOTAL - n_eager)
            n_eager += len(array.values or ())
            metadata[key] = array
        else:
            metadata[key] = _read_scalar(cursor, key, value_type)
    return metadata


def _read_scalar(cursor: Cursor, key: str, value_type: int) -> str | int | float | bool:
    value: str | int | float | bool
    if value_type == _TYPE_STRING:
        value = cursor.text()
    elif value_type in _NUMBERS:
        (value,) = _numbers(cursor, _NUMBERS[value_type], 1)
    else:
        raise cursor.bad(f"key {key!r} has the unknown type {value_type}")
    return value


def _read_array(cursor: Cursor, key: str, n_eager_left: int) -> GgufArray:
    element_type, count = cursor.unpack("IQ")
    if element_type == _TYPE_STRING:
        cursor.check_count("array elements", count, 8, MAX_ARRAY_ELEMENTS)
        array = GgufArray(element_type, count, cursor.position)
        cursor.skip_texts(count)
        return array
    code = _NUMBERS.get(element_type)
    if code is None:
        raise cursor.bad(f"array {key!r} has elements of the unsupported type {element_type}")
    width = struct.calcsize(f"<{code}")
    cursor.check_count("array elements", count, width, MAX_ARRAY_ELEMENTS)
    offset = cursor.position
    if count <= min(MAX_EAGER_ELEMENTS, n_eager_left):
        return GgufArray(element_type, count, offset, tuple(_numbers(cursor, code, count)))
    cursor.skip(count * width)
    return GgufArray(element_type, count, offset)


def _numbers(cursor: Cursor, code: str, count: int) -> list[Any]:
    if code == "?":
        return [byte != 0 for byte in cursor.take(count)]
    values = list(cursor.unpack(f"{count}{code}"))
    return [shortest_float32(value) for value in values] if code == "f" else values


class _Tensor(NamedTuple):
    """A line of the tensor table; `offset` counts from where the data begins, in bytes."""

    info: TensorInfo
    offset: int
    n_bytes: int
    n_elements: int


def _read_tensors(cursor: Cursor, n_tensors: int) -> list[_Tensor]:
    tensors: list[_Tensor] = []
    names: set[str] = set()
    for _ in range(n_tensors):
        tensor = _read_tensor(cursor)
        if tensor.info.name in names:
            raise cursor.bad(f"it has the tensor {tensor.info.name!r} twice")
        names.add(tensor.info.name)
        tensors.append(tensor)
    return tensors


def _read_tensor(cursor: Cursor) -> _Tensor:
    name = cursor.text()
    if len(name.encode()) > MAX_TENSOR_NAME_BYTES:
        raise cursor.bad(f"the name of a tensor is longer than {MAX_TENSOR_NAME_BYTES} bytes")
    (n_dimensions,) = cursor.unpack("I")
    if n_dimensions > MAX_DIMENSIONS:
        raise cursor.bad(f"tensor {name!r} has {n_dimensions} dimensions, more than {MAX_DIMENSIONS}")
    shape = cursor.unpack(f"{n_dimensions}Q")
    type_number, offset = cursor.unpack("IQ")
    kind = TENSOR_KINDS.get(type_number)
    if kind is None:
        raise cursor.bad(f"tensor {name!r} has the unknown type {type_number}")
    # A dimension of 0 makes no other one harmless: llama.cpp multiplies them in their order.
    if math.prod(max(length, 1) for length in shape) > _MAX_INT64:
        raise cursor.bad(f"tensor {name!r} has more elements than can be counted")
    row = shape[0] if shape else 1
    if row % kind.block_elements:
        raise cursor.bad(f"tensor {name!r} has rows of {row} elements, which {kind.name} cannot hold")
    n_elements = math.prod(shape)
    n_bytes = n_elements // kind.block_elements * kind.block_bytes
    return _Tensor(TensorInfo(name, kind.name, shape), offset, n_bytes, n_elements)


def _check_layout(cursor: Cursor, tensors: list[_Tensor], data_offset: int, alignment: int) -> None:
    """All data are in the file, one tensor behind the other, as llama.cpp wants it."""
    expected = 0
    for tensor in tensors:
        name, end = tensor.info.name, data_offset + tensor.offset + tensor.n_bytes
        if end > cursor.size:
            raise cursor.bad(f"tensor {name!r} offset+size ({end}) exceeds file size ({cursor.size})")
        if tensor.offset != expected:
            raise cursor.bad(f"tensor {name!r} has the offset {tensor.offset} instead of {expected}")
        expected += tensor.n_bytes + -tensor.n_bytes % alignment


def _read_elements(cursor: Cursor, array: GgufArray, start: int, stop: int) -> list[Any]:
    cursor.seek(array.offset)
    if array.element_type == _TYPE_STRING:
        cursor.skip_texts(start)
        return [cursor.text() for _ in range(start, stop)]
    code = _NUMBERS[array.element_type]
    cursor.skip(start * struct.calcsize(f"<{code}"))
    return _numbers(cursor, code, max(0, stop - start))
