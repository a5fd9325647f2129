"""One writer at a time in a model store, over threads and processes."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from server.storage.disk import make_folder


class StoreLock:
    """A lock that is held while manifests are written or blobs removed, never while weights are copied.

    A thread may take it again while it holds it. Between processes it is `flock` on a file of ours, which the
    system releases when a process dies; Ollama does not know it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread_lock = threading.RLock()
        self._depth = 0

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock; waits for it. Raises: OSError when the lock file cannot be made."""
        with self._thread_lock:
            descriptor = self._lock_file() if self._depth == 0 else -1
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1
                if descriptor >= 0:
                    os.close(descriptor)

    def _lock_file(self) -> int:
        make_folder(self._path.parent)
        descriptor = os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor
