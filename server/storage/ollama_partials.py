"""Downloads that an Ollama has begun: looked at and copied from, never changed.

It keeps `sha256-X-partial`, a file of the blob's length with holes, and a file of JSON for each part,
`-partial-N`, with what has come of it. It takes no locks, so it may be writing them at any moment, and syncs
nothing. What is taken over is a guess, therefore, until the digest of the whole has been seen.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

from server.storage.disk import disk_errors
from server.storage.partials import Intervals, PartialFile
from server.storage.paths import StorePaths

_DATA = re.compile(r"(sha256)-([0-9a-f]{64})-partial")
_PART = re.compile(r"sha256-[0-9a-f]{64}-partial-\d{1,9}")
_MAX_PART_FILE_BYTES = 1 << 12
_MAX_PARTS = 1 << 14
"""More than a blob of 10 TB has: its parts are of 1 GB at most."""

_PIECE_BYTES = 8 << 20
"""Copied at once: it ends soon when it is told to."""


class _Part(msgspec.Struct, frozen=True):
    """A part's file: what is there of it stands at its beginning."""

    offset: int = msgspec.field(name="Offset")
    size: int = msgspec.field(name="Size")
    completed: int = msgspec.field(name="Completed")


class OllamaPartial(NamedTuple):
    """A download of an Ollama.

    Attributes:
        written: what it says is there.
        modified_at: Unix time of the last change, seconds.
    """

    digest: str
    total_bytes: int
    written: Intervals
    modified_at: float
    files: tuple[Path, ...]

    @property
    def completed_bytes(self) -> int:
        """How many bytes are there."""
        return sum(end - start for start, end in self.written)


def list_ollama_partials(paths: StorePaths) -> tuple[OllamaPartial, ...]:
    """All that are unfinished, by digest; what vanishes meanwhile is left out."""
    names: list[str] = []
    parts: dict[str, list[Path]] = {}
    with suppress(OSError):
        names = sorted(os.listdir(paths.blobs))
    for name in names:
        if _PART.fullmatch(name):
            parts.setdefault(name.rpartition("-")[0], []).append(paths.blobs / name)
    found = []
    for name in names:
        match = _DATA.fullmatch(name)
        if match is None or (paths.blobs / f"{match[1]}-{match[2]}").exists():
            continue
        with suppress(OSError):
            status = (paths.blobs / name).lstat()
            files = parts.get(name, [])[:_MAX_PARTS]
            if stat.S_ISREG(status.st_mode):
                changes = [status.st_mtime, *(file.lstat().st_mtime for file in files)]
                found.append(
                    OllamaPartial(
                        digest=f"{match[1]}:{match[2]}",
                        total_bytes=status.st_size,
                        written=_joined(files, status.st_size),
                        modified_at=max(changes),
                        files=(paths.blobs / name, *files),
                    )
                )
    return tuple(found)


class Adoption:
    """Copies what an Ollama has fetched of a blob to a download of olla's own that has nothing yet."""

    def __init__(self, paths: StorePaths, partial: PartialFile) -> None:
        self._paths = paths
        self._partial = partial
        self._is_stopped = False

    def stop(self) -> None:
        """Have `run` end soon, in another thread."""
        self._is_stopped = True

    def run(self) -> int:
        """Copy; how many bytes there were. Raises: DiskFull, StoreError for what cannot be written."""
        if self._partial.written:
            return 0
        found = next(
            (found for found in self._mine() if found.total_bytes == self._partial.total_bytes), None
        )
        if found is None or not found.written:
            return 0
        copied: list[tuple[int, int]] = []
        with disk_errors(self._paths.root), _opened(found.files[0]) as source:
            for start, end in found.written if source >= 0 else ():
                reached = self._copy(source, start, end)
                if reached > start:
                    copied.append((start, reached))
        self._partial.take_over(tuple(copied))
        return sum(end - start for start, end in copied)

    def _mine(self) -> Iterator[OllamaPartial]:
        return (found for found in list_ollama_partials(self._paths) if found.digest == self._partial.digest)

    def _copy(self, source: int, start: int, end: int) -> int:
        """Copy a range; returns how far it came."""
        while start < end and not self._is_stopped:
            piece = os.pread(source, min(_PIECE_BYTES, end - start), start)
            if not piece:
                break
            self._partial.write_at(memoryview(piece), start)
            start += len(piece)
        return start


def _joined(files: list[Path], total_bytes: int) -> Intervals:
    """What the parts say is there, those that touch joined; nothing where parts overlap or are too long."""
    ranges = []
    for file in files:
        part = _read_part(file)
        if part is None:
            continue
        if not 0 <= part.offset <= part.offset + part.completed <= part.offset + part.size <= total_bytes:
            return ()
        if part.completed:
            ranges.append((part.offset, part.offset + part.completed))
    joined: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        if joined and start < joined[-1][1]:
            return ()
        if joined and start == joined[-1][1]:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return tuple(joined)


def _read_part(file: Path) -> _Part | None:
    """A part's file; None while it is being written, and for what is none."""
    with _opened(file) as descriptor:
        try:
            raw = os.read(descriptor, _MAX_PART_FILE_BYTES) if descriptor >= 0 else b""
            return msgspec.json.decode(raw, type=_Part)
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
            return None


@contextmanager
def _opened(file: Path) -> Iterator[int]:
    """A plain file, open to be read; -1 for what is none or cannot be read."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        yield -1
        return
    try:
        yield descriptor if stat.S_ISREG(os.fstat(descriptor).st_mode) else -1
    finally:
        os.close(descriptor)
