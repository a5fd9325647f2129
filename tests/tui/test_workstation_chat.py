"""Chatting: the first start, an answer, stopping it, several chats, and coming back to them."""

import asyncio

import pytest

from olla_tui.history.store import HistoryStore
from server.errors import OutOfMemory
from tests.support.scripted_tui_services import ScriptedServices
from tests.support.workstation import (
    TestSettings,
    driven,
    focus_of,
    screen_text,
    settled,
    wait_until,
    workstation,
)
from tests.support.workstation_script import Script, busy_script, empty_script


async def say(app, pilot, text):
    app.main.chat_pane.composer.text = text
    await pilot.press("enter")
    chat = app.desk.current
    await wait_until(pilot, lambda: chat.turns and chat.turns[-1].role == "assistant")
    return chat


async def test_the_first_start_needs_one_key():
    script = empty_script()
    app = workstation(script)
    async with driven(app, (80, 24)) as pilot:
        assert "There is no model yet." in screen_text(app)
        assert "no model yet" in screen_text(app).splitlines()[-4:][0] + screen_text(app)
        assert focus_of(app) == "welcome"
        await pilot.press("enter")
        await wait_until(pilot, lambda: app.desk.current.model)
        await settled(pilot)
        assert script.asked == ["install spark"]
        assert app.desk.current.model == "spark:latest"
        assert focus_of(app) == "composer"
        await say(app, pilot, "Hi")
        await wait_until(pilot, lambda: "Hello, world." in screen_text(app))


async def test_text_that_is_written_before_the_models_are_known_waits_and_is_sent(monkeypatch):
    script = Script()
    services = ScriptedServices(script)
    app = workstation(services=services)
    models, ready = services.models, asyncio.Event()
    list_models = models.list_models

    async def list_when_ready():
        await ready.wait()
        return await list_models()

    monkeypatch.setattr(models, "list_models", list_when_ready)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press(*"bye", "enter")
        await wait_until(pilot, lambda: "cannot send: starting" in screen_text(app))
        assert any("Not sent yet: starting." in note.message for note in app._notifications)
        assert app.main.chat_pane.composer.text == "bye"
        ready.set()
        await wait_until(pilot, lambda: app.desk.current.model)
        await settled(pilot)
        assert focus_of(app) == "composer" and script.chats == []
        assert "cannot send" not in screen_text(app)
        await pilot.press("enter")
        await wait_until(pilot, lambda: script.chats)
        assert app.desk.current.turns[0].content == "bye"


async def test_a_start_is_over_once_and_after_the_models_are_known():
    known = []
    app = workstation(settled=lambda: known.append(app.state.models is not None))
    async with driven(app, (80, 24)) as pilot:
        await wait_until(pilot, lambda: known)
        await app.bridge.poll_once()
        await settled(pilot)
    assert known == [True]


async def test_a_chat_that_has_not_begun_loses_a_model_that_is_deleted():
    script = empty_script()
    script.models = [Script().models[-1]]
    app = workstation(script)
    async with driven(app, (80, 24)) as pilot:
        assert app.desk.current.model == script.models[0].name
        script.models = []
        app.bridge.refresh_models()
        await wait_until(pilot, lambda: not app.desk.current.model)
        await settled(pilot)
        assert "There is no model yet." in screen_text(app) and focus_of(app) == "welcome"


async def test_text_that_is_written_where_there_is_no_model_yet_is_kept():
    script = empty_script()
    app = workstation(script)
    async with driven(app, (80, 24)) as pilot:
        assert focus_of(app) == "welcome"
        await pilot.press(*"bye", "enter")
        await settled(pilot)
        assert focus_of(app) == "composer" and app.main.chat_pane.composer.text == "bye"
        assert script.asked == [] and "no model yet; alt+g" in screen_text(app)
        await pilot.press("alt+g")
        await wait_until(pilot, lambda: app.desk.current.model)
        await settled(pilot)
        await pilot.press("enter")
        await wait_until(pilot, lambda: app.desk.current.turns)
        assert app.desk.current.turns[0].content == "bye"


async def test_the_models_pane_offers_the_bundled_model_too():
    script = empty_script()
    app = workstation(script)
    async with driven(app, (80, 24)) as pilot:
        await pilot.press("alt+2", "b")
        await wait_until(pilot, lambda: app.desk.current.model)
        assert script.asked == ["install spark"]


async def test_a_question_is_answered():
    script = Script(thinking=("Hm. ",))
    app = workstation(script)
    async with driven(app, (120, 40)) as pilot:
        chat = await say(app, pilot, "Why?")
        await wait_until(pilot, lambda: not chat.is_answering)
        await settled(pilot)
        text = screen_text(app)
        assert "Why?" in text and "Hello, world." in text
        assert "4 tok" in text
        assert chat.title == "Why?" and "─ Why?" in text
        assert script.chats[0].model == "spark:latest"


@pytest.mark.parametrize("key", ["escape", "ctrl+c"])
async def test_stopping_keeps_what_came_and_never_quits(key):
    script = Script(hold=asyncio.Event())
    app = workstation(script)
    async with driven(app, (80, 24)) as pilot:
        chat = await say(app, pilot, "Why?")
        await wait_until(pilot, lambda: chat.turns[-1].content == "Hello, world")
        await pilot.press(key)
        await wait_until(pilot, lambda: not chat.is_answering)
        await settled(pilot)
        assert chat.turns[-1].state == "stopped"
        assert script.n_cancelled == 1
        assert "stopped" in screen_text(app)
        assert app.screen is app.main


async def test_a_second_question_waits_for_the_first_answer():
    script = Script(hold=asyncio.Event())
    app = workstation(script)
    async with driven(app, (80, 24)) as pilot:
        await say(app, pilot, "One")
        await pilot.press(*"Two", "enter")
        await settled(pilot)
        assert len(script.chats) == 1 and app.main.chat_pane.composer.text == ""
        assert "◌ Two" in screen_text(app) and "waits, remove" in screen_text(app)
        await pilot.press(*"Three", "enter", "alt+u")
        await settled(pilot)
        assert app.main.chat_pane.composer.text == "Three"
        script.hold.set()
        chat = app.desk.current
        await wait_until(pilot, lambda: len(script.chats) == 2 and not chat.is_answering)
        assert [turn.content for turn in chat.turns if turn.role == "user"] == ["One", "Two"]


async def test_a_prompt_that_waits_stays_when_the_answer_is_stopped():
    script = Script(hold=asyncio.Event())
    app = workstation(script)
    async with driven(app, (80, 24)) as pilot:
        chat = await say(app, pilot, "One")
        await pilot.press(*"Two", "enter", "escape")
        await wait_until(pilot, lambda: not chat.is_answering)
        await settled(pilot)
        assert len(script.chats) == 1 and len(chat.queue) == 1
        script.hold.set()
        await pilot.press("enter")
        await wait_until(pilot, lambda: len(script.chats) == 2 and not chat.is_answering)
        assert not chat.queue


async def test_a_failure_tells_what_to_do():
    app = workstation(Script(failure=OutOfMemory("no room on GPU0", hint="Use a smaller context.")))
    async with driven(app, (120, 40)) as pilot:
        chat = await say(app, pilot, "Why?")
        await wait_until(pilot, lambda: not chat.is_answering)
        await settled(pilot)
        assert "no room on GPU0 Use a smaller context." in screen_text(app)


async def test_answering_again_and_editing():
    script = Script()
    app = workstation(script)
    async with driven(app, (80, 24)) as pilot:
        chat = await say(app, pilot, "Why?")
        await wait_until(pilot, lambda: not chat.is_answering)
        await settled(pilot)
        await pilot.press("ctrl+r")
        await wait_until(pilot, lambda: len(script.chats) == 2 and not chat.is_answering)
        assert len(chat.turns) == 2
        await settled(pilot)
        assert "2/2 · " in screen_text(app)
        await pilot.press("alt+e")
        await settled(pilot)
        assert app.main.chat_pane.composer.text == "Why?" and "editing an earlier turn" in screen_text(app)
        await pilot.press("escape")
        await settled(pilot)
        assert app.main.chat_pane.composer.text == "" and "editing" not in screen_text(app)
        await pilot.press("alt+e", *" Really", "enter")
        await wait_until(pilot, lambda: len(script.chats) == 3 and not chat.is_answering)
        await settled(pilot)
        assert [message.content for message in script.chats[2].messages] == ["Why? Really"]
        assert "2/2 · " in screen_text(app)
        await pilot.press("alt+left")
        await settled(pilot)
        assert [turn.content for turn in chat.turns] == ["Why?", "Hello, world."]
        assert "Really" not in screen_text(app)


async def test_any_turn_can_be_edited_and_answered_again():
    script = Script()
    app = workstation(script)
    async with driven(app, (80, 24)) as pilot:
        for number, text in enumerate(("One", "Two"), start=1):
            chat = await say(app, pilot, text)
            await wait_until(
                pilot, lambda n=number: len(script.chats) == n and not app.desk.current.is_answering
            )
        await settled(pilot)
        await pilot.press("ctrl+t", *["alt+up"] * 2)
        transcript = app.main.chat_pane.transcript
        while transcript.cursor_turn != transcript.turn_ids[1]:
            await pilot.press("alt+up")
        await pilot.press("alt+e")
        await settled(pilot)
        assert app.main.chat_pane.composer.text == "Hello, world."
        app.main.chat_pane.composer.text = "Bye."
        await pilot.press("enter")
        await wait_until(pilot, lambda: len(chat.turns) == 2)
        await settled(pilot)
        assert (chat.turns[1].content, chat.turns[1].edited, len(script.chats)) == ("Bye.", True, 2)
        assert "2/2 · edited" in screen_text(app)


async def test_copying_says_which_way_it_went(tmp_path):
    app = workstation(settings=TestSettings(clip_file=tmp_path / "clip.txt"))
    async with driven(app, (120, 40)) as pilot:
        chat = await say(app, pilot, "Why?")
        await wait_until(pilot, lambda: not chat.is_answering)
        await settled(pilot)
        await pilot.press("ctrl+t", "Y")
        await wait_until(pilot, lambda: app._notifications)
        assert "sent to the terminal" in next(iter(app._notifications)).message
        assert (tmp_path / "clip.txt").read_text() == "Hello, world."


async def test_several_chats_answer_behind_one_another():
    script = Script(hold=asyncio.Event())
    app = workstation(script)
    async with driven(app, (120, 40)) as pilot:
        first = await say(app, pilot, "First")
        await pilot.press("ctrl+n")
        second = await say(app, pilot, "Second")
        assert first is not second
        assert first.is_answering and second.is_answering
        await settled(pilot)
        assert "1 more answering" in screen_text(app)
        assert "First" not in screen_text(app)
        script.hold.set()
        await wait_until(pilot, lambda: not first.is_answering and not second.is_answering)
        await pilot.press("ctrl+l")
        await wait_until(pilot, lambda: app.screen is not app.main)
        await settled(pilot)
        assert "First" in screen_text(app) and "Second" in screen_text(app)
        await pilot.press(*"first", "enter")
        await wait_until(pilot, lambda: app.state.chat is first)
        await settled(pilot)
        assert "Hello, world." in screen_text(app)


async def test_chips_change_what_is_asked():
    script = busy_script()
    app = workstation(script)
    async with driven(app, (120, 40)) as pilot:
        await pilot.press("alt+t", "alt+t", "alt+s", "alt+s")
        await settled(pilot)
        assert "think on" in screen_text(app) and "0.3" in screen_text(app)
        await pilot.press("alt+m")
        await settled(pilot)
        assert "Choose a model" in screen_text(app)
        assert "nomic-embed-text" not in "\n".join(
            line for line in screen_text(app).splitlines() if "│" in line and "MB" in line and "F16" in line
        )
        await pilot.press(*"llama", "enter")
        await settled(pilot)
        chat = await say(app, pilot, "Hi")
        await wait_until(pilot, lambda: not chat.is_answering)
        request = script.chats[0]
        assert (request.model, request.think, request.options) == ("llama3.2:3b", True, {"temperature": 0.3})


async def test_examples_are_put_into_the_prompt_by_a_click():
    app = workstation()
    async with driven(app, (80, 24)) as pilot:
        lines = screen_text(app).splitlines()
        y = next(index for index, line in enumerate(lines) if "lighthouse" in line)
        await pilot.click(offset=(lines[y].index("Tell"), y))
        await settled(pilot)
        assert "lighthouse" in app.main.chat_pane.composer.text


async def test_chats_are_kept_and_reopened(tmp_path):
    path = tmp_path / "chats.sqlite"
    app = workstation(history=HistoryStore(path))
    async with driven(app, (80, 24)) as pilot:
        chat = await say(app, pilot, "Remember me")
        await wait_until(pilot, lambda: not chat.is_answering)
        await settled(pilot)
    again = workstation(history=HistoryStore(path), first_id=100)
    async with driven(again, (80, 24)) as pilot:
        assert "Remember me" not in screen_text(again)
        await pilot.press("ctrl+l")
        await wait_until(pilot, lambda: again.screen is not again.main)
        await settled(pilot)
        assert "Remember me" in screen_text(again)
        await pilot.press("enter")
        await wait_until(pilot, lambda: again.desk.current.turns)
        await settled(pilot)
        assert "Hello, world." in screen_text(again)


async def test_renaming_and_deleting_a_chat(tmp_path):
    store = HistoryStore(tmp_path / "chats.sqlite")
    app = workstation(history=store)
    async with driven(app, (80, 24)) as pilot:
        chat = await say(app, pilot, "Why?")
        await wait_until(pilot, lambda: not chat.is_answering)
        await settled(pilot)
        await pilot.press("alt+n")
        await settled(pilot)
        await pilot.press(*" and how", "enter")
        await wait_until(pilot, lambda: chat.title == "Why? and how")
        await settled(pilot)
        assert [summary.title for summary in await store.list_chats()] == ["Why? and how"]
        await pilot.press("alt+d")
        await settled(pilot)
        assert "Delete this chat?" in screen_text(app)
        await pilot.press("enter")
        await settled(pilot)
        assert app.desk.current is chat, "enter takes the answer that loses nothing"
        await pilot.press("alt+d")
        await settled(pilot)
        await pilot.press("right", "enter")
        await wait_until(pilot, lambda: app.desk.current is not chat)
        await settled(pilot)
        assert await store.list_chats() == []
