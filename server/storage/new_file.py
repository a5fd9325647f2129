"""A file that something else writes by its path, and that becomes a blob afterwards."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Generator
from pathlib import Path
from types import TracebackType

from server.storage.blobs import StoredBlob, touch_if_there
from server.storage.disk import disk_errors, open_temporary, publish
from server.storage.paths import StorePaths

_PIECE_BYTES = 1 << 20
_REPORT_BYTES = 1 << 26  # hashed between two reports


class NewFile:
    """Used as a context manager: what was not committed is gone at its end.

    Attributes:
        path: where to write; an empty file of that name is there.
    """

    def __init__(self, paths: StorePaths, prefix: str) -> None:
        self._paths = paths
        self._prefix = prefix
        self._descriptor = -1
        self.path = Path()

    def __enter__(self) -> NewFile:
        """Raises: DiskFull, StoreError."""
        with disk_errors(self._paths.root):
            self._descriptor, self.path = open_temporary(self._paths.temporary, self._prefix)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)
        self.path.unlink(missing_ok=True)

    def digest(self) -> Generator[int, None, str]:
        """Digest of what was written; yields now and then how many bytes are read. Raises: StoreError."""
        hasher = hashlib.sha256()
        n_read = n_told = 0
        with disk_errors(self._paths.root), self.path.open("rb") as file:
            while piece := file.read(_PIECE_BYTES):
                hasher.update(piece)
                n_read += len(piece)
                if n_read - n_told >= _REPORT_BYTES:
                    n_told = n_read
                    yield n_read
        return f"sha256:{hasher.hexdigest()}"

    def commit(self, digest: str) -> StoredBlob:
        """Make it the blob of its digest. Raises: DiskFull, StoreError."""
        with disk_errors(self._paths.root):
            size_bytes = self.path.stat().st_size
            target = self._paths.blob(digest)
            created = not touch_if_there(target)
            if created:
                publish(self._descriptor, self.path, target)
        return StoredBlob(digest, size_bytes, created)
