"""Full-text search over the turns of all chats, with SQLite's FTS5 where it is there.

`turn_texts` holds the text of every turn; `turn_index` is an FTS5 index over it that triggers keep up to date
(https://www.sqlite.org/fts5.html, "External Content Tables"). An SQLite without FTS5 takes the triggers away,
for they would fail; the next one that has it builds the index anew.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable
from typing import NamedTuple

from olla_tui.history.transaction import run_script, writing
from olla_tui.state.chat_list import BEGIN_MARK, END_MARK

NO_INDEX_NOTE = "This SQLite has no full-text index (FTS5): every chat is read, which takes longer."

N_EXCERPT_WORDS = 16
EXCERPT_CHARS = 90
MAX_HITS = 1000

_INDEX = """
CREATE VIRTUAL TABLE IF NOT EXISTS turn_index USING fts5 (
    content, content='turn_texts', content_rowid='id', tokenize='unicode61 remove_diacritics 2'
);
CREATE TRIGGER turn_texts_added AFTER INSERT ON turn_texts BEGIN
    INSERT INTO turn_index (rowid, content) VALUES (new.id, new.content);
END;
CREATE TRIGGER turn_texts_gone AFTER DELETE ON turn_texts BEGIN
    INSERT INTO turn_index (turn_index, rowid, content) VALUES ('delete', old.id, old.content);
END;
CREATE TRIGGER turn_texts_changed AFTER UPDATE ON turn_texts BEGIN
    INSERT INTO turn_index (turn_index, rowid, content) VALUES ('delete', old.id, old.content);
    INSERT INTO turn_index (rowid, content) VALUES (new.id, new.content);
END;
INSERT INTO turn_index (turn_index) VALUES ('rebuild');
"""


class Hit(NamedTuple):
    """A chat in which something was found, and the place, with marks around what was found."""

    chat_id: str
    excerpt: str


def has_fts5(connection: sqlite3.Connection) -> bool:
    """Whether this SQLite can keep an index."""
    options = {name for (name,) in connection.execute("PRAGMA compile_options")}
    return "ENABLE_FTS5" in options


def prepare(connection: sqlite3.Connection, *, indexed: bool) -> None:
    """Have an index that is up to date, or nothing that needs one."""
    if _has_triggers(connection) == indexed:
        return
    with writing(connection):
        # Another process may have done it meanwhile.
        if _has_triggers(connection) == indexed:
            return
        if indexed:
            run_script(connection, _INDEX)
        else:
            for name in ("added", "gone", "changed"):
                connection.execute(f"DROP TRIGGER IF EXISTS turn_texts_{name}")


def _has_triggers(connection: sqlite3.Connection) -> bool:
    statement = "SELECT COUNT(*) FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'turn_texts'"
    return bool(connection.execute(statement).fetchone()[0])


def words_of(text: str) -> list[str]:
    """The words to look for."""
    return re.findall(r"\w+", text)


def find(connection: sqlite3.Connection, text: str, *, indexed: bool) -> list[Hit]:
    """Chats with a turn that holds all words of a text or words that begin so, the best first."""
    words = words_of(text)
    if not words:
        return []
    hits = _by_index(connection, words) if indexed else []
    if hits or (indexed and all(word.isascii() for word in words)):
        return hits
    # The index knows no words within a run of Chinese or Japanese.
    return _by_reading(connection, words)


def _by_index(connection: sqlite3.Connection, words: list[str]) -> list[Hit]:
    found = connection.execute(
        f"""
        SELECT turn_texts.chat_id,
               snippet(turn_index, 0, '{BEGIN_MARK}', '{END_MARK}', '…', {N_EXCERPT_WORDS})
        FROM turn_index JOIN turn_texts ON turn_texts.id = turn_index.rowid
        WHERE turn_index MATCH ? ORDER BY rank LIMIT {MAX_HITS}
        """,
        (" ".join(f'"{word}"*' for word in words),),
    )
    return _first_of_each(found)


def _by_reading(connection: sqlite3.Connection, words: list[str]) -> list[Hit]:
    escaped = [word.replace("_", "\\_") for word in words]
    conditions = " AND ".join("content LIKE ? ESCAPE '\\'" for _ in words)
    found = connection.execute(
        f"SELECT chat_id, content FROM turn_texts WHERE {conditions} ORDER BY id DESC LIMIT {MAX_HITS}",
        [f"%{word}%" for word in escaped],
    )
    return _first_of_each((chat_id, excerpt_of(content, words)) for chat_id, content in found)


def _first_of_each(rows: Iterable[tuple[str, str]]) -> list[Hit]:
    hits: dict[str, Hit] = {}
    for chat_id, excerpt in rows:
        hits.setdefault(chat_id, Hit(chat_id, excerpt))
    return list(hits.values())


def excerpt_of(content: str, words: list[str]) -> str:
    """The neighbourhood of the first of the words that is found, with marks around it."""
    lower = content.lower()
    found = [(at, word) for word in words if (at := lower.find(word.lower())) >= 0]
    if not found:
        return content[:EXCERPT_CHARS]
    at, word = min(found)
    start = max(0, at - EXCERPT_CHARS // 3)
    end = at + len(word)
    before = ("…" if start else "") + content[start:at]
    after = content[end : end + EXCERPT_CHARS] + ("…" if len(content) > end + EXCERPT_CHARS else "")
    return f"{before}{BEGIN_MARK}{content[at:end]}{END_MARK}{after}"
