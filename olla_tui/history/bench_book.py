"""Where measurements are kept: a file with one in a line."""

from __future__ import annotations

import os
from pathlib import Path

from olla_tui.state.bench import BenchEntry, read_entries, write_entries


class BenchBook:
    """The measurements, newest first; with a path they outlive the screen. Its methods may block."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._unsaved: list[BenchEntry] = []

    def load(self) -> list[BenchEntry]:
        """All that are kept. Raises: OSError for a file that is there and cannot be read."""
        if self._path is None:
            return list(self._unsaved)
        try:
            return read_entries(self._path.read_text(encoding="utf-8", errors="replace"))
        except FileNotFoundError:
            return []

    def add(self, entry: BenchEntry) -> list[BenchEntry]:
        """Keep one more; gives all. Raises: OSError."""
        return self._keep([entry, *self.load()])

    def remove(self, key: str) -> list[BenchEntry]:
        """Forget one; gives the others. Raises: OSError."""
        return self._keep([entry for entry in self.load() if entry.key != key])

    def _keep(self, entries: list[BenchEntry]) -> list[BenchEntry]:
        text = write_entries(entries)
        kept = read_entries(text)
        if self._path is None:
            self._unsaved = kept
            return kept
        self._path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._path.with_suffix(f".{os.getpid()}.new")
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, self._path)
        return kept
