"""Many chats: found by what was said, renamed, deleted, set up, written to files."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from olla_tui.history.store import HistoryStore
from olla_tui.state.conversation import Conversation
from server.types.generation import Chunk, Completed
from tests.support.workstation import (
    TestSettings,
    driven,
    focus_of,
    screen_text,
    settled,
    wait_until,
    workstation,
)
from tests.support.workstation_script import START, Script, model


def read(name):
    """The text of a file, "" when there is none."""
    return Path(name).read_text() if Path(name).exists() else ""


PNG = b"\x89PNG\r\n\x1a\n" + bytes(8)


def chat_of(number: int, question: str, answer: str) -> Conversation:
    chat = Conversation(id=f"old{number}", model="spark:latest", created_at=START - number)
    chat.ask(question, START - number * 60)
    chat.begin_answer(START - number * 60)
    chat.add(Chunk(content=answer), START - number * 60)
    chat.complete(Completed(reason="stop"), START - number * 60)
    return chat


@pytest.fixture
async def history(tmp_path):
    store = HistoryStore(tmp_path / "chats.sqlite")
    await store.save(chat_of(1, "What is a KV cache?", "It keeps keys and values of attention."))
    await store.save(chat_of(2, "A story please", "Once there was a lighthouse keeper."))
    return store


@pytest.fixture
def in_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


async def open_switcher(app, pilot):
    await pilot.press("ctrl+l")
    await wait_until(pilot, lambda: app.screen is not app.main and app.screen.table.keys)
    await settled(pilot)


async def answered(app, pilot, text, n_chats=1):
    app.main.chat_pane.composer.text = text
    await pilot.press("enter")
    script = app.script
    await wait_until(pilot, lambda: len(script.chats) == n_chats and not app.desk.current.is_answering)
    await settled(pilot)


def started(script=None, **more):
    script = script or Script()
    app = workstation(script, **more)
    app.script = script
    return app


async def test_chats_are_found_by_what_was_said(history):
    app = started(history=history)
    async with driven(app, (120, 40)) as pilot:
        await open_switcher(app, pilot)
        assert app.screen.table.keys == ["old1", "old2"]
        await pilot.press(*"lightho")
        await wait_until(pilot, lambda: app.screen.table.keys == ["old2"])
        await settled(pilot)
        assert "there was a lighthouse keeper." in screen_text(app)
        await pilot.press("enter")
        await wait_until(pilot, lambda: app.desk.current.id == "old2")
        await settled(pilot)
        assert "Once there was a lighthouse keeper." in screen_text(app)


async def test_a_chat_is_renamed_and_deleted_in_the_list(history):
    app = started(history=history)
    async with driven(app, (80, 24)) as pilot:
        await open_switcher(app, pilot)
        switcher = app.screen
        await pilot.press("alt+n")
        await wait_until(pilot, lambda: app.screen is not switcher)
        await pilot.press(*" 2", "enter")
        await wait_until(pilot, lambda: switcher._chats["old1"].title == "What is a KV cache? 2")
        await pilot.press("down", "alt+d")
        await wait_until(pilot, lambda: app.screen is not switcher)
        await settled(pilot)
        assert "A story please" in screen_text(app)
        await pilot.press("right", "enter")
        await wait_until(pilot, lambda: switcher.table.keys == ["old1"])
        assert [chat.id for chat in await history.list_chats()] == ["old1"]


async def test_nothing_found_is_said(history):
    app = started(history=history)
    async with driven(app, (80, 24)) as pilot:
        await open_switcher(app, pilot)
        await pilot.press(*"zebra")
        await wait_until(pilot, lambda: not app.screen.table.keys)
        await settled(pilot)
        assert "Nothing that was said matches." in screen_text(app)
        await pilot.press("enter", "escape")
        await wait_until(pilot, lambda: app.screen is app.main)


async def test_branches_come_back_from_the_history(tmp_path):
    path = tmp_path / "chats.sqlite"
    app = started(history=HistoryStore(path))
    async with driven(app, (80, 24)) as pilot:
        await answered(app, pilot, "Why?")
        await pilot.press("ctrl+r")
        await wait_until(pilot, lambda: len(app.script.chats) == 2 and not app.desk.current.is_answering)
        await settled(pilot)
    app = started(history=HistoryStore(path), first_id=9)
    async with driven(app, (80, 24)) as pilot:
        await open_switcher(app, pilot)
        await pilot.press("enter")
        await wait_until(pilot, lambda: app.desk.current.turns)
        await settled(pilot)
        assert "2/2 · " in screen_text(app)
        await pilot.press("alt+left")
        await settled(pilot)
        assert "1/2 · " in screen_text(app)


async def test_options_are_set_in_a_form_and_kept(tmp_path):
    store = HistoryStore(tmp_path / "chats.sqlite")
    app = started(history=store)
    async with driven(app, (120, 40)) as pilot:
        await pilot.press("alt+o")
        await wait_until(pilot, lambda: app.screen is not app.main)
        await pilot.press(*"Be brief.")
        form = app.screen
        form.query_one("#option-top_k").value = "-3"
        await settled(pilot)
        assert "top_k must be 0 or more" in screen_text(app)
        await pilot.press("ctrl+s")
        await settled(pilot)
        assert app.screen is form and focus_of(app) == "option-top_k"
        form.query_one("#option-top_k").value = "20"
        await pilot.press("ctrl+s")
        await wait_until(pilot, lambda: app.screen is app.main)
        await settled(pilot)
        assert "system, top_k 20" in screen_text(app)
        await answered(app, pilot, "Hi")
        request = app.script.chats[0]
        assert request.options == {"top_k": 20} and request.messages[0].content == "Be brief."
        kept = await store.load(app.desk.current.id)
        assert (kept.options, kept.system) == ({"top_k": 20}, "Be brief.")


async def test_leaving_the_form_changes_nothing():
    app = started()
    async with driven(app, (80, 24)) as pilot:
        await pilot.press("alt+o", *"Be brief.", "escape")
        await wait_until(pilot, lambda: app.screen is app.main)
        assert app.desk.current.system == ""


async def test_commands_change_the_chat():
    app = started()
    async with driven(app, (120, 40)) as pilot:
        for text in ("/set top_k 7", "/system Be brief.", "/model llama3.2"):
            app.main.chat_pane.composer.text = text
            await pilot.press("enter")
        chat = app.desk.current
        assert (chat.options, chat.system, chat.model) == ({"top_k": 7}, "Be brief.", "llama3.2:3b")
        app.main.chat_pane.composer.text = "/set top_k"
        await pilot.press("enter")
        assert chat.options == {} and app.script.chats == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("/modle x", "did you mean /model?"),
        ("/set top_k many", "top_k must be a whole number"),
        ("/set tpo 1", "there is no option tpo"),
        ("/model nothing-like-it-zz", "no model in the store is called"),
        ("/again now", "/again takes no argument"),
    ],
)
async def test_a_wrong_command_stays_and_says_why(text, said):
    app = started()
    async with driven(app, (80, 24)) as pilot:
        app.main.chat_pane.composer.text = text
        await pilot.press("enter")
        await settled(pilot)
        assert app.main.chat_pane.composer.text == text and app.script.chats == []
        assert any(said in note.message for note in app._notifications)


async def test_commands_are_completed():
    app = started()
    async with driven(app, (80, 24)) as pilot:
        await pilot.press(*"/ex")
        await settled(pilot)
        assert "write this chat to a file" in screen_text(app)
        await pilot.press("tab")
        assert app.main.chat_pane.composer.text == "/export "
        await pilot.press(*["backspace"] * 8, "slash")
        await settled(pilot)
        await pilot.press("down", "down", "escape")
        await settled(pilot)
        assert "search and switch" not in screen_text(app) and app.main.chat_pane.composer.text == "/"


async def test_files_are_completed_and_go_along(in_folder):
    (in_folder / "src").mkdir()
    (in_folder / "src" / "main.py").write_text("print()\n")
    app = started()
    async with driven(app, (80, 24)) as pilot:
        await pilot.press(*"See @mai")
        await wait_until(pilot, lambda: app.main.chat_pane.query_one("#completions").completion.is_open)
        await pilot.press("enter")
        assert app.main.chat_pane.composer.text == "See @src/main.py "
        await pilot.press("enter")
        await wait_until(pilot, lambda: app.script.chats and not app.desk.current.is_answering)
        await settled(pilot)
        assert "src/main.py (8 B)" in screen_text(app)
        assert app.script.chats[0].messages[0].content.endswith("src/main.py:\n```py\nprint()\n```")


async def test_a_file_that_cannot_go_along_keeps_the_prompt(in_folder):
    (in_folder / "bin.dat").write_bytes(b"a\0b")
    app = started()
    async with driven(app, (80, 24)) as pilot:
        app.main.chat_pane.composer.text = "See @bin.dat"
        await pilot.press("enter")
        await wait_until(pilot, lambda: app._notifications)
        assert "is a binary file" in next(iter(app._notifications)).message
        await settled(pilot)
        assert app.main.chat_pane.composer.text == "See @bin.dat" and app.script.chats == []


async def test_pictures_need_a_model_that_sees(in_folder):
    (in_folder / "cat.png").write_bytes(PNG)
    script = Script()
    script.models.append(model("llava:7b", 4.7, "7B", "Q4_0", "completion", "vision"))
    app = started(script)
    async with driven(app, (80, 24)) as pilot:
        app.main.chat_pane.composer.text = "What is @cat.png"
        await pilot.press("enter")
        await wait_until(pilot, lambda: app._notifications)
        assert "takes no pictures" in next(iter(app._notifications)).message
        await settled(pilot)
        assert app.main.chat_pane.composer.text == "What is @cat.png"
        app.desk.current.model = "llava:7b"
        await pilot.press("enter")
        await wait_until(pilot, lambda: script.chats)
        assert script.chats[0].messages[0].images == (PNG,)


async def test_the_shell_is_asked_only_after_a_question(in_folder):
    app = started()
    async with driven(app, (80, 24)) as pilot:
        composer = app.main.chat_pane.composer
        composer.text = "!echo hello > made; cat made"
        await pilot.press("enter", "enter")
        await wait_until(pilot, lambda: app.screen is app.main)
        assert read("made") == ""
        composer.text = "!echo hello > made; cat made"
        await pilot.press("enter")
        await wait_until(pilot, lambda: app.screen is not app.main)
        await pilot.press("right", "enter")
        await wait_until(pilot, lambda: "hello" in composer.text)
        assert composer.text.startswith("`echo hello > made; cat made`:") and app.script.chats == []


async def test_a_browser_runs_no_line_of_the_shell(in_folder):
    app = started(settings=replace(TestSettings(), shell=False))
    async with driven(app, (80, 24)) as pilot:
        composer = app.main.chat_pane.composer
        composer.text = "!echo hello > made"
        await pilot.press("enter")
        await wait_until(pilot, lambda: app._notifications)
        assert app.screen is app.main
        assert composer.text == "!echo hello > made"
        assert "browser" in next(iter(app._notifications)).message


async def test_a_chat_is_written_and_read_back(in_folder):
    app = started()
    async with driven(app, (80, 24)) as pilot:
        await answered(app, pilot, "Why?")
        for text in ("/export md a.md", "/export json a.json", "/export json a.json"):
            app.main.chat_pane.composer.text = text
            n_notes = len(app._notifications)
            await pilot.press("enter")
            await wait_until(pilot, lambda n=n_notes: len(app._notifications) > n)
        assert "is there already" in list(app._notifications)[-1].message
        assert read("a.md").startswith("# Why?")
        assert json.loads(read("a.json"))["olla_chat"] == 1
        before = app.desk.current
        app.main.chat_pane.composer.text = "/import a.json"
        await pilot.press("enter")
        await wait_until(pilot, lambda: app.desk.current is not before)
        assert app.desk.current.turns == before.turns and app.desk.current.id != before.id


async def test_the_name_of_the_file_is_asked_for(in_folder):
    app = started()
    async with driven(app, (80, 24)) as pilot:
        await answered(app, pilot, "Why?")
        await pilot.press("alt+w")
        await wait_until(pilot, lambda: app.screen is not app.main)
        assert app.screen.query_one("#dialog-input").value == "why.md"
        await pilot.press("enter")
        await wait_until(pilot, lambda: read("why.md"))
