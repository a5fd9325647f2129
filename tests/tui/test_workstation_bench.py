"""Measuring models from the screen."""

import asyncio
import json

from tests.support.workstation import TestSettings, driven, screen_text, settled, wait_until, workstation
from tests.support.workstation_script import Script, busy_script


async def measured(pilot, app, n_entries):
    pane = app.main.pane("bench")
    await wait_until(pilot, lambda: len(pane._entries or ()) == n_entries)
    await settled(pilot)


async def test_a_model_is_measured_and_the_figures_are_kept(tmp_path):
    script = busy_script()
    settings = TestSettings(bench_file=tmp_path / "bench.jsonl")
    app = workstation(script, settings=settings)
    async with driven(app) as pilot:
        await pilot.press("alt+8", "m")
        await settled(pilot)
        assert "Choose a model" in screen_text(app)
        await pilot.press(*"qwen3", "enter")
        await measured(pilot, app, 1)
        assert "Figures qwen3:14b-q4_K_M" in screen_text(app)
        script.clock.now += 60
        await pilot.press("r")
        await measured(pilot, app, 2)
        lines = (tmp_path / "bench.jsonl").read_text().splitlines()
        assert [json.loads(line)["figures"]["model"] for line in lines] == ["qwen3:14b-q4_K_M"] * 2
    again = workstation(script, settings=settings)
    async with driven(again) as pilot:
        await pilot.press("alt+8")
        await measured(pilot, again, 2)
        await pilot.press("d")
        await measured(pilot, again, 1)


async def test_measuring_can_be_stopped():
    script = busy_script()
    script.hold = asyncio.Event()
    app = workstation(script)
    async with driven(app) as pilot:
        await pilot.press("alt+8", "m", *"qwen3", "enter")
        pane = app.main.pane("bench")
        await wait_until(pilot, lambda: "qwen3:14b-q4_K_M: " in screen_text(app))
        assert pane.check_action("stop", ()) and not pane.check_action("measure", ())
        await pilot.press("x")
        await wait_until(pilot, lambda: pane.check_action("measure", ()))
        await settled(pilot)
        assert pane._entries == [] and "Nothing was measured yet." in screen_text(app)


async def test_what_cannot_be_measured_is_told():
    script = Script()
    app = workstation(script)
    async with driven(app) as pilot:
        await pilot.press("alt+8")
        app.main.pane("bench").measure("nobody:latest")
        await wait_until(pilot, lambda: app._notifications)
        assert any("nobody" in notification.message for notification in app._notifications)
