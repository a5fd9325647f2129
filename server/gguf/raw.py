"""Parts of GGUF files as they are: records of the header, and where each tensor's data lie.

Only for headers that `server.gguf.reader` has read and found whole.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from server.gguf.reader import DEFAULT_ALIGNMENT, GgufHeader, tensor_bytes
from server.gguf.writer import padded
from server.types.models import TensorInfo

_STRING, _ARRAY = 8, 9
# Bytes of a value by GGUF's number of its type.
_WIDTHS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_FIRST_RECORD = 24  # behind magic, version and the two counts


def raw_records(header: GgufHeader) -> dict[str, bytes]:
    """The records of a file by key, with the bytes that they have there. Raises: OSError."""
    with header.path.open("rb") as file:
        file.seek(_FIRST_RECORD)
        return {key: _read_record(file) for key in header.metadata}


def _read_record(file: BinaryIO) -> bytes:
    """The next record of a header that has been read and checked before."""
    start = file.tell()
    _skip_string(file)  # the key
    (kind,) = struct.unpack("<I", file.read(4))
    if kind == _ARRAY:
        element, count = struct.unpack("<IQ", file.read(12))
        if element == _STRING:
            for _ in range(count):
                _skip_string(file)
        else:
            file.seek(count * _WIDTHS[element], 1)
    elif kind == _STRING:
        _skip_string(file)
    else:
        file.seek(_WIDTHS[kind], 1)
    end = file.tell()
    file.seek(start)
    return file.read(end - start)


def _skip_string(file: BinaryIO) -> None:
    (length,) = struct.unpack("<Q", file.read(8))
    file.seek(length, 1)


def tensor_places(header: GgufHeader) -> list[tuple[TensorInfo, int, int]]:
    """Each tensor with where its data begin in the file and how many bytes they are."""
    alignment = header.metadata.get("general.alignment", DEFAULT_ALIGNMENT)
    places = []
    offset = header.data_offset
    for info in header.tensors:
        size = tensor_bytes(info)
        places.append((info, offset, size))
        offset += padded(size, alignment)
    return places


def copied_range(path: Path, offset: int, size: int, piece_bytes: int) -> Iterator[bytes]:
    """Pieces of a range of a file. Raises: OSError, EOFError when it is shorter than its header said."""
    with path.open("rb") as file:
        file.seek(offset)
        left = size
        while left:
            piece = file.read(min(left, piece_bytes))
            if not piece:
                raise EOFError(f"{path.name} ends too early")
            left -= len(piece)
            yield piece
