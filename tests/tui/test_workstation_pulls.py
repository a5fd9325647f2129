"""What the transfer queue's keys ask of the server."""

import msgspec
import pytest

from server.errors import InvalidModelName
from tests.support.scripted_tui_services import ScriptedServices
from tests.support.workstation import driven, screen_text, settled, wait_until, workstation
from tests.support.workstation_script import PARTIALS, Script, busy_script


async def at_pulls(pilot, key=""):
    await pilot.press("alt+7")
    await settled(pilot)
    if key:
        pilot.app.main.pane("pulls").table.go_to(key)
        await settled(pilot)


@pytest.mark.parametrize("pressed", ["space", "enter"])
async def test_a_pull_rests_and_goes_on(pressed):
    script = busy_script()
    app = workstation(script)
    async with driven(app) as pilot:
        await at_pulls(pilot, "t3")
        await pilot.press(pressed)
        await wait_until(pilot, lambda: app.state.transfers.transfers[0].state == "paused")
        await pilot.press(pressed)
        await wait_until(pilot, lambda: app.state.transfers.transfers[0].state == "running")
        assert script.asked == ["pause 3", "resume 3"]


async def test_what_has_failed_and_what_is_unfinished_begin_again():
    script = busy_script()
    app = workstation(script)
    async with driven(app) as pilot:
        await at_pulls(pilot, "t2")
        await pilot.press("space")
        await wait_until(pilot, lambda: script.asked == ["start pull mistral:7c"])
        app.main.pane("pulls").table.go_to("p:gpt-oss:20b")
        await pilot.press("space")
        await wait_until(pilot, lambda: script.asked[1:] == ["start pull gpt-oss:20b"])


async def test_the_order_changes_and_has_ends():
    script = busy_script()
    app = workstation(script)
    async with driven(app) as pilot:
        await at_pulls(pilot, "t6")
        for pressed, asked in (("K", "move 6 2"), ("J", "move 6 3"), ("f", "move 6 0")):
            await pilot.press(pressed)
            await wait_until(pilot, lambda asked=asked: script.asked[-1:] == [asked])
            await wait_until(pilot, lambda: list(app.state.transfers.transfers) == script.transfers)
        await pilot.press("K", "f")
        await settled(pilot)
        assert len(script.asked) == 3
        assert app.main.pane("pulls").table.key == "t6", "the cursor moves with it"


async def test_limits_are_checked_while_one_types():
    script = busy_script()
    app = workstation(script)
    async with driven(app) as pilot:
        await at_pulls(pilot, "t3")
        await pilot.press("l")
        await settled(pilot)
        assert "100MB/s" in screen_text(app)
        await pilot.press(*["backspace"] * 4, "x", "enter")
        await settled(pilot)
        assert "bytes a second are needed" in screen_text(app) and script.asked == []
        await pilot.press(*["backspace"] * 4, *"5MB/s", "enter")
        await wait_until(pilot, lambda: script.asked == ["limit 3 5000000"])
        await pilot.press("L", *"1GB", "enter")
        await wait_until(pilot, lambda: script.asked[1:] == ["limit all 1000000000"])
        await wait_until(pilot, lambda: "limit 1.0 GB/s" in screen_text(app))
        await pilot.press("L", "escape")
        await settled(pilot)
        assert len(script.asked) == 2


async def test_stopping_asks_and_taking_off_the_list_does_not():
    script = busy_script()
    app = workstation(script)
    async with driven(app) as pilot:
        await at_pulls(pilot, "t3")
        await pilot.press("d", "enter")
        await settled(pilot)
        assert script.asked == [], "to keep it is what enter does"
        await pilot.press("x", "right", "enter")
        await wait_until(pilot, lambda: script.asked == ["cancel transfer 3"])
        app.main.pane("pulls").table.go_to("t1")
        await pilot.press("d")
        await wait_until(pilot, lambda: script.asked[1:] == ["forget 1"])


async def test_what_is_unfinished_is_thrown_away_after_a_question():
    script = busy_script()
    app = workstation(script)
    async with driven(app) as pilot:
        await at_pulls(pilot, "p:gpt-oss:20b")
        assert "4.1 GB on disk" in screen_text(app)
        await pilot.press("d", "right", "enter")
        await wait_until(pilot, lambda: script.asked == ["remove sha256:aaa", "remove sha256:bbb"])
        app.bridge.refresh_models()
        await wait_until(pilot, lambda: len(app.state.partials) == 1)


@pytest.mark.parametrize("pane", ["alt+2", "alt+7"])
async def test_a_model_is_pulled_by_its_name(pane):
    script = Script()
    app = workstation(script)
    async with driven(app) as pilot:
        await pilot.press(pane, "p", *"a b", "enter")
        await settled(pilot)
        assert "this is no model's name" in screen_text(app) and script.asked == []
        await pilot.press(*["backspace"] * 2, *":7b", "enter")
        await wait_until(pilot, lambda: script.asked == ["start pull a:7b"])
        await pilot.press("alt+7", "p", *"http://host/me/m", "enter")
        await wait_until(pilot, lambda: script.asked[1:] == ["start pull http://host/me/m insecure"])


async def test_a_name_that_was_heard_of_is_completed():
    script = busy_script()
    app = workstation(script)
    async with driven(app) as pilot:
        await at_pulls(pilot)
        await pilot.press("p", *"GPT")
        await settled(pilot)
        assert "gpt-oss:20b  13.0 GB, fits, unfinished" in screen_text(app)
        await wait_until(pilot, lambda: app.screen.query_one("#dialog-input")._suggestion)
        await pilot.press("right", "enter")
        await wait_until(pilot, lambda: script.asked == ["start pull gpt-oss:20b"])


async def test_a_name_that_the_server_refuses_is_told(monkeypatch):
    services = ScriptedServices(Script())
    app = workstation(services=services)

    async def refuse(kind, request):
        raise InvalidModelName("invalid model name")

    monkeypatch.setattr(services.transfers, "start_transfer", refuse)
    async with driven(app) as pilot:
        await pilot.press("alt+7", "p", *"m", "enter")
        await wait_until(pilot, lambda: any("invalid model name" in n.message for n in app._notifications))


async def test_the_end_of_a_pull_is_told_and_the_store_listed_at_once():
    script = busy_script()
    app = workstation(script)
    async with driven(app) as pilot:
        script.transfers[0] = msgspec.structs.replace(script.transfers[0], state="done")
        new = msgspec.structs.replace(script.models[0], name="gemma3:27b")
        script.models.append(new)
        await wait_until(pilot, lambda: app.state.model("gemma3:27b") is not None)
        assert [n.message for n in app._notifications] == ["gemma3:27b is pulled"]


async def test_unfinished_downloads_are_looked_for_only_where_they_are_shown():
    script = busy_script()
    app = workstation(script)
    async with driven(app) as pilot:
        assert app.state.partials == ()
        await pilot.press("alt+7")
        await wait_until(pilot, lambda: app.state.partials == PARTIALS)
