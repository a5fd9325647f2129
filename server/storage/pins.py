"""Blobs that wait for their model: uploaded, or fetched by a pull."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from server.storage.disk import make_folder

_PIN_S = 3600.0
_MAX_PINS = 4096
_PREFIX = "sha256-"
_N_DIGITS = 64


class Pins:
    """Digests that were uploaded, or that a pull needs, in the last hour and of which no model was made yet.

    A client uploads first and creates then; what it was told is there must not go with another model that is
    deleted in between. A pull holds what it needs under a name of its own: another that needs the same may
    end and its model be deleted before this one has its manifest. Each pin is an empty file named after the
    digest, so that all processes that use the store see it, and a server that is started again still does;
    its time is when the hour began.
    """

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._clock = clock

    def add(self, digest: str, holder: str = "") -> None:
        """Hold a digest; past some thousand the oldest is let go. Raises: OSError."""
        make_folder(self._folder)
        path = self._path(digest, holder)
        descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        try:
            now = self._clock()
            os.utime(descriptor, (now, now))
        finally:
            os.close(descriptor)
        pins = self._pins()
        if len(pins) > _MAX_PINS:
            for name, _ in sorted(pins, key=lambda pin: pin[1])[: len(pins) - _MAX_PINS]:
                self._remove(name)

    def release(self, digests: Iterable[str], holder: str = "") -> None:
        """Let digests go, as far as this holder is concerned."""
        for digest in digests:
            self._remove(self._path(digest, holder).name)

    def held(self, *, is_busy: bool = False) -> frozenset[str]:
        """Digests to spare now; with `is_busy`, while something is downloaded, however long ago that was."""
        oldest = self._clock() - _PIN_S
        held = set()
        for name, since in self._pins():
            if since >= oldest or is_busy:
                held.add(f"sha256:{name[len(_PREFIX) :][:_N_DIGITS]}")
            else:
                self._remove(name)
        return frozenset(held)

    def _pins(self) -> list[tuple[str, float]]:
        """Names and times of the files."""
        found = []
        try:
            with os.scandir(self._folder) as entries:
                for entry in entries:
                    with suppress(OSError):
                        if entry.name.startswith(_PREFIX):
                            found.append((entry.name, entry.stat(follow_symlinks=False).st_mtime))
        except OSError:
            return []
        return found

    def _path(self, digest: str, holder: str) -> Path:
        return self._folder / f"{digest.replace(':', '-')}{holder and f'-{holder}'}"

    def _remove(self, name: str) -> None:
        with suppress(OSError):
            (self._folder / name).unlink(missing_ok=True)
