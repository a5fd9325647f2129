"""Blobs that wait for their model: uploaded, or fetched by a pull."""

from __future__ import annotations

import os
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from server.storage.disk import make_folder

_PIN_S = 3600.0
_MAX_PINS = 4096
_MAX_UPLOADS = 64  # of one digest
_PREFIX = "sha256-"
_N_DIGITS = 64
_UPLOAD = "upload-"


class Pins:
    """Digests that were uploaded, or that a pull needs, in the last hour and of which no model was made yet.

    A client uploads first and creates then; what it was told is there must not go with another model that is
    deleted in between. Two clients may upload the same, and a create does not say whose it is: each upload is
    a pin of its own, and a create lets one of them go, so that those who have not made their model yet still
    hold it. Pulls and creates hold what they need under names of their own: another that needs the same may
    end and its model be deleted before this one has its manifest. Each pin is an empty file named after the
    digest, so that all processes that use the store see it, and a server that is started again still does;
    its time is when the hour began.
    """

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._clock = clock

    def add(self, digest: str, holder: str = "") -> None:
        """Hold a digest, for one upload more where no holder is named. Raises: OSError.

        Past some thousand the oldest is let go, and past some dozens of one digest the oldest upload of it.
        """
        make_folder(self._folder)
        if not holder:
            uploads = self._uploads(digest)
            for name in uploads[: max(len(uploads) - _MAX_UPLOADS + 1, 0)]:
                self._remove(name)
            holder = f"{_UPLOAD}{secrets.token_hex(8)}"
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

    def release(self, digests: Iterable[str] | None, holder: str = "") -> None:
        """Let digests go that a holder has, None for all; without a holder, the oldest upload of each."""
        if digests is None:
            names = [name for name, _ in self._pins() if holder and name.endswith(f"-{holder}")]
        elif holder:
            names = [self._path(digest, holder).name for digest in digests]
        else:
            # Of a digest that is named twice, two.
            names = [name for digest, n in Counter(digests).items() for name in self._uploads(digest)[:n]]
        for name in names:
            self._remove(name)

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

    def _uploads(self, digest: str) -> list[str]:
        """Names of what holds a digest for uploads, oldest first."""
        own = self._path(digest, "").name
        found = [pin for pin in self._pins() if pin[0] == own or pin[0].startswith(f"{own}-{_UPLOAD}")]
        return [name for name, _ in sorted(found, key=lambda pin: pin[1])]

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
