"""The tables of the chat history, version by version. A step that has shipped never changes."""

from __future__ import annotations

import sqlite3

from olla_tui.history.transaction import run_script, writing
from server.errors import StoreError

STEPS: tuple[str, ...] = (
    """
    CREATE TABLE chats (
        id TEXT PRIMARY KEY,
        title TEXT NOT NULL,
        model TEXT NOT NULL,
        system TEXT NOT NULL,
        think TEXT NOT NULL,
        temperature REAL,
        created_at REAL NOT NULL,
        updated_at REAL NOT NULL
    );
    CREATE INDEX chats_by_update ON chats (updated_at DESC);
    CREATE TABLE turns (
        chat_id TEXT NOT NULL REFERENCES chats (id) ON DELETE CASCADE,
        position INTEGER NOT NULL,
        body BLOB NOT NULL,
        PRIMARY KEY (chat_id, position)
    ) WITHOUT ROWID;
    """,
    """
    ALTER TABLE chats ADD COLUMN options TEXT NOT NULL DEFAULT '{}';
    ALTER TABLE chats ADD COLUMN stamp INTEGER NOT NULL DEFAULT 0;
    UPDATE chats SET options = '{"temperature":' || temperature || '}' WHERE temperature IS NOT NULL;
    CREATE TABLE branches (
        chat_id TEXT NOT NULL REFERENCES chats (id) ON DELETE CASCADE,
        key INTEGER NOT NULL,
        position INTEGER NOT NULL,
        body BLOB NOT NULL,
        PRIMARY KEY (chat_id, key)
    ) WITHOUT ROWID;
    CREATE TABLE turn_texts (
        id INTEGER PRIMARY KEY,
        chat_id TEXT NOT NULL REFERENCES chats (id) ON DELETE CASCADE,
        key INTEGER NOT NULL,
        content TEXT NOT NULL,
        UNIQUE (chat_id, key)
    );
    INSERT INTO turn_texts (chat_id, key, content)
        SELECT chat_id, position + 1, turn_text(body) FROM turns;
    CREATE TABLE votes (
        id INTEGER PRIMARY KEY,
        at REAL NOT NULL,
        prompt TEXT NOT NULL,
        winner TEXT NOT NULL,
        loser TEXT NOT NULL
    );
    """,
)
"""Step N brings a file from version N to N + 1. `turn_text(body)` is the text of a turn's body."""


def migrate(connection: sqlite3.Connection) -> None:
    """Bring a file to the newest version. Raises: StoreError when it is from a newer olla."""
    while (version := _version(connection)) < len(STEPS):
        with writing(connection):
            # Another process may have taken the step meanwhile.
            if _version(connection) == version:
                run_script(connection, f"{STEPS[version]} PRAGMA user_version = {version + 1};")
    if version > len(STEPS):
        raise StoreError(
            "the chat history was written by a newer olla", hint="Update olla, or move the file away."
        )


def _version(connection: sqlite3.Connection) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)
