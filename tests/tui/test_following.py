"""Following the answer is a state of its own: what comes in, and what happens to the terminal, leaves it."""

import pytest

from tests.support.transcripts import TranscriptApp, long_chat
from tests.support.workstation import driven, settled, wait_until, workstation
from tests.support.workstation_script import busy_script

PIECES = (
    "| a | b |\n|---|---|\n",
    "| 1 | 2 |\n| 3 | 4 |\n| 5 | 6 |\n",
    "\n```python\ndef f():\n",
    "    return 1\n" * 40,
    "```\n\n- one\n- two\n\n",
    "word " * 400,
    "\n\n# Heading\n\n> quoted\n\n",
)
SIZES = [(60, 20), (100, 40), (40, 12), (150, 50), (61, 21)]


async def test_tables_fences_bursts_and_resizes_leave_the_tail_in_view():
    app = TranscriptApp()
    async with app.run_test(size=(60, 20)) as pilot:
        transcript = app.transcript
        transcript.load(long_chat(20))
        await pilot.pause()
        turn = transcript.begin_turn("assistant", "m", streaming=True)
        for at in range(50):
            transcript.append_content(turn, PIECES[at % len(PIECES)])
            await pilot.resize_terminal(*SIZES[at % len(SIZES)])
        transcript.append_content(turn, "\n\nThe last line.")
        transcript.end_turn(turn)
        await wait_until(pilot, lambda: any(row.strip() == "The last line." for row in app.rows()))
        assert transcript.following
        assert [row.strip() for row in app.rows() if row.strip()][-1] == "The last line."


async def test_fifty_sizes_in_a_row_leave_the_last_one():
    app = workstation(busy_script())
    async with driven(app, (120, 40)) as pilot:
        for at in range(50):
            await pilot.resize_terminal(60 + at * 7 % 90, 12 + at * 5 % 40)
        await pilot.resize_terminal(80, 24)
        await settled(pilot)
        assert app.main.size == (80, 24)
        strips = app.screen._compositor.render_strips()
        assert [strip.cell_length for strip in strips] == [80] * 24


@pytest.mark.parametrize("low_bandwidth", [None, True])
async def test_a_small_terminal_leaves_fourteen_lines_for_the_chat(low_bandwidth):
    app = workstation(busy_script())
    app.state.wants_low_bandwidth = low_bandwidth
    async with driven(app, (80, 24)) as pilot:
        app.main.chat_pane.composer.text = "Why?"
        await pilot.press("enter")
        await wait_until(pilot, lambda: app.desk.current.turns[1:] and not app.desk.current.is_answering)
        await settled(pilot)
        assert app.main.chat_pane.transcript.size.height >= 14
