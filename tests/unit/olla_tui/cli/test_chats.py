"""`olla chats` on a history of its own."""

import asyncio
import json

import pytest

from olla_tui.cli.main import run_command
from olla_tui.history.store import HistoryStore
from olla_tui.state.conversation import Conversation


@pytest.fixture
def history(tmp_path, monkeypatch):
    monkeypatch.setenv("OLLA_HOME", str(tmp_path / "olla"))
    monkeypatch.chdir(tmp_path)

    async def fill():
        store = HistoryStore(tmp_path / "olla" / "chats.sqlite")
        for number, text in enumerate(("Why is the sky blue?", "A story, please"), start=1):
            chat = Conversation(id=f"{number}abc", model="spark:latest")
            chat.ask(text, number)
            await store.save(chat)
        await store.close()

    asyncio.run(fill())
    return tmp_path


def test_chats_are_listed_and_searched(history, capsys):
    assert run_command(["chats", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("ID        TITLE") and [line[:4] for line in lines[1:]] == ["2abc", "1abc"]
    assert run_command(["chats", "list", "sky"]) == 0
    assert [line[:4] for line in capsys.readouterr().out.splitlines()[1:]] == ["1abc"]


def test_a_chat_goes_to_a_file_and_comes_back(history, capsys):
    assert run_command(["chats", "export", "1", "sky.json"]) == 0
    assert run_command(["chats", "export", "A story, please", "story.md"]) == 0
    assert (history / "story.md").read_text().startswith("# A story, please")
    assert json.loads((history / "sky.json").read_text())["title"] == "Why is the sky blue?"
    assert run_command(["chats", "import", "sky.json"]) == 0
    capsys.readouterr()
    run_command(["chats", "list", "sky"])
    assert len(capsys.readouterr().out.splitlines()) == 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["export", "9", "a.md"], "there is no chat 9"),
        (["export", "1", "a.txt"], "must end with .md, .html or .json"),
        (["export", "", "a.md"], "2 chats are called"),
        (["import", "none.json"], "is no file"),
    ],
)
def test_what_cannot_be_done_is_said(history, capsys, arguments, said):
    assert run_command(["chats", *arguments]) == 1
    assert said in capsys.readouterr().err
    assert not (history / "a.md").exists()
