"""Chats kept in one SQLite file, read and written by one thread of its own."""

from __future__ import annotations

import asyncio
import os
import secrets
import sqlite3
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import msgspec

from olla_tui.history import search
from olla_tui.history.migrations import migrate
from olla_tui.history.transaction import writing
from olla_tui.history.turns import InFile, decode_turn, turn_text, write_turns
from olla_tui.state.branches import Branches
from olla_tui.state.conversation import Conversation
from server.errors import StoreError
from server.types.generation import Think
from server.types.options import parse_options

MAX_CHATS = 2000
"""Chats that are kept; the longest unused go first."""
MAX_REMEMBERED = 50
"""Chats of which it is known what the file holds, so that only what changed is written."""
MAX_VOTES = 10_000
PAGE_CACHE_KIB = 256
"""Of SQLite's own; the system's cache holds the file anyway."""

T = TypeVar("T")


@dataclass(frozen=True)
class ChatSummary:
    """One line of the list of chats. Times are Unix times in seconds.

    `excerpt` is where a search found something, marked as `olla_tui.state.chat_list` says; "" without one.
    """

    id: str
    title: str
    model: str
    updated_at: float
    n_turns: int
    excerpt: str = ""


@dataclass(frozen=True)
class Found:
    """Chats that a search found, the latest first, and a sentence on how it was made, "" as usual."""

    chats: list[ChatSummary]
    note: str = ""


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
        self._indexed = False
        self._in_file: OrderedDict[str, InFile] = OrderedDict()

    async def list_chats(self, text: str = "", limit: int = 500) -> list[ChatSummary]:
        """Chats with `text` in the title or the model, the latest first. Raises: StoreError."""
        return await self._run(lambda: self._list(text, limit))

    async def search(self, text: str, limit: int = 500) -> Found:
        """Chats with the words of `text` in a turn, or `text` in title or model. Raises: StoreError."""
        return await self._run(lambda: self._search(text, limit))

    async def load(self, chat_id: str) -> Conversation | None:
        """A chat with all its turns, None when it is not there. Raises: StoreError."""
        return await self._run(lambda: self._load(chat_id))

    async def save(self, chat: Conversation) -> None:
        """Keep a chat as it stands. Turns that are under way are kept as stopped. Raises: StoreError."""
        copy = replace(
            chat, options=dict(chat.options), turns=list(chat.turns), aside=Branches(chat.aside.values())
        )
        await self._run(lambda: self._save(copy))

    async def put_away(self, chat: Conversation) -> None:
        """Keep a chat that leaves memory, and with it what is known of its rows. Raises: StoreError."""
        await self.save(chat)
        await self._run(lambda: self._in_file.pop(chat.id, None))

    async def rename(self, chat_id: str, title: str) -> None:
        """Change a title. Raises: StoreError."""
        await self._run(lambda: self._write("UPDATE chats SET title = ? WHERE id = ?", (title, chat_id)))

    async def delete(self, chat_id: str) -> None:
        """Forget a chat. Raises: StoreError."""
        await self._run(lambda: self._write("DELETE FROM chats WHERE id = ?", (chat_id,)))

    async def prompts(self, limit: int = 200) -> list[str]:
        """The user's latest prompts over all chats, oldest first. Raises: StoreError."""
        return await self._run(lambda: self._prompts(limit))

    async def add_vote(self, prompt: str, winner: str, losers: Sequence[str], at: float) -> None:
        """Keep that the answer of one model was better than those of others. Raises: StoreError."""
        await self._run(lambda: self._add_vote(prompt, winner, losers, at))

    async def votes(self) -> list[tuple[str, str, int]]:
        """(winner, loser, how often). Raises: StoreError."""
        statement = "SELECT winner, loser, COUNT(*) FROM votes GROUP BY winner, loser"
        return await self._run(lambda: self._open().execute(statement).fetchall())

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
                connection.execute(f"PRAGMA cache_size = -{PAGE_CACHE_KIB}")
                connection.create_function("turn_text", 1, turn_text, deterministic=True)
                migrate(connection)
                self._indexed = search.has_fts5(connection)
                search.prepare(connection, indexed=self._indexed)
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
            _SUMMARY
            + """
            WHERE title LIKE ?1 ESCAPE '\\' OR model LIKE ?1 ESCAPE '\\'
            ORDER BY updated_at DESC, id LIMIT ?2
            """,
            (pattern, limit),
        )
        return [ChatSummary(*values) for values in rows]

    def _search(self, text: str, limit: int) -> Found:
        by_title = self._list(text.strip(), limit)
        if not text.strip():
            return Found(by_title)
        excerpts = dict(search.find(self._open(), text, indexed=self._indexed))
        known = {summary.id: summary for summary in by_title}
        missing = [chat_id for chat_id in excerpts if chat_id not in known]
        for chat_id in missing[:limit]:
            row = self._open().execute(_SUMMARY + " WHERE id = ?", (chat_id,)).fetchone()
            known[chat_id] = ChatSummary(*row)
        chats = [replace(summary, excerpt=excerpts.get(summary.id, "")) for summary in known.values()]
        chats.sort(key=lambda summary: summary.updated_at, reverse=True)
        return Found(chats[:limit], "" if self._indexed else search.NO_INDEX_NOTE)

    def _load(self, chat_id: str) -> Conversation | None:
        connection = self._open()
        found = connection.execute(
            """
            SELECT id, title, model, system, think, options, created_at, updated_at, stamp
            FROM chats WHERE id = ?
            """,
            (chat_id,),
        ).fetchone()
        if found is None:
            return None
        key, title, model, system, think, options, created_at, updated_at, stamp = found
        bodies = connection.execute("SELECT body FROM turns WHERE chat_id = ? ORDER BY position", (chat_id,))
        asides = connection.execute(
            "SELECT body FROM branches WHERE chat_id = ? ORDER BY position", (chat_id,)
        )
        chat = Conversation(
            id=key,
            title=title,
            model=model,
            system=system,
            think=_think_from(think),
            options=parse_options(msgspec.json.decode(options)),
            created_at=created_at,
            updated_at=updated_at,
            turns=[decode_turn(body) for (body,) in bodies],
            aside=Branches(decode_turn(body) for (body,) in asides),
        )
        self._remember(chat, stamp)
        return chat

    def _remember(self, chat: Conversation, stamp: int) -> None:
        self._in_file[chat.id] = InFile(stamp, tuple(chat.turns), tuple(chat.aside.values()))
        self._in_file.move_to_end(chat.id)
        while len(self._in_file) > MAX_REMEMBERED:
            self._in_file.popitem(last=False)

    def _save(self, chat: Conversation) -> None:
        connection = self._open()
        stamp = secrets.randbits(62) | 1
        with writing(connection):
            in_file = self._in_file.get(chat.id)
            row = connection.execute("SELECT stamp FROM chats WHERE id = ?", (chat.id,)).fetchone()
            if in_file is not None and row != (in_file.stamp,):
                in_file = None  # another screen has written or deleted the chat meanwhile
            connection.execute(
                """
                INSERT INTO chats (id, title, model, system, think, options, created_at, updated_at, stamp)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
                ON CONFLICT (id) DO UPDATE SET title = excluded.title, model = excluded.model,
                    system = excluded.system, think = excluded.think, options = excluded.options,
                    updated_at = excluded.updated_at, stamp = excluded.stamp
                """,
                (
                    chat.id,
                    chat.title,
                    chat.model,
                    chat.system,
                    msgspec.json.encode(chat.think).decode(),
                    msgspec.json.encode(chat.options).decode(),
                    chat.created_at,
                    chat.updated_at,
                    stamp,
                ),
            )
            write_turns(connection, chat, in_file)
            connection.execute(
                """
                DELETE FROM chats
                WHERE id IN (SELECT id FROM chats ORDER BY updated_at DESC LIMIT -1 OFFSET ?)
                """,
                (self._max_chats,),
            )
        self._remember(chat, stamp)

    def _add_vote(self, prompt: str, winner: str, losers: Sequence[str], at: float) -> None:
        connection = self._open()
        connection.executemany(
            "INSERT INTO votes (at, prompt, winner, loser) VALUES (?, ?, ?, ?)",
            [(at, prompt, winner, loser) for loser in losers],
        )
        connection.execute("DELETE FROM votes WHERE id <= (SELECT MAX(id) FROM votes) - ?", (MAX_VOTES,))

    def _prompts(self, limit: int) -> list[str]:
        rows = self._open().execute(
            """
            SELECT turns.body FROM turns JOIN chats ON chats.id = turns.chat_id
            ORDER BY chats.updated_at DESC, turns.position DESC LIMIT ?
            """,
            (4 * limit,),
        )
        turns = (decode_turn(body) for (body,) in rows)
        latest = [turn.content for turn in turns if turn.role == "user"][:limit]
        return latest[::-1]


_SUMMARY = """
SELECT id, title, model, updated_at, (SELECT COUNT(*) FROM turns WHERE turns.chat_id = chats.id) FROM chats
"""


def _think_from(text: str) -> Think:
    think: Think = msgspec.json.decode(text, type=Think)
    return think
