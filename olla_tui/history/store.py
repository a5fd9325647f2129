"""Chats kept in one SQLite file, read and written by one thread of its own."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import msgspec

from olla_tui.history.migrations import migrate
from olla_tui.state.conversation import Conversation, Turn
from server.errors import StoreError
from server.types.generation import Think

MAX_CHATS = 2000
"""Chats that are kept; the longest unused go first."""

T = TypeVar("T")


@dataclass(frozen=True)
class ChatSummary:
    """One line of the list of chats. Times are Unix times in seconds."""

    id: str
    title: str
    model: str
    updated_at: float
    n_turns: int


class HistoryStore:
    """The chat history. Every method may be awaited on any loop; the work is done in the store's thread."""

    def __init__(self, path: Path, *, max_chats: int = MAX_CHATS) -> None:
        """Name the file; it is opened at the first use.

        Args:
            path: made with its directories when missing, readable by its owner alone.
        """
        self._path = path
        self._max_chats = max_chats
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="olla-history")
        self._connection: sqlite3.Connection | None = None

    async def list_chats(self, text: str = "", limit: int = 500) -> list[ChatSummary]:
        """Chats with `text` in the title or the model, the latest first. Raises: StoreError."""
        return await self._run(lambda: self._list(text, limit))

    async def load(self, chat_id: str) -> Conversation | None:
        """A chat with all its turns, None when it is not there. Raises: StoreError."""
        return await self._run(lambda: self._load(chat_id))

    async def save(self, chat: Conversation) -> None:
        """Keep a chat as it stands. Turns that are under way are kept as stopped. Raises: StoreError."""
        copy = Conversation(
            id=chat.id,
            model=chat.model,
            title=chat.title,
            system=chat.system,
            think=chat.think,
            temperature=chat.temperature,
            created_at=chat.created_at,
            updated_at=chat.updated_at,
            turns=list(chat.turns),
        )
        await self._run(lambda: self._save(copy))

    async def rename(self, chat_id: str, title: str) -> None:
        """Change a title. Raises: StoreError."""
        await self._run(lambda: self._write("UPDATE chats SET title = ? WHERE id = ?", (title, chat_id)))

    async def delete(self, chat_id: str) -> None:
        """Forget a chat. Raises: StoreError."""
        await self._run(lambda: self._write("DELETE FROM chats WHERE id = ?", (chat_id,)))

    async def prompts(self, limit: int = 200) -> list[str]:
        """The user's latest prompts over all chats, oldest first. Raises: StoreError."""
        return await self._run(lambda: self._prompts(limit))

    async def close(self) -> None:
        """Close the file and end the thread."""
        await self._run(self._close)
        self._thread.shutdown(wait=False)

    # --- in the thread ---

    async def _run(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except (sqlite3.Error, OSError) as error:
            raise StoreError(
                f"the chat history cannot be used: {error}", hint=f"The file is {self._path}."
            ) from error

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            # Made before SQLite opens it, so that it is never readable by others, not even for a moment.
            os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))
            os.chmod(self._path, 0o600)
            connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = NORMAL")
                connection.execute("PRAGMA foreign_keys = ON")
                connection.execute("PRAGMA busy_timeout = 5000")
                migrate(connection)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _write(self, statement: str, values: tuple[object, ...]) -> None:
        self._open().execute(statement, values)

    def _list(self, text: str, limit: int) -> list[ChatSummary]:
        pattern = "%" + text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
        rows = self._open().execute(
            """
            SELECT id, title, model, updated_at,
                   (SELECT COUNT(*) FROM turns WHERE turns.chat_id = chats.id)
            FROM chats WHERE title LIKE ?1 ESCAPE '\\' OR model LIKE ?1 ESCAPE '\\'
            ORDER BY updated_at DESC, id LIMIT ?2
            """,
            (pattern, limit),
        )
        return [ChatSummary(*values) for values in rows]

    def _load(self, chat_id: str) -> Conversation | None:
        connection = self._open()
        found = connection.execute(
            """
            SELECT id, title, model, system, think, temperature, created_at, updated_at
            FROM chats WHERE id = ?
            """,
            (chat_id,),
        ).fetchone()
        if found is None:
            return None
        key, title, model, system, think, temperature, created_at, updated_at = found
        bodies = connection.execute("SELECT body FROM turns WHERE chat_id = ? ORDER BY position", (chat_id,))
        return Conversation(
            id=key,
            title=title,
            model=model,
            system=system,
            think=_think_from(think),
            temperature=temperature,
            created_at=created_at,
            updated_at=updated_at,
            turns=[_decode_turn(body) for (body,) in bodies],
        )

    def _save(self, chat: Conversation) -> None:
        connection = self._open()
        connection.execute("BEGIN IMMEDIATE")
        try:
            connection.execute(
                """
                INSERT INTO chats (id, title, model, system, think, temperature, created_at, updated_at)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?)
                ON CONFLICT (id) DO UPDATE SET title = excluded.title, model = excluded.model,
                    system = excluded.system, think = excluded.think, temperature = excluded.temperature,
                    updated_at = excluded.updated_at
                """,
                (
                    chat.id,
                    chat.title,
                    chat.model,
                    chat.system,
                    msgspec.json.encode(chat.think).decode(),
                    chat.temperature,
                    chat.created_at,
                    chat.updated_at,
                ),
            )
            connection.executemany(
                "INSERT OR REPLACE INTO turns (chat_id, position, body) VALUES (?, ?, ?)",
                ((chat.id, position, _encode_turn(turn)) for position, turn in enumerate(chat.turns)),
            )
            connection.execute(
                "DELETE FROM turns WHERE chat_id = ? AND position >= ?", (chat.id, len(chat.turns))
            )
            connection.execute(
                """
                DELETE FROM chats
                WHERE id IN (SELECT id FROM chats ORDER BY updated_at DESC LIMIT -1 OFFSET ?)
                """,
                (self._max_chats,),
            )
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")

    def _prompts(self, limit: int) -> list[str]:
        rows = self._open().execute(
            """
            SELECT turns.body FROM turns JOIN chats ON chats.id = turns.chat_id
            ORDER BY chats.updated_at DESC, turns.position DESC LIMIT ?
            """,
            (4 * limit,),
        )
        turns = (_decode_turn(body) for (body,) in rows)
        latest = [turn.content for turn in turns if turn.role == "user"][:limit]
        return latest[::-1]


_turn_encoder = msgspec.msgpack.Encoder()
_turn_decoder = msgspec.msgpack.Decoder(Turn)


def _encode_turn(turn: Turn) -> bytes:
    under_way = turn.state in ("waiting", "streaming")
    return _turn_encoder.encode(replace(turn, state="stopped") if under_way else turn)


def _decode_turn(body: bytes) -> Turn:
    return _turn_decoder.decode(body)


def _think_from(text: str) -> Think:
    think: Think = msgspec.json.decode(text, type=Think)
    return think
