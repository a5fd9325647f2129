"""Broken GGUF headers, made of a real one by a seeded generator."""

from __future__ import annotations

import io
import random
import struct
from pathlib import Path

from server.gguf.reader import GgufArray, read_header
from tests.support.tiny_gguf import string

SPARK = Path(__file__).parents[2] / "server" / "bundled" / "spark.gguf"
N_KEPT = 16
"""Entries of the vocabulary and its merges that stay; a whole one only makes reading slow."""
ABSURD = (0, 1, 255, 1 << 20, 1 << 26, 1 << 31, 1 << 32, 1 << 60, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)


class HeaderFile(io.RawIOBase):
    """A header with zeros for the weights behind it, which counts what is read of it."""

    def __init__(self, head: bytes, size: int) -> None:
        self._head = head
        self._size = size
        self._at = 0
        self.n_read = 0

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset if whence == 0 else self._size + offset
        return self._at

    def read(self, size: int = -1) -> bytes:
        end = min(self._at + size, self._size)
        data = self._head[self._at : end]
        data += bytes(max(end - self._at - len(data), 0))
        self._at += len(data)
        self.n_read += len(data)
        return data


def short_vocabulary() -> bytes:
    """Spark's header up to the weights, with the first entries of each array only."""
    header = read_header(SPARK)
    raw = SPARK.read_bytes()[: header.data_offset]
    for key, array in reversed(header.metadata.items()):
        if not isinstance(array, GgufArray):
            continue
        items = header.read_array(key)
        packed = [string(item) if isinstance(item, str) else struct.pack("<i", item) for item in items]
        first, end = b"".join(packed[:N_KEPT]), array.offset + sum(map(len, packed))
        raw = raw[: array.offset - 8] + struct.pack("<Q", N_KEPT) + first + raw[end:]
    return raw + bytes(-len(raw) % 32)


HEAD = short_vocabulary()
SIZE = len(HEAD) + SPARK.stat().st_size


def mutated(rng: random.Random) -> tuple[bytes, int]:
    """A broken header and the size of its file."""
    raw, size = bytearray(HEAD), SIZE
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        at = rng.randrange(len(raw))
        match rng.randrange(8):
            case 0:
                size = min(size, rng.randrange(len(HEAD)))
            case 1:
                raw[rng.randrange(4)] = rng.randrange(256)
            case 2:
                place = rng.choice((8, 16))
                raw[place : place + 8] = struct.pack("<Q", rng.choice(ABSURD))
            case 3:
                raw[at : at + 8] = struct.pack("<Q", rng.choice(ABSURD))
            case 4:
                del raw[at : at + rng.randint(1, 40)]
            case 5:
                raw[at:at] = rng.randbytes(rng.randint(1, 40))
            case 6:
                raw[at:at] = raw[at : at + rng.randint(1, 200)]
            case _:
                raw[at] ^= 1 << rng.randrange(8)
    return bytes(raw), size
