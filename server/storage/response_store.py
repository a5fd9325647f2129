"""Responses that were asked to be kept, in a small SQLite file of olla's own.

A response and the items of its request are one row. It is kept for 30 days, as at OpenAI, and the oldest go
first when there are too many or too much.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from server.errors import StoreError
from server.types.responses import KeptResponse

MAX_RESPONSES: Final = 10_000
MAX_BYTES: Final = 256 << 20
MAX_AGE_S: Final = 30 * 24 * 3600.0
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS responses (
    id TEXT PRIMARY KEY,
    previous_id TEXT NOT NULL,
    kept_at REAL NOT NULL,
    n_bytes INTEGER NOT NULL,
    body BLOB NOT NULL,
    items BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS responses_by_age ON responses (kept_at);
"""


class ResponseStore:
    """The file; every method opens it anew, so that none holds it. Threads may share one.

    All raise StoreError when the file cannot be used.
    """

    def __init__(
        self,
        path: Path,
        *,
        max_responses: int = MAX_RESPONSES,
        max_bytes: int = MAX_BYTES,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._path = path
        self._max_responses = max_responses
        self._max_bytes = max_bytes
        self._clock = clock
        self._lock = threading.Lock()

    def keep(self, response: KeptResponse) -> None:
        """Add a response or replace it, and drop what is too old or too much; the one that is kept stays."""
        body, items = (
            json.dumps(value, ensure_ascii=False).encode() for value in (response.body, response.items)
        )
        with self._lock, closing(self._open()) as file, _told(self._path), file:
            file.execute(
                "INSERT INTO responses VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET "
                "n_bytes = excluded.n_bytes, body = excluded.body, items = excluded.items",
                (
                    response.id,
                    response.previous_id,
                    self._clock(),
                    len(body) + len(items),
                    body,
                    items,
                ),
            )
            self._drop(file, response.id)

    def _drop(self, file: sqlite3.Connection, kept_id: str) -> None:
        file.execute(
            "DELETE FROM responses WHERE kept_at < ? AND id <> ?", (self._clock() - MAX_AGE_S, kept_id)
        )
        n_rows, n_bytes = file.execute("SELECT count(*), coalesce(sum(n_bytes), 0) FROM responses").fetchone()
        oldest = file.execute("SELECT id, n_bytes FROM responses WHERE id <> ? ORDER BY kept_at", (kept_id,))
        doomed = []
        while (n_rows > self._max_responses or n_bytes > self._max_bytes) and (row := oldest.fetchone()):
            doomed.append((row[0],))
            n_rows, n_bytes = n_rows - 1, n_bytes - row[1]
        file.executemany("DELETE FROM responses WHERE id = ?", doomed)

    def get(self, response_id: str) -> KeptResponse | None:
        """A response, None when it is not there."""
        with self._lock, closing(self._open()) as file, _told(self._path):
            row = file.execute("SELECT body, items FROM responses WHERE id = ?", (response_id,)).fetchone()
        return None if row is None else KeptResponse(json.loads(row[0]), json.loads(row[1]))

    def delete(self, response_id: str) -> bool:
        """Remove a response; whether it was there."""
        with self._lock, closing(self._open()) as file, _told(self._path), file:
            return file.execute("DELETE FROM responses WHERE id = ?", (response_id,)).rowcount > 0

    def _open(self) -> sqlite3.Connection:
        with _told(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            if not self._path.exists():
                os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))
            file = sqlite3.connect(self._path, timeout=10)
            try:
                file.executescript(_SCHEMA)
                file.execute("PRAGMA secure_delete = ON")  # what is forgotten leaves no trace in free pages
            except BaseException:
                file.close()
                raise
            return file


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Faults of the file as errors for users."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise StoreError(
            f"kept responses cannot be used: {error}", hint=f"Look at {path}, or send store: false."
        ) from error
