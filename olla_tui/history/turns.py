"""Turns as they lie in the file: one row each, and only those that changed are written again."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import msgspec

from olla_tui.state.conversation import Conversation, Turn

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Turn)


class _Text(msgspec.Struct):
    content: str = ""


_text_decoder = msgspec.msgpack.Decoder(_Text)


def encode_turn(turn: Turn) -> bytes:
    """The body of a turn; one that is under way is kept as stopped."""
    under_way = turn.state in ("waiting", "streaming")
    return _encoder.encode(replace(turn, state="stopped") if under_way else turn)


def decode_turn(body: bytes) -> Turn:
    """The turn of a body."""
    return _decoder.decode(body)


def turn_text(body: bytes) -> str:
    """The text in a turn's body that a search finds."""
    return _text_decoder.decode(body).content


class InFile(NamedTuple):
    """What the file holds of a chat: the turns as written last, and the stamp of that writing."""

    stamp: int
    turns: tuple[Turn, ...]
    aside: tuple[Turn, ...]


def write_turns(connection: sqlite3.Connection, chat: Conversation, in_file: InFile | None) -> None:
    """Bring the rows of a chat's turns up to date; without knowing `in_file`, all are written."""
    aside = list(chat.aside.values())
    if in_file is None:
        in_file = InFile(0, (), ())
        connection.execute("DELETE FROM turn_texts WHERE chat_id = ?", (chat.id,))
    n_same = _n_same(chat.turns, in_file.turns)
    connection.execute("DELETE FROM turns WHERE chat_id = ? AND position >= ?", (chat.id, n_same))
    connection.executemany(
        "INSERT INTO turns (chat_id, position, body) VALUES (?, ?, ?)",
        [(chat.id, at, encode_turn(chat.turns[at])) for at in range(n_same, len(chat.turns))],
    )
    if _n_same(aside, in_file.aside) < max(len(aside), len(in_file.aside)) or not in_file.stamp:
        connection.execute("DELETE FROM branches WHERE chat_id = ?", (chat.id,))
        connection.executemany(
            "INSERT INTO branches (chat_id, key, position, body) VALUES (?, ?, ?, ?)",
            [(chat.id, turn.key, at, encode_turn(turn)) for at, turn in enumerate(aside)],
        )
    known = {turn.key: turn for turn in (*in_file.turns, *in_file.aside)}
    _write_texts(connection, chat.id, [*chat.turns, *aside], known)


def _n_same(turns: Sequence[Turn], in_file: Sequence[Turn]) -> int:
    """How many turns from the first on lie in the file as they are."""
    count = 0
    for turn, before in zip(turns, in_file, strict=False):
        if turn is not before:
            break
        count += 1
    return count


def _write_texts(
    connection: sqlite3.Connection, chat_id: str, turns: Sequence[Turn], known: dict[int, Turn]
) -> None:
    connection.executemany(
        """
        INSERT INTO turn_texts (chat_id, key, content) VALUES (?, ?, ?)
        ON CONFLICT (chat_id, key) DO UPDATE SET content = excluded.content
        """,
        [
            (chat_id, turn.key, turn.content)
            for turn in turns
            if turn.key not in known or known[turn.key].content != turn.content
        ],
    )
    gone = known.keys() - {turn.key for turn in turns}
    connection.executemany(
        "DELETE FROM turn_texts WHERE chat_id = ? AND key = ?", [(chat_id, key) for key in gone]
    )
