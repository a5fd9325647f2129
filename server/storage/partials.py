"""Blobs that are not whole yet: downloads that can go on after any end of the process or of the machine.

Each has two files below `.olla/partial`, where Ollama does not prune: the bytes, in a file of the blob's full
length with holes, and a journal that says which of them are there. The file of the bytes is locked while
somebody fetches it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from server.storage.blobs import digest_of_name
from server.storage.disk import disk_errors, make_folder, publish, try_lock, write_all
from server.storage.paths import StorePaths, normal_digest

Intervals = tuple[tuple[int, int], ...]
"""Half-open ranges of bytes, in order and apart from each other."""

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_MAX_JOURNAL_BYTES = 1 << 22
_JOURNAL_SUFFIX = ".json"


class _Journal(msgspec.Struct, frozen=True):
    """What a partial blob's journal says.

    Attributes:
        model: for which model it was fetched last, for people.
        total_bytes: length of the whole blob.
        written: bytes that the operating system has taken; they outlive the process.
        synced: those that are on the disk; they outlive the machine.
        boot: since which start of the machine `written` holds, "" where that cannot be told.
    """

    model: str
    total_bytes: int
    written: Intervals
    synced: Intervals
    boot: str = ""


class PartialBlob(msgspec.Struct, frozen=True, kw_only=True):
    """An unfinished download, for lists.

    Attributes:
        model: for which model it was fetched last, "" when not known.
        total_bytes: 0 when not known.
        modified_at: Unix time of the last byte, seconds.
        is_in_use: somebody fetches it now.
        files: what goes when it is removed.
    """

    digest: str
    model: str
    total_bytes: int
    completed_bytes: int
    modified_at: float
    is_in_use: bool
    files: tuple[Path, ...]


class PartialFile:
    """A partial blob that is being fetched, locked against everybody else.

    Its methods may run in any thread.
    """

    def __init__(
        self,
        paths: StorePaths,
        digest: str,
        total_bytes: int,
        model: str,
        descriptor: int,
        written: Intervals,
    ) -> None:
        """Made by `open_partial`; `written` is what was there before."""
        self.digest = digest
        self.total_bytes = total_bytes
        self._model = model
        self._paths = paths
        self._path = _data_path(paths, digest)
        self._descriptor = descriptor
        self.written = written
        self._synced = written
        self._boot = _boot_id()

    def write_at(self, data: memoryview, offset: int) -> None:
        """Write all of it. Raises: DiskFull, StoreError."""
        with disk_errors(self._paths.root):
            while data:
                n_written = os.pwrite(self._descriptor, data, offset)
                data, offset = data[n_written:], offset + n_written

    def read_at(self, n_bytes: int, offset: int) -> bytes:
        """Some of the bytes that are there, at least one. Raises: StoreError."""
        with disk_errors(self._paths.root):
            return os.pread(self._descriptor, n_bytes, offset)

    def save(self, written: Intervals) -> None:
        """Note in the journal what is there. Raises: DiskFull, StoreError."""
        journal = _Journal(self._model, self.total_bytes, written, self._synced, self._boot)
        temporary = self._path.with_suffix(".new")
        with disk_errors(self._paths.root):
            flags = os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(temporary, flags, 0o644)
            try:
                write_all(descriptor, msgspec.json.encode(journal))
            finally:
                os.close(descriptor)
            os.replace(temporary, _journal_path(self._path))

    def sync(self, written: Intervals) -> None:
        """Put what is there on the disk and note that. Raises: DiskFull, StoreError."""
        with disk_errors(self._paths.root):
            os.fdatasync(self._descriptor)
        self._synced = written
        self.save(written)

    def take_over(self, written: Intervals) -> None:
        """Begin with bytes that were written already, from elsewhere. Raises: DiskFull, StoreError."""
        self.written = written
        self.save(written)

    def make_blob(self, target: Path) -> None:
        """Give the whole, verified bytes the blob's name. Raises: DiskFull, StoreError."""
        with disk_errors(self._paths.root):
            publish(self._descriptor, self._path, target)
        _remove_files(_journal_path(self._path), self._path.with_suffix(".new"))

    def remove(self) -> None:
        """Forget what was fetched."""
        _remove_files(self._path, _journal_path(self._path), self._path.with_suffix(".new"))

    def close(self) -> None:
        """Let it go, to be gone on with by anybody; again is harmless."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def open_partial(paths: StorePaths, digest: str, total_bytes: int, model: str) -> PartialFile | None:
    """Begin or go on with a partial blob; None while another process fetches it.

    What was fetched for another length is of no use and starts over.

    Raises: DiskFull, StoreError, InvalidRequest for a digest of a wrong form.
    """
    digest = normal_digest(digest)
    path = _data_path(paths, digest)
    with disk_errors(paths.root):
        make_folder(path.parent)
        while True:
            descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                if not try_lock(descriptor):
                    os.close(descriptor)
                    return None
                if _is_still(descriptor, path):
                    is_same = os.fstat(descriptor).st_size == total_bytes
                    written = _trusted(_read_journal(path), total_bytes) if is_same else ()
                    os.ftruncate(descriptor, total_bytes)
                    return PartialFile(paths, digest, total_bytes, model, descriptor, written)
            except BaseException:
                os.close(descriptor)
                raise
            # Whoever held the lock has made it a blob or removed it in between.
            os.close(descriptor)


def list_partials(paths: StorePaths) -> tuple[PartialBlob, ...]:
    """All unfinished downloads of olla's own, by digest; what vanishes meanwhile is left out."""
    found = []
    for path in _data_files(paths):
        with suppress(OSError):
            status = path.lstat()
            digest = digest_of_name(path.name)
            if digest is None or not stat.S_ISREG(status.st_mode):
                continue
            journal = _read_journal(path)
            modified_at = status.st_mtime
            with suppress(OSError):
                modified_at = max(modified_at, _journal_path(path).lstat().st_mtime)
            found.append(
                PartialBlob(
                    digest=digest,
                    model=journal.model if journal else "",
                    total_bytes=journal.total_bytes if journal else status.st_size,
                    completed_bytes=_length(_trusted(journal, journal.total_bytes)) if journal else 0,
                    modified_at=modified_at,
                    is_in_use=not _is_free(path),
                    files=tuple(file for file in (path, _journal_path(path)) if file.exists()),
                )
            )
    return tuple(found)


def remove_partial(paths: StorePaths, digest: str) -> bool:
    """Remove an unfinished download; False when somebody fetches it. Raises: StoreError."""
    path = _data_path(paths, normal_digest(digest))
    with disk_errors(paths.root), _held(path) as is_held:
        if is_held:
            _remove_files(path, _journal_path(path), path.with_suffix(".new"))
        return is_held


def needed_bytes(paths: StorePaths, digest: str, total_bytes: int) -> int:
    """Room on the disk that fetching a blob takes: its length without what is there already."""
    return total_bytes - _length(_trusted(_read_journal(_data_path(paths, digest)), total_bytes))


def free_bytes(paths: StorePaths) -> int | None:
    """Room on the disk of the store for this user; None when that cannot be told."""
    for folder in (paths.root, *paths.root.parents):
        with suppress(OSError):
            status = os.statvfs(folder)
            return status.f_bavail * status.f_frsize
    return None


def _data_path(paths: StorePaths, digest: str) -> Path:
    return paths.partials / digest.replace(":", "-")


def _journal_path(path: Path) -> Path:
    return path.with_name(path.name + _JOURNAL_SUFFIX)


def _data_files(paths: StorePaths) -> list[Path]:
    try:
        return sorted(path for path in paths.partials.iterdir() if path.suffix == "")
    except OSError:
        return []


def _read_journal(path: Path) -> _Journal | None:
    """The journal of a partial blob; None when there is none or it does not read."""
    try:
        descriptor = os.open(_journal_path(path), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            return msgspec.json.decode(file.read(_MAX_JOURNAL_BYTES), type=_Journal)
    except (OSError, msgspec.MsgspecError):
        return None


def _trusted(journal: _Journal | None, total_bytes: int) -> Intervals:
    """The bytes of a blob of this length that are surely there."""
    if journal is None or journal.total_bytes != total_bytes:
        return ()
    boot = _boot_id()
    intervals = journal.written if boot and boot == journal.boot else journal.synced
    last = -1
    for start, end in intervals:
        if not last < start < end <= total_bytes:
            return ()
        last = end
    return intervals


def _length(intervals: Intervals) -> int:
    return sum(end - start for start, end in intervals)


def _boot_id() -> str:
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _is_still(descriptor: int, path: Path) -> bool:
    """Whether the path still names the open file."""
    try:
        named = path.lstat()
    except FileNotFoundError:
        return False
    opened = os.fstat(descriptor)
    return (named.st_ino, named.st_dev) == (opened.st_ino, opened.st_dev)


@contextmanager
def _held(path: Path) -> Iterator[bool]:
    """Lock a partial blob for the time of the block; False when somebody else has."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        yield True
        return
    try:
        yield try_lock(descriptor)
    finally:
        os.close(descriptor)


def _is_free(path: Path) -> bool:
    with _held(path) as is_held:
        return is_held


def _remove_files(*files: Path) -> None:
    for file in files:
        file.unlink(missing_ok=True)
