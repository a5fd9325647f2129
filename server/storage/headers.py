"""GGUF headers that were read before."""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path

from server.errors import BadModelFile
from server.gguf.metadata import GgufMetadata
from server.gguf.reader import read_header

_MAX_HEADERS = 64


class HeaderCache:
    """The last headers by path, size and time of change. Used by several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_file: OrderedDict[tuple[Path, int, int], GgufMetadata] = OrderedDict()

    def get(self, path: Path) -> GgufMetadata:
        """Metadata of a file. Raises: BadModelFile."""
        try:
            status = path.stat()
        except OSError as error:
            raise BadModelFile(f"model file {path.name} cannot be read: it is gone") from error
        key = (path, status.st_size, status.st_mtime_ns)
        with self._lock:
            if key in self._by_file:
                self._by_file.move_to_end(key)
                return self._by_file[key]
        metadata = GgufMetadata(read_header(path))
        with self._lock:
            self._by_file[key] = metadata
            while len(self._by_file) > _MAX_HEADERS:
                self._by_file.popitem(last=False)
        return metadata
