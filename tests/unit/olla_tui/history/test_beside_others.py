"""A chat history that several screens open for the first time at once."""

import sqlite3
import subprocess
import sys

import pytest

from olla_tui.history import search
from olla_tui.history.migrations import STEPS, migrate
from olla_tui.history.transaction import run_script, writing
from olla_tui.history.turns import turn_text

OPEN = """
import asyncio, pathlib, sys
from olla_tui.history.store import HistoryStore

async def main():
    store = HistoryStore(pathlib.Path(sys.argv[1]))
    print(flush=True)
    sys.stdin.readline()
    print(len(await store.list_chats()))
    await store.close()

asyncio.run(main())
"""


def connected(path):
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.create_function("turn_text", 1, turn_text, deterministic=True)
    return connection


@pytest.mark.parametrize("version", range(len(STEPS)))
def test_a_step_that_another_process_takes_meanwhile_is_not_taken_twice(tmp_path, version):
    path = tmp_path / "chats.sqlite"
    first, second = connected(path), connected(path)
    for step in STEPS[:version]:
        first.executescript(step)
    first.execute(f"PRAGMA user_version = {version}")
    others = iter([lambda: migrate(first)])
    # The second has seen the old version and asks for the file; the first is faster.
    second.set_trace_callback(lambda text: text.startswith("BEGIN") and next(others, int)())
    migrate(second)
    assert second.execute("PRAGMA user_version").fetchone() == (len(STEPS),)
    assert next(others, None) is None
    first.close()
    second.close()


def test_an_index_that_another_process_makes_meanwhile_is_not_made_twice(tmp_path):
    path = tmp_path / "chats.sqlite"
    first, second = connected(path), connected(path)
    migrate(first)
    others = iter([lambda: search.prepare(first, indexed=True)])
    second.set_trace_callback(lambda text: text.startswith("BEGIN") and next(others, int)())
    search.prepare(second, indexed=search.has_fts5(second))
    assert next(others, None) is None
    first.close()
    second.close()


def test_processes_that_open_a_new_file_together_all_can_use_it(tmp_path):
    command = [sys.executable, "-P", "-c", OPEN, str(tmp_path / "chats.sqlite")]
    screens = [
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    for screen in screens:
        assert screen.stdout.readline() == "\n"
    for screen in screens:
        screen.stdin.write("\n")
        screen.stdin.flush()
    for screen in screens:
        answered, errors = screen.communicate(timeout=60)
        assert (screen.returncode, answered) == (0, "0\n"), errors


def test_a_change_that_fails_leaves_nothing_behind(tmp_path):
    connection = connected(tmp_path / "chats.sqlite")
    with pytest.raises(sqlite3.OperationalError), writing(connection):
        run_script(connection, "CREATE TABLE a (x); CREATE TABLE a (x);")
    assert connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone() == (0,)
    assert not connection.in_transaction
    connection.close()
