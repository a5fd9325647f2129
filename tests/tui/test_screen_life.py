"""A terminal that hangs up: answers come to their end, and the next screen goes on where the last one was."""

import asyncio
import os
from dataclasses import replace

import pytest

from olla_tui import screen_life
from olla_tui.bookmark import Bookmark, read_bookmark, write_bookmark
from olla_tui.history.store import HistoryStore
from tests.support.until import until
from tests.support.workstation import TestSettings, driven, screen_text, wait_until, workstation
from tests.support.workstation_script import Script


@pytest.fixture(autouse=True)
def often(monkeypatch):
    monkeypatch.setattr(screen_life, "SAVE_EVERY_S", 0.01)


@pytest.fixture
def files(tmp_path):
    return {
        "history": tmp_path / "chats.sqlite",
        "settings": TestSettings(bookmark_file=tmp_path / "screen.json"),
    }


def screen(files, script, first_id=1):
    return workstation(
        script, history=HistoryStore(files["history"]), settings=files["settings"], first_id=first_id
    )


async def test_an_answer_comes_to_its_end_without_its_terminal_and_the_next_screen_shows_it(files):
    bookmark_file = files["settings"].bookmark_file
    script = Script(hold=asyncio.Event())
    first = screen(files, script)
    async with driven(first, (80, 24)) as pilot:
        first.main.chat_pane.composer.text = "Why?"
        await pilot.press("enter")
        await wait_until(pilot, lambda: first.desk.current.turns[1:] and first.desk.current.turns[1].content)
        first.main.chat_pane.composer.text = "a half written"
        first._terminal_gone(lambda: None)
        await wait_until(pilot, bookmark_file.exists)
        assert read_bookmark(bookmark_file) == Bookmark("1", "a half written", True, os.getpid())
        assert first.is_running and first.desk.current.is_answering
        script.hold.set()
        await until(lambda: first.return_value == "keep")
    assert first.desk.current.turns[1].state == "done"
    assert read_bookmark(bookmark_file) == Bookmark("1", "a half written")

    second = screen(files, Script(), first_id=10)
    async with driven(second, (80, 24)) as pilot:
        await wait_until(pilot, lambda: second.desk.current.id == "1" and not bookmark_file.exists())
        await wait_until(pilot, lambda: "Hello, world." in screen_text(second))
        assert second.main.chat_pane.composer.text == "a half written"


async def test_an_answer_that_another_process_gets_is_shown_as_it_is_saved(files):
    bookmark_file = files["settings"].bookmark_file
    first = screen(files, Script())
    async with driven(first, (80, 24)) as pilot:
        first.main.chat_pane.composer.text = "Why?"
        await pilot.press("enter")
        await wait_until(pilot, lambda: first.desk.current.turns[1:] and not first.desk.current.is_answering)
    write_bookmark(bookmark_file, Bookmark("1", "", True, os.getpid()))

    second, other = screen(files, Script(), first_id=10), HistoryStore(files["history"])
    async with second.run_test(size=(80, 24)) as pilot:  # it comes to no rest while it follows
        await wait_until(pilot, lambda: second.desk.current.id == "1")
        chat = await other.load("1")
        assert chat is not None
        chat.turns[-1] = replace(chat.turns[-1], content="Because of more words.")
        await other.save(chat)
        await wait_until(pilot, lambda: "Because of more words." in screen_text(second))
        write_bookmark(bookmark_file, Bookmark("1"))
        await wait_until(pilot, lambda: not bookmark_file.exists())
    await other.close()
