"""Blobs: files named by the sha256 of their bytes."""

from __future__ import annotations

import hashlib
import os
import stat
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import msgspec

from server.errors import BlobNotFound, DigestMismatch, InvalidRequest
from server.storage.disk import disk_errors, open_temporary, publish, write_all
from server.storage.paths import StorePaths, normal_digest
from server.types.quoting import go_quote


class StoredBlob(msgspec.Struct, frozen=True):
    """A blob that is in the store; `created` is False when it was there before."""

    digest: str
    size_bytes: int
    created: bool


class BlobWriter:
    """Takes bytes of unknown digest and makes them a blob.

    Used as a context manager, or by `open` and `close`: what was not committed is gone at the end. Its
    methods may be called on different threads; one waits for the other, so that a write that was given up on
    has ended before the file is closed.
    """

    def __init__(self, paths: StorePaths) -> None:
        self._paths = paths
        self._lock = threading.Lock()
        self._hash = hashlib.sha256()
        self._size_bytes = 0
        self._temporary: Path | None = None
        self._descriptor = -1

    def __enter__(self) -> BlobWriter:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def open(self) -> None:
        """Make the temporary file. Raises: DiskFull, StoreError."""
        with self._lock, disk_errors(self._paths.root):
            self._descriptor, self._temporary = open_temporary(self._paths.temporary, "blob-")

    def write(self, data: bytes) -> None:
        """Append. Raises: DiskFull, StoreError."""
        with self._lock, disk_errors(self._paths.root):
            self._hash.update(data)
            self._size_bytes += len(data)
            write_all(self._descriptor, data)

    def digest(self) -> str:
        """Digest of what has been written so far."""
        return f"sha256:{self._hash.hexdigest()}"

    def commit(self, expected: str = "") -> StoredBlob:
        """Make it a blob. With an expected digest, the bytes are kept under their own in any case.

        Raises: DigestMismatch, InvalidRequest for an expected digest of a wrong form, DiskFull, StoreError.
        """
        wanted = normal_digest(expected) if expected else ""
        digest = self.digest()
        with self._lock, disk_errors(self._paths.root):
            target = self._paths.blob(digest)
            created = not touch_if_there(target)
            if created and self._temporary is not None:
                publish(self._descriptor, self._temporary, target)
        if wanted and wanted != digest:
            raise DigestMismatch(
                f"digest mismatch, expected {go_quote(expected)}, got {go_quote(digest)}",
                hint="The bytes that arrived are not those that were announced; send them again.",
            )
        return StoredBlob(digest, self._size_bytes, created)

    def close(self) -> None:
        """Close and remove the temporary file; again is harmless."""
        with self._lock:
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1
            if self._temporary is not None:
                self._temporary.unlink(missing_ok=True)
                self._temporary = None


def touch(path: Path) -> None:
    """Restart the hour for which Ollama spares a blob that no manifest names.

    A blob of another user cannot be touched; Ollama, as that user, minds its own.
    """
    with suppress(PermissionError):
        os.utime(path, follow_symlinks=False)


def touch_if_there(path: Path) -> bool:
    """Touch a blob; False when there is none, for instance because it has just been removed."""
    with suppress(FileNotFoundError):
        if is_blob(path):
            touch(path)
            return True
    return False


def is_blob(path: Path) -> bool:
    """Whether there is a regular file; a symbolic link is none."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def digest_of_name(file_name: str) -> str | None:
    """The digest that a blob's file is named after, None for other names."""
    try:
        digest = normal_digest(file_name)
    except InvalidRequest:
        return None
    return digest if file_name == digest.replace(":", "-") else None


def read_blob(paths: StorePaths, digest: str, limit_bytes: int) -> bytes:
    """All bytes of a small blob.

    Raises: BlobNotFound when it is not there, cannot be read or is longer than the limit; InvalidRequest for
    a digest of a wrong form.
    """
    path = paths.blob(digest)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        with os.fdopen(descriptor, "rb") as file:
            data = file.read(limit_bytes + 1)
    except OSError as error:
        raise BlobNotFound(f"blob {go_quote(digest)} not found") from error
    if len(data) > limit_bytes:
        raise BlobNotFound(f"blob {go_quote(digest)} is larger than {limit_bytes} bytes")
    return data
