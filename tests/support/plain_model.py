"""The bundled model without its chat template, for tests of models that have none."""

from __future__ import annotations

import os
import struct
import tempfile
from pathlib import Path

from server.gguf.reader import GgufArray, read_header

SPARK = Path(__file__).parents[2] / "server" / "bundled" / "spark.gguf"

_ALIGNMENT = 32
_DROPPED_KEY = "tokenizer.chat_template"


def plain_model() -> Path:
    """Path of the derived GGUF, made once per user and version of the bundled model."""
    status = SPARK.stat()
    folder = Path(tempfile.gettempdir()) / f"olla-tests-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / f"plain-{status.st_size}-{status.st_mtime_ns}.gguf"
    if not path.exists():
        descriptor, temporary = tempfile.mkstemp(dir=folder)
        with os.fdopen(descriptor, "wb") as file:
            file.write(without_key(SPARK.read_bytes(), _DROPPED_KEY))
        os.replace(temporary, path)
    return path


def without_key(raw: bytes, key: str) -> bytes:
    """A GGUF file (version 2 or 3) with one text out of its metadata; the data keeps its alignment."""
    version, n_tensors, n_keys = struct.unpack_from("<IQQ", raw, 4)
    length = struct.pack("<Q", len(key)) + key.encode()
    start = raw.index(length + struct.pack("<I", 8))
    value_at = start + len(length) + 4
    (value_bytes,) = struct.unpack_from("<Q", raw, value_at)
    end = value_at + 8 + value_bytes
    head_end, data_start = _header_extent(raw)
    head = b"GGUF" + struct.pack("<IQQ", version, n_tensors, n_keys - 1) + raw[24:start] + raw[end:head_end]
    return head + bytes(-len(head) % _ALIGNMENT) + raw[data_start:]


def _header_extent(raw: bytes) -> tuple[int, int]:
    """Where the tensor table of the bundled model ends, and where its data begins."""
    header = read_header(SPARK)
    if raw[: header.data_offset] != SPARK.read_bytes()[: header.data_offset]:
        raise ValueError("not the bundled model")
    arrays = [value for value in header.metadata.values() if isinstance(value, GgufArray)]
    last = header.tensors[-1]
    entry = struct.pack("<Q", len(last.name)) + last.name.encode()
    table_end = (
        raw.index(entry, max(array.offset for array in arrays)) + len(entry) + 4 + 8 * len(last.shape) + 12
    )
    return table_end, header.data_offset
