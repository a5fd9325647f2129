"""The file of one saved state, and nothing about where it lies.

    header | tokens | state | a CRC-32 for each block of the state | SHA-256 of all but the state

All numbers are little-endian. The digest covers header, tokens and checksums, so what a file holds can be
trusted after reading its two ends, and the state itself after its blocks were compared. No byte reaches
llama.cpp unchecked. A file is written under another name and renamed when it is whole.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import stat
import struct
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from server.engine.batch import TokenArray
from server.engine.host_cache import SavedState

FORMAT_VERSION: Final = 1
KEY_BYTES: Final = 32
BLOCK_BYTES: Final = 4 << 20
"""Bytes between two looks at the inbox while a state is written, and the unit of its checksums."""

_MAGIC: Final = b"ollakv\r\n"
_HEADER: Final = struct.Struct("<8sI32sIQ")  # magic, version, key, tokens, bytes of the state
_DIGEST_BYTES: Final = hashlib.sha256().digest_size
_TOKEN_BYTES: Final = 4
_CRC_BYTES: Final = 4
_N_READERS: Final = 4

Checksums = npt.NDArray[np.uint32]


class BadStateFile(Exception):
    """A file that is no sound state of this model; the message says why."""


class StateHead(msgspec.Struct, frozen=True, eq=False):
    """What a file says of its state, checked."""

    tokens: TokenArray
    data_bytes: int
    checksums: Checksums

    @property
    def file_bytes(self) -> int:
        """Size of the file."""
        return file_size(len(self.tokens), self.data_bytes)


def file_size(n_tokens: int, data_bytes: int) -> int:
    """Size of the file for a state."""
    n_blocks = -(-data_bytes // BLOCK_BYTES)
    return _HEADER.size + n_tokens * _TOKEN_BYTES + data_bytes + n_blocks * _CRC_BYTES + _DIGEST_BYTES


def token_digest(tokens: TokenArray) -> str:
    """A name for tokens, 32 hexadecimal digits."""
    return hashlib.sha256(np.ascontiguousarray(tokens, "<i4").tobytes()).hexdigest()[:32]


def read_head(path: Path, key: bytes) -> StateHead:
    """What a file holds, without its state. Raises: BadStateFile, OSError."""
    with _opened(path) as fd:
        return _read_head(fd, key)


def read_state(path: Path, key: bytes) -> SavedState:
    """A whole file. Raises: BadStateFile, OSError, MemoryError."""
    with _opened(path) as fd:
        head = _read_head(fd, key)
        data = np.empty(head.data_bytes, np.uint8)
        start = _HEADER.size + len(head.tokens) * _TOKEN_BYTES
        view = memoryview(data.data)

        def is_sound(block: int) -> bool:
            part = view[block * BLOCK_BYTES : (block + 1) * BLOCK_BYTES]
            _read_into(fd, part, start + block * BLOCK_BYTES)
            return zlib.crc32(part) == int(head.checksums[block])

        # Reading and checksums run without the interpreter's lock, so threads share the work.
        with ThreadPoolExecutor(_N_READERS, "state") as readers:
            if not all(readers.map(is_sound, range(len(head.checksums)))):
                raise BadStateFile("its state is damaged")
        return SavedState(head.tokens, data)


class StateWriter:
    """Writes one state, block by block, so that whoever writes can look up in between.

    The file has its full size from the start, so that others who share the folder count it, and is locked
    while it is written, so that they know it from one that a killed process left.
    """

    def __init__(self, temporary: Path, key: bytes, saved: SavedState) -> None:
        """Raises: OSError, and nothing is left then."""
        self.saved = saved
        self._path = temporary
        self._checksums: list[int] = []
        tokens = np.ascontiguousarray(saved.tokens, "<i4")
        self._head = (
            _HEADER.pack(_MAGIC, FORMAT_VERSION, key, len(tokens), saved.data.nbytes) + tokens.tobytes()
        )
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW
        self._fd = os.open(temporary, flags, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(self._fd, file_size(len(tokens), saved.data.nbytes))
            _write_at(self._fd, memoryview(self._head), 0)
        except OSError:
            self.abandon()
            raise

    @property
    def is_whole(self) -> bool:
        """Whether all blocks are written."""
        return len(self._checksums) * BLOCK_BYTES >= self.saved.data.nbytes

    def write_block(self) -> None:
        """Write the next block. Raises: OSError."""
        start = len(self._checksums) * BLOCK_BYTES
        block = self.saved.data.data[start : start + BLOCK_BYTES]
        _write_at(self._fd, block, len(self._head) + start)
        self._checksums.append(zlib.crc32(block))

    def commit(self, path: Path) -> None:
        """Give the file its checksums and its name, in place of one with the same tokens. Raises: OSError."""
        checksums = np.array(self._checksums, "<u4").tobytes()
        digest = hashlib.sha256(self._head + checksums).digest()
        _write_at(self._fd, memoryview(checksums + digest), len(self._head) + self.saved.data.nbytes)
        os.replace(self._path, path)
        self._close()

    def abandon(self) -> None:
        """Remove what was written."""
        with contextlib.suppress(OSError):
            os.unlink(self._path)
        self._close()

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def is_abandoned(temporary: Path) -> bool:
    """Whether nobody writes this temporary file any more."""
    try:
        fd = os.open(temporary, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(fd)
    return True


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    # Without O_NONBLOCK a named pipe in place of the file would hold up the worker for ever.
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):  # a link, a socket
            raise BadStateFile("it is no file") from error
        raise
    try:
        yield fd
    finally:
        os.close(fd)


def _read_head(fd: int, key: bytes) -> StateHead:
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        raise BadStateFile("it is no file")
    header = _read_at(fd, _HEADER.size, 0)
    magic, version, found_key, n_tokens, data_bytes = _HEADER.unpack(header)
    if magic != _MAGIC:
        raise BadStateFile("it is no saved state")
    if version != FORMAT_VERSION:
        raise BadStateFile(f"its format is {version}, not {FORMAT_VERSION}")
    if found_key != key:
        raise BadStateFile("it is of another model or context")
    if status.st_size != file_size(n_tokens, data_bytes):
        raise BadStateFile("its size is wrong")
    tokens = _read_at(fd, n_tokens * _TOKEN_BYTES, _HEADER.size)
    end = _HEADER.size + len(tokens) + data_bytes
    tail = _read_at(fd, status.st_size - end, end)
    checksums, digest = tail[:-_DIGEST_BYTES], tail[-_DIGEST_BYTES:]
    if hashlib.sha256(header + tokens + checksums).digest() != digest:
        raise BadStateFile("its description is damaged")
    return StateHead(
        np.frombuffer(tokens, "<i4").astype(np.int32), data_bytes, np.frombuffer(checksums, "<u4")
    )


def _read_at(fd: int, n_bytes: int, offset: int) -> bytes:
    data = bytearray(n_bytes)
    _read_into(fd, memoryview(data), offset)
    return bytes(data)


def _read_into(fd: int, view: memoryview, offset: int) -> None:
    while view:
        n = os.preadv(fd, [view], offset)
        if n == 0:
            raise BadStateFile("it is cut off")
        view, offset = view[n:], offset + n


def _write_at(fd: int, view: memoryview, offset: int) -> None:
    while view:
        n = os.pwrite(fd, view, offset)
        view, offset = view[n:], offset + n
