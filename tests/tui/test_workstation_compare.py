"""One prompt to several models: side by side, voted on, gone on with, scrolled together."""

import pytest

from olla_tui.history.store import HistoryStore
from olla_tui.screens.compare import CompareScreen
from tests.support.workstation import driven, screen_text, settled, wait_until, workstation
from tests.support.workstation_script import busy_script


def started(script, **more):
    app = workstation(script, **more)
    app.script = script
    return app


async def compare(app, pilot, size_models=2):
    app.main.chat_pane.composer.text = "/compare Why is the sky blue?"
    await pilot.press("enter")
    await wait_until(pilot, lambda: app.screen is not app.main)
    await settled(pilot)
    await pilot.press(*"llama", "tab", "enter")
    await wait_until(pilot, lambda: isinstance(app.screen, CompareScreen))
    await wait_until(pilot, lambda: len(app.script.chats) == size_models)
    await wait_until(pilot, lambda: not app.screen._comparison.is_answering)
    await settled(pilot)


@pytest.mark.parametrize(("size", "n_shown"), [((120, 40), 2), ((80, 24), 1)])
async def test_models_are_compared_side_by_side_or_one_by_one(size, n_shown):
    app = started(busy_script())
    async with driven(app, size) as pilot:
        await compare(app, pilot)
        await wait_until(pilot, lambda: screen_text(app).count("Hello, world.") == n_shown)
        assert {chat.model for chat in app.script.chats} == {"qwen3:14b-q4_K_M", "llama3.2:3b"}
        first = app.screen._current
        await pilot.press("right")
        assert app.screen._current != first
        await pilot.press("d")
        await settled(pilot)
        assert "100% the same" in screen_text(app)
        await pilot.press("escape", "escape")
        await wait_until(pilot, lambda: app.screen is app.main)
        assert not app.desk.current.turns


async def test_a_vote_is_kept_and_an_answer_gone_on_with(tmp_path):
    store = HistoryStore(tmp_path / "chats.sqlite")
    app = started(busy_script(), history=store)
    async with driven(app, (120, 40)) as pilot:
        await compare(app, pilot)
        await pilot.press("right", "v")
        await wait_until(pilot, lambda: "votes: " in screen_text(app))
        assert await store.votes() == [("llama3.2:3b", "qwen3:14b-q4_K_M", 1)]
        assert await store.list_chats() == []
        await pilot.press("enter")
        await wait_until(pilot, lambda: app.screen is app.main)
        chat = app.desk.current
        assert (chat.model, len(chat.turns)) == ("llama3.2:3b", 2)
        await settled(pilot)
        assert [kept.id for kept in await store.list_chats()] == [chat.id]


async def test_a_comparison_reads_files_and_its_answers_scroll_together_until_they_are_let_go(tmp_path):
    (tmp_path / "note.txt").write_text("the sea is deep")
    script = busy_script()
    script.answer = ("".join(f"Line {number}.\n\n" for number in range(80)),)
    app = started(script)
    async with driven(app, (120, 40)) as pilot:
        app.main.chat_pane.sender.root = tmp_path
        app.main.chat_pane.composer.text = "/compare What is in @note.txt"
        await pilot.press("enter")
        await wait_until(pilot, lambda: app.screen is not app.main)
        await settled(pilot)
        await pilot.press(*"llama", "tab", "enter")
        await wait_until(pilot, lambda: isinstance(app.screen, CompareScreen) and len(script.chats) == 2)
        assert all("the sea is deep" in chat.messages[-1].content for chat in script.chats)
        screen = app.screen
        await wait_until(pilot, lambda: not screen._comparison.is_answering)
        leader, other = screen._transcript(0), screen._transcript(1)

        def are_together():
            return other.scroll_y == min(leader.scroll_y, other.max_scroll_y)

        await wait_until(pilot, lambda: min(leader.max_scroll_y, other.max_scroll_y) > 20)
        await pilot.press("pageup", "pageup")
        await wait_until(pilot, lambda: not leader.following and leader.scroll_y > 0 and are_together())
        await pilot.press("end")
        await wait_until(pilot, lambda: leader.following and other.following)
        await pilot.press("s", "pageup", "pageup")
        await wait_until(pilot, lambda: not leader.following)
        await settled(pilot)
        assert other.following
        await pilot.press("s")
        await wait_until(pilot, lambda: not other.following and are_together())
