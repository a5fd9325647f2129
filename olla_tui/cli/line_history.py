"""Lines typed into `olla run`, kept in a file: bounded, readable for the user alone."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from prompt_toolkit.history import History

MAX_ENTRIES = 100


class LineHistory(History):
    """The newest entries, one JSON text per line, so that entries of several lines stay whole.

    Attributes:
        keeps: whether what is typed is remembered; false from the first failure on, which `warn` tells.
    """

    def __init__(self, path: Path, *, keeps: bool, warn: Callable[[str], None]) -> None:
        super().__init__()
        self.keeps = keeps
        self._warn = warn
        self._path = path
        self._entries = read_entries(path)

    def load_history_strings(self) -> Iterable[str]:
        """Entries, newest first."""
        return list(reversed(self._entries))

    def store_string(self, string: str) -> None:
        """Remember an entry."""
        if not self.keeps:
            return
        self._entries = [*self._entries, string][-MAX_ENTRIES:]
        try:
            self._write()
        except OSError as error:
            self.keeps = False
            self._warn(f"the history is not kept: {self._path}: {error.strerror}")

    def _write(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        # mkstemp makes files of mode 0600; the rename never leaves half a file behind.
        handle, temporary = tempfile.mkstemp(dir=self._path.parent, prefix=self._path.name)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.writelines(f"{json.dumps(entry, ensure_ascii=False)}\n" for entry in self._entries)
        Path(temporary).replace(self._path)


def read_entries(path: Path) -> list[str]:
    """Entries of a file, oldest first; a line that is no JSON text is an entry as it stands."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [_entry(line) for line in lines if line][-MAX_ENTRIES:]


def _entry(line: str) -> str:
    try:
        entry = json.loads(line)
    except ValueError:
        return line
    return entry if isinstance(entry, str) else line
