"""Every pane at every size: it is there, it fits, and it says what it is for."""

import pytest

from olla_tui.actions import PANES
from tests.support.workstation import TestSettings, driven, screen_text, settled, workstation
from tests.support.workstation_script import busy_script, empty_script

SIZES = [(40, 10), (80, 24), (120, 40), (200, 60)]

BUSY_WORDS = {
    "chat": "qwen3:14b",
    "models": "gpt-oss:120b",
    "running": "12.3 GB",
    "gpus": "util",
    "requests": "queued",
    "logs": "out of memory",
    "pulls": "gemma3:27b",
    "bench": "Nothing was measured yet.",
}

EMPTY_WORDS = {
    "chat": "There is no model yet.",
    "models": "The store is empty.",
    "running": "No model is loaded.",
    "gpus": "No GPU: NVML is not installed.",
    "requests": "No request yet.",
    "logs": "listening on",
    "pulls": "Nothing is pulled or pushed.",
    "bench": "Nothing was measured yet.",
}


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize(
    ("script", "words"), [(busy_script, BUSY_WORDS), (empty_script, EMPTY_WORDS)], ids=["busy", "empty"]
)
async def test_every_pane_shows_itself(size, script, words):
    app = workstation(script())
    async with driven(app, size) as pilot:
        for number, (name, title) in enumerate(PANES, start=1):
            await pilot.press(f"alt+{number}")
            await app.bridge.poll_once()
            await settled(pilot)
            text = screen_text(app)
            assert f"{number} {title}" in text
            assert words[name] in text, (name, text)
            assert len(text.splitlines()) == size[1]


@pytest.mark.parametrize("size", [(39, 24), (80, 9)])
async def test_a_terminal_that_is_too_small_says_so(size):
    app = workstation(busy_script())
    async with driven(app, size):
        assert screen_text(app).startswith("olla needs 40x10")


@pytest.mark.parametrize(("attached", "answer"), [(False, "right,enter"), (True, "")])
async def test_q_quits_where_the_terminal_is_too_small(attached, answer):
    app = workstation(busy_script(), attached=attached)
    async with driven(app, (30, 8)) as pilot:
        assert screen_text(app).splitlines()[0].strip() == "olla needs 40x10; q quits"
        await pilot.press("x", "q")
        if not attached:
            await settled(pilot)
            text = screen_text(app)
            assert all(
                words in text for words in ("Quit olla?", "open requests", "Quit ", "Keep serving", "Stay")
            )
            await pilot.press(*answer.split(","))
            await pilot.pause()
        assert app.return_value == ("quit" if attached else "keep")


async def test_nothing_is_written_while_the_prompt_cannot_be_seen():
    app = workstation()
    async with driven(app, (80, 24)) as pilot:
        await pilot.press("a")
        await pilot.resize_terminal(30, 8)
        await settled(pilot)
        await pilot.press("b", "enter")
        await pilot.resize_terminal(80, 24)
        await settled(pilot)
        await pilot.press("c")
        assert app.main.chat_pane.composer.text == "ac"
        assert not app.desk.current.turns


async def test_a_narrower_terminal_gets_the_sentence_in_two_lines():
    app = workstation()
    async with driven(app, (20, 6)):
        assert [line.strip() for line in screen_text(app).splitlines()[:2]] == ["olla needs 40x10", "q quits"]


async def test_resizing_keeps_the_pane_the_chat_and_the_focus():
    app = workstation(busy_script())
    async with driven(app, (200, 60)) as pilot:
        await pilot.press("alt+5")
        for size in [(80, 24), (39, 9), (40, 10), (120, 40), (200, 60), (80, 24)]:
            await pilot.resize_terminal(*size)
            await settled(pilot)
        assert app.main.active == "requests"
        assert "/v1/chat" in screen_text(app)


async def test_the_rail_and_the_library_come_with_the_room():
    app = workstation(busy_script())
    async with driven(app, (80, 24)) as pilot:
        assert not app.main.query_one("#rail").display
        await pilot.resize_terminal(120, 40)
        await settled(pilot)
        assert "Running 2" in screen_text(app)
        assert "gpt-oss" not in screen_text(app).splitlines()[5]
        await pilot.resize_terminal(200, 60)
        await settled(pilot)
        text = screen_text(app)
        assert "gpt-oss:120b" in text and "Running 2" in text and "New chat" in text
        await pilot.press("f11")
        await settled(pilot)
        assert "Running 2" not in screen_text(app) and "gpt-oss:120b" not in screen_text(app)


async def test_glyphs_stay_ascii_where_the_terminal_shows_nothing_else():

    app = workstation(busy_script(), settings=TestSettings(ascii_only=True))
    async with driven(app) as pilot:
        await pilot.press("alt+4")
        await settled(pilot)
        header = screen_text(app).splitlines()[0]
        assert header.isascii()
