"""Uploaded blobs that wait for their model."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

_PIN_S = 3600.0
_MAX_PINS = 4096


class Pins:
    """Digests that were uploaded in the last hour and of which no model was made yet.

    A client uploads first and creates then; what it was told is there must not go with another model that is
    deleted in between.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._since: dict[str, float] = {}

    def add(self, digest: str) -> None:
        """Hold a digest; past some thousand the oldest is let go."""
        with self._lock:
            self._since.pop(digest, None)
            self._since[digest] = self._clock()
            while len(self._since) > _MAX_PINS:
                del self._since[next(iter(self._since))]

    def release(self, digests: Iterable[str]) -> None:
        """Let digests go."""
        with self._lock:
            for digest in digests:
                self._since.pop(digest, None)

    def held(self) -> frozenset[str]:
        """Digests to spare now."""
        oldest = self._clock() - _PIN_S
        with self._lock:
            self._since = {digest: since for digest, since in self._since.items() if since >= oldest}
            return frozenset(self._since)
