"""The transcript under a pilot: what it shows, follows, folds, copies and keeps in place."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest
from textual.pilot import Pilot

from olla_tui.text import lexers
from olla_tui.widgets.transcript import Transcript, TurnView
from olla_tui.widgets.transcript_model import MAX_CACHED_LINES
from server.types.messages import ToolCall
from tests.support.transcripts import ANSWER, TranscriptApp, long_chat, short_chat

WAIT_S = 10.0


@asynccontextmanager
async def shown(
    turns: list[TurnView], size: tuple[int, int] = (60, 20)
) -> AsyncGenerator[tuple[TranscriptApp, Transcript, Pilot[None]], None]:
    app = TranscriptApp()
    async with app.run_test(size=size) as pilot:
        app.transcript.load(turns)
        await pilot.pause()
        yield app, app.transcript, pilot


async def wait_for(pilot: Pilot[None], holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < deadline, "what the test waits for did not come about"
        await pilot.pause()


def shows(app: TranscriptApp, text: str) -> Callable[[], bool]:
    return lambda: any(row.strip() == text for row in app.rows())


def is_coloured(app: TranscriptApp, word: str) -> bool:
    """Whether a word of code is drawn as a keyword."""
    strips = app.screen._compositor.render_strips()
    keyword = app.transcript.model.styles.text.token("keyword").color
    return any(
        segment.text.strip() == word and segment.style is not None and segment.style.color == keyword
        for strip in strips
        for segment in strip
    )


def follows(transcript: Transcript) -> bool:
    return transcript.following


# --- content ---


async def test_a_loaded_chat_is_shown_at_its_tail() -> None:
    async with shown(long_chat(200)) as (app, transcript, _):
        assert follows(transcript)
        assert app.rows()[-2].strip() == "▎ Quantised caches need flash attention."
        assert app.rows()[-1] == ""


async def test_loading_lays_out_only_what_is_shown() -> None:
    async with shown(long_chat(2000)) as (_, transcript, _pilot):
        n_known = sum(transcript.model.is_exact(at) for at in range(2000))
        assert 0 < n_known < 30


async def test_a_turn_shows_all_its_parts() -> None:
    async with shown(short_chat(), (70, 40)) as (app, _, _pilot):
        rows = app.rows()
        assert rows[0].split() == ["you", "14:02"] and len(rows[0]) == 68
        assert rows[1].strip() == "Why is my KV cache [so] large?"
        assert rows[3].startswith(" qwen3:14b")
        assert rows[3].endswith("412 tok · 41.3/s · first 0.38 s")
        assert rows[4].strip() == "▸ thought for 6.1 s (214 tok)"
        assert any(row.strip() == '→ get_weather(city="Köln", days=2)' for row in rows)
        assert any(row.strip() == "✗ The context is full." for row in rows)


async def test_streaming_shows_the_answer_as_it_comes() -> None:
    async with shown([]) as (app, transcript, pilot):
        turn = transcript.begin_turn("assistant", "m", streaming=True)
        transcript.append_thinking(turn, "let me see")
        transcript.append_content(turn, "Hello **wor")
        await wait_for(pilot, lambda: app.rows()[2].strip() == "Hello **wor")
        assert app.rows()[1].strip() == "▸ thinking"
        transcript.append_content(turn, "ld**")
        transcript.set_thinking_note(turn, "thought for 1 s")
        transcript.set_stats(turn, "2 tok")
        await wait_for(pilot, lambda: app.rows()[2].strip() == "Hello world")
        await wait_for(pilot, lambda: app.rows()[1].strip() == "▸ thought for 1 s")
        transcript.set_tool_calls(turn, (ToolCall("f", {}),))
        transcript.end_turn(turn, stats="3 tok", error="cut off")
        await wait_for(pilot, lambda: app.rows()[4].strip() == "✗ cut off")
        assert app.rows()[0].endswith("3 tok")
        view = transcript.source(turn)
        assert (view.content, view.thinking, view.error) == ("Hello **world**", "let me see", "cut off")


async def test_streamed_and_loaded_chats_look_the_same() -> None:
    async with shown(short_chat()[1:], (70, 40)) as (loaded, transcript, _):
        view = transcript.source(transcript.turn_ids[0])
        expected = loaded.rows()
    async with shown([], (70, 40)) as (app, transcript, pilot):
        turn = transcript.begin_turn(view.role, view.title, streaming=True)
        transcript.append_thinking(turn, view.thinking)
        for start in range(0, len(ANSWER), 5):
            transcript.append_content(turn, ANSWER[start : start + 5])
        transcript.set_thinking_note(turn, view.thinking_note)
        transcript.set_tool_calls(turn, view.tool_calls)
        transcript.end_turn(turn, stats=view.stats, error=view.error)
        await pilot.pause()
        assert app.rows() == expected


async def test_an_ended_turn_takes_no_more() -> None:
    async with shown([]) as (_, transcript, _pilot):
        turn = transcript.begin_turn("assistant", "m", streaming=True)
        transcript.end_turn(turn)
        transcript.end_turn(turn)
        with pytest.raises(ValueError, match="ended"):
            transcript.append_content(turn, "x")
        transcript.clear()
        with pytest.raises(KeyError):
            transcript.append_content(turn, "x")


async def test_ids_are_never_used_twice() -> None:
    async with shown(long_chat(4)) as (app, transcript, pilot):
        first = transcript.turn_ids
        transcript.remove_from(first[2])
        await pilot.pause()
        assert transcript.turn_ids == first[:2]
        assert not any("Question 2" in row for row in app.rows())
        assert transcript.begin_turn("user", "you") not in first


async def test_foreign_text_controls_nothing() -> None:
    turn = TurnView(
        role="user", title="[red]me\x1b[2J", content="\x1b]0;x\x07[@click=app.exit]a[/] \x1b[31mb"
    )
    async with shown([turn]) as (app, _, _pilot):
        assert app.rows()[:2] == [" [red]me", "   [@click=app.exit]a[/] b"]


# --- following and scrolling ---


async def test_the_view_follows_in_steps_and_says_what_is_new_when_it_does_not() -> None:
    async with shown(long_chat(20)) as (app, transcript, pilot):
        turn = transcript.begin_turn("assistant", "m", streaming=True)
        tops = [transcript.model.top(20) - transcript.scroll_offset.y]
        for at in range(14):
            transcript.append_content(turn, f"line {at}\n\n")
            await wait_for(pilot, shows(app, f"line {at}"))
            tops.append(transcript.model.top(20) - transcript.scroll_offset.y)
        jumps = [a - b for a, b in pairwise(tops) if b != a]
        assert len(jumps) >= 3 and all(5 <= jump <= 7 for jump in jumps)
        await pilot.press("pageup")
        assert not follows(transcript)
        before = app.rows()
        transcript.append_content(turn, "more\n\nand more")
        await wait_for(pilot, lambda: "new · end: follow" in app.rows()[-1])
        assert app.rows()[:-1] == before[:-1]
        await pilot.press("end")
        await wait_for(pilot, lambda: any("and more" in row for row in app.rows()))
        assert follows(transcript)
        told = [event.following for event in app.posted if isinstance(event, Transcript.FollowChanged)]
        assert told == [False, True]


async def test_scrolling_down_to_the_end_follows_again() -> None:
    async with shown(long_chat(20)) as (_, transcript, pilot):
        await pilot.press("up", "up")
        assert not follows(transcript)
        await pilot.press("down", "down")
        assert follows(transcript)


async def test_scrolling_through_unseen_turns_shows_every_line_once() -> None:
    async with shown(long_chat(20)) as (app, transcript, pilot):
        seen = app.rows()[:-1]
        for _ in range(50):
            await pilot.press("up", "up", "up", "up", "up")
            rows = app.rows()
            overlap = next(n for n in range(len(rows)) if rows[n : n + 10] == seen[:10])
            assert overlap <= 5
            seen = rows[:overlap] + seen
            if transcript.scroll_offset.y == 0:
                break
        questions = [row.strip() for row in seen if row.strip().startswith("Question")]
        first = int(questions[0].split()[1].rstrip("?"))
        assert questions == [f"Question {at}?" for at in range(first, 20, 2)]
        assert first <= 6


async def test_a_turn_can_be_brought_to_the_top() -> None:
    async with shown(long_chat(100)) as (app, transcript, pilot):
        transcript.scroll_to_turn(transcript.turn_ids[50])
        await pilot.pause()
        assert app.rows()[1].strip() == "Question 50?"


async def test_heights_that_become_known_move_nothing() -> None:
    async with shown(long_chat(300)) as (app, transcript, pilot):
        transcript.scroll_to_turn(transcript.turn_ids[150])
        await pilot.pause()
        before = app.rows()
        await wait_for(pilot, lambda: transcript.model.is_exact(147) and transcript.model.is_exact(153))
        await pilot.pause()
        assert app.rows() == before


async def test_a_new_width_keeps_the_place() -> None:
    async with shown(long_chat(300)) as (app, transcript, pilot):
        transcript.scroll_to_turn(transcript.turn_ids[151])
        await pilot.pause()
        for size in ((100, 30), (40, 12), (60, 20)):
            await pilot.resize_terminal(*size)
            await pilot.pause()
            assert any(row.strip() == "Answer 151." for row in app.rows()[:4])


async def test_a_new_width_keeps_the_tail() -> None:
    async with shown(long_chat(300)) as (app, transcript, pilot):
        await pilot.resize_terminal(100, 40)
        await wait_for(pilot, lambda: transcript.model.width > 90)
        await pilot.pause()
        assert follows(transcript)
        assert app.rows()[-2].strip().startswith("▎ Quantised")


async def test_the_cache_of_lines_has_a_bound() -> None:
    async with shown(long_chat(3000)) as (_, transcript, pilot):
        for at in range(0, 3000, 20):
            transcript.scroll_to_turn(transcript.turn_ids[at])
        await pilot.pause()
        cached = sum(len(layout.lines) for layout in transcript.model._layouts.values())
        assert MAX_CACHED_LINES / 2 < cached <= MAX_CACHED_LINES + 100
        assert cached == transcript.model._n_cached_lines


# --- reasoning, cursor, copying ---


async def test_reasoning_opens_and_folds() -> None:
    async with shown(short_chat(), (70, 40)) as (app, transcript, pilot):
        for key in ("o", "enter"):
            await pilot.press(key)
            assert app.rows()[4].strip() == "▾ thought for 6.1 s (214 tok)"
            assert app.rows()[5].strip() == "Think about heads."
            await pilot.press(key)
            assert app.rows()[4].strip() == "▸ thought for 6.1 s (214 tok)"
        await pilot.click(Transcript, offset=(5, 4))
        assert transcript.model.turns[1].unfolded


async def test_the_cursor_walks_over_blocks_and_copies_them() -> None:
    async with shown(short_chat(), (70, 50)) as (app, transcript, pilot):
        await pilot.press("alt+down", "y")
        await pilot.press("alt+down", "y", "alt+down", "y", "alt+down", "y")
        assert app.rows()[8].startswith("▌  ctx")
        await pilot.press("alt+down", "alt+down", "alt+down", "y", "Y", "alt+up", "alt+up", "y")
        kinds = [what for what, _ in app.copied()]
        assert kinds == ["block", "reasoning", "block", "block", "code", "message", "block"]
        texts = [text for _, text in app.copied()]
        assert texts[0] == "Why is my KV cache [so] large?"
        assert texts[1] == "Think about *heads*.\n\nAnd layers."
        assert texts[4].startswith("def size(n_ctx: int)") and "```" not in texts[4]
        assert texts[5] == ANSWER
        assert texts[6] == "1. keys"
        moved = [event.turn_id for event in app.posted if isinstance(event, Transcript.CursorMoved)]
        assert moved == list(transcript.turn_ids)
        await pilot.press("escape")
        assert transcript.cursor_turn is None
        assert not any(row.startswith("▌") for row in app.rows())


async def test_the_cursor_scrolls_the_view() -> None:
    async with shown(long_chat(20)) as (app, transcript, pilot):
        await pilot.press("alt+up")
        for _ in range(12):
            await pilot.press("alt+up")
            assert any(row.startswith("▌") for row in app.rows())
        assert not follows(transcript)


async def test_copying_without_a_cursor_takes_the_latest() -> None:
    async with shown(short_chat(), (70, 50)) as (app, _, pilot):
        await pilot.press("y", "Y")
        assert [what for what, _ in app.copied()] == ["code", "message"]


async def test_keys_do_nothing_in_an_empty_chat() -> None:
    async with shown([]) as (app, transcript, pilot):
        await pilot.press("alt+up", "alt+down", "y", "Y", "o", "enter", "end", "escape", "pageup", "home")
        assert app.copied() == []
        assert transcript.cursor_turn is None


async def test_the_mouse_selects_and_copies() -> None:
    async with shown(short_chat(), (70, 50)) as (app, transcript, pilot):
        await pilot.mouse_down(Transcript, offset=(7, 1))
        await pilot.hover(Transcript, offset=(12, 3))
        await pilot.hover(Transcript, offset=(10, 3))
        await pilot.mouse_up(Transcript, offset=(10, 3))
        assert app.copied() == [("selection", "is my KV cache [so] large?\n\nqwen3:14b")]
        assert app.screen.get_selected_text() == "is my KV cache [so] large?\n\nqwen3:14b"
        assert transcript.cursor_turn is None


async def test_a_click_puts_the_cursor_on_a_block() -> None:
    async with shown(short_chat(), (70, 50)) as (_, transcript, pilot):
        await pilot.click(Transcript, offset=(8, 6))
        assert transcript.cursor_turn == transcript.turn_ids[1]


# --- looks and speed ---


async def test_another_theme_colours_the_lines_anew() -> None:
    async with shown(short_chat()) as (app, transcript, pilot):
        before = transcript.model.styles
        app.theme = "olla-light"
        await wait_for(pilot, lambda: transcript.model.styles != before)


async def test_code_is_coloured_once_its_lexer_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lexers, "_made", {})
    async with shown(short_chat(), (70, 40)) as (app, transcript, pilot):
        before = app.rows()
        await wait_for(pilot, lambda: is_coloured(app, "return"))
        assert app.rows() == before
        turn = transcript.begin_turn("assistant", "m", streaming=True)
        transcript.append_content(turn, "```lua\nlocal x")
        await wait_for(pilot, lambda: is_coloured(app, "local"))
        transcript.append_content(turn, " = 1")
        await wait_for(pilot, lambda: "local x = 1" in "".join(app.rows()))
        assert is_coloured(app, "local")


async def test_a_hidden_transcript_takes_text() -> None:
    async with shown([]) as (app, transcript, pilot):
        transcript.display = False
        await pilot.pause()
        turn = transcript.begin_turn("assistant", "m", streaming=True)
        transcript.append_content(turn, "unseen")
        transcript.end_turn(turn)
        transcript.display = True
        await wait_for(pilot, lambda: any(row.strip() == "unseen" for row in app.rows()))


@pytest.mark.parametrize("size", [(40, 10), (80, 24), (120, 40)], ids=["tiny", "narrow", "wide"])
def test_looks(snap_compare: Any, size: tuple[int, int]) -> None:
    async def fill(pilot: Pilot[None]) -> None:
        app = pilot.app
        assert isinstance(app, TranscriptApp)
        app.transcript.load(short_chat())
        await pilot.press("o", "alt+down", "alt+down")
        await wait_for(pilot, lambda: is_coloured(app, "return"))

    assert snap_compare(TranscriptApp(), terminal_size=size, run_before=fill)
