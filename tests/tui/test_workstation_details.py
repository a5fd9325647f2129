"""The parts of panes that tell all about the line under the cursor."""

import msgspec

from tests.support.workstation import driven, screen_text, settled, wait_until, workstation
from tests.support.workstation_script import busy_script


def line_with(app, word):
    return next(line for line in screen_text(app).splitlines() if word in line)


async def test_details_of_a_model_scroll_by_key_and_begin_anew_with_another():
    app = workstation(busy_script())
    async with driven(app, (80, 24)) as pilot:
        await pilot.press("alt+2", "j", "i")
        await settled(pilot)
        detail = app.main.pane("models").query_one("#model-detail")
        await wait_until(pilot, lambda: detail.max_scroll_y > 3)
        assert "Details" in screen_text(app)
        await pilot.press("J", "shift+down")
        await settled(pilot)
        assert detail.scroll_y > 0 and "Details" not in screen_text(app)
        await pilot.press("K", "K")
        await settled(pilot)
        assert detail.scroll_y == 0
        await pilot.press("J", "k")
        await settled(pilot)
        assert detail.scroll_y == 0, "another model is seen from its first line"


async def test_a_loaded_model_tells_of_each_device_that_holds_a_part_of_it():
    app = workstation(busy_script())
    async with driven(app, (120, 40)) as pilot:
        await pilot.press("alt+3", "j", "i")
        await settled(pilot)
        assert "CUDA0: 41 layers, 9.1 GB weights, 2.7 GB kv cache, 300 MB buffers" in screen_text(app)
        assert "CPU: 200 MB weights" in screen_text(app)
        assert "CUDA1" in line_with(app, "nomic-embed-text:latest")
        await pilot.press("f11")
        await settled(pilot)
        assert "41/41" in line_with(app, "▸ ● qwen3:14b-q4_K_M")


async def test_a_request_shows_its_prompt_where_prompts_are_recorded():
    script = busy_script()
    script.prompts = {3: "<|user|>\nWhy is the sky blue?\n<|assistant|>"}
    app = workstation(script)
    async with driven(app, (120, 40)) as pilot:
        await pilot.press("alt+5", "g", "enter")
        await wait_until(pilot, lambda: "Why is the sky blue?" in screen_text(app))
        assert "<|assistant|>" in screen_text(app)
        assert script.asked.count("prompt 3") == 1
        await pilot.press("j")
        await settled(pilot)
        assert f"{'state':13}queued #1" in screen_text(app)
        assert "Prompt" not in screen_text(app), "a request that waits has none yet"
        await pilot.press("j")
        await wait_until(pilot, lambda: "no prompt is kept of request 2" in screen_text(app))


async def test_a_request_says_how_prompts_are_recorded_where_they_are_not():
    script = busy_script()
    app = workstation(script)
    async with driven(app, (120, 40)) as pilot:
        await pilot.press("alt+5", "g", "enter")
        await settled(pilot)
        assert "OLLA_RECORD_PROMPTS=1" in screen_text(app)
        assert not [asked for asked in script.asked if asked.startswith("prompt")]


async def test_the_gauge_follows_an_answer_that_is_under_way():
    script = busy_script()
    app = workstation(script)
    async with driven(app, (120, 40)) as pilot:
        chat = app.desk.current
        chat.model = "qwen3:14b-q4_K_M"
        chat.ask("Why?", 0)
        chat.begin_answer(0)
        app.bridge.touch("chat")
        await settled(pilot)
        assert "ctx 3.1k/32k" in line_with(app, " options ")
        script.running[0] = msgspec.structs.replace(script.running[0], n_busy_slots=2, n_kv_tokens=9000)
        await app.bridge.poll_once()
        await settled(pilot)
        assert "ctx 0/32k" in line_with(app, " options "), "of several answers nobody knows whose they are"
