"""Changes that several programs may make to one SQLite file at the same time."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def writing(connection: sqlite3.Connection) -> Iterator[None]:
    """A transaction that begins once no other writes; what is read in it is what it changes.

    Raises: sqlite3.OperationalError when another writes for longer than the connection's busy timeout.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def run_script(connection: sqlite3.Connection, script: str) -> None:
    """Execute statements in the transaction that is open, which `executescript` would commit first."""
    statement = ""
    for piece in script.split(";")[:-1]:
        statement += f"{piece};"
        if sqlite3.complete_statement(statement):
            connection.execute(statement)
            statement = ""
    assert not (statement + script.rpartition(";")[2]).strip(), "a statement without its end"
