"""What the panes do to the server, and the questions that stand before it."""

import asyncio

import msgspec
import pytest

from server.errors import ServerUnreachable
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
from tests.support.workstation_script import LogLine, Script, busy_script


async def test_a_model_is_deleted_only_after_its_name_is_typed():
    script = Script()
    app = workstation(script)
    async with driven(app, (120, 40)) as pilot:
        await pilot.press("alt+2")
        name = app.main.pane("models").table.key
        assert name == "spark:latest"
        await pilot.press("d")
        await settled(pilot)
        assert "Delete this model?" in screen_text(app)
        await pilot.press(*"spark", "enter")
        await settled(pilot)
        assert script.asked == [] and app.screen is not app.main
        await pilot.press(*":latest", "enter")
        await wait_until(pilot, lambda: script.asked == [f"delete {name}"])
        await wait_until(pilot, lambda: app.state.model(name) is None)


async def test_a_deletion_can_be_thought_better_of():
    script = Script()
    app = workstation(script)
    async with driven(app, (80, 24)) as pilot:
        await pilot.press("alt+2", "d")
        await settled(pilot)
        await pilot.press("escape")
        await settled(pilot)
        assert app.screen is app.main and script.asked == []


async def test_filtering_and_sorting_models():
    app = workstation()
    async with driven(app, (120, 40)) as pilot:
        await pilot.press("alt+2", "slash", *"tools")
        await settled(pilot)
        table = app.main.pane("models").table
        assert table.keys == ["qwen3:14b-q4_K_M", "llama3.2:3b", "gpt-oss:120b"]
        await pilot.press("enter")
        assert focus_of(app) == "models-table"
        await pilot.press("full_stop", "full_stop")
        await settled(pilot)
        assert table.keys[0] == "gpt-oss:120b", "the largest first"
        assert "size↓" in screen_text(app)
        await pilot.press("slash", *"!!", "escape")
        await settled(pilot)
        assert len(table.keys) == 5


async def test_a_filter_without_a_match_says_how_to_leave():
    app = workstation()
    async with driven(app, (80, 24)) as pilot:
        await pilot.press("alt+2", "slash", *"zzz")
        await settled(pilot)
        assert "No model matches the filter." in screen_text(app)


async def test_the_cursor_stays_on_its_model_when_the_list_changes():
    script = Script()
    app = workstation(script)
    async with driven(app, (80, 24)) as pilot:
        await pilot.press("alt+2", "j", "j")
        table = app.main.pane("models").table
        assert table.key == "llama3.2:3b"
        script.models = [model for model in script.models if "spark" not in model.name]
        app.bridge.refresh_models()
        await wait_until(pilot, lambda: len(table.keys) == 4)
        assert table.key == "llama3.2:3b"


async def test_details_of_a_model():
    app = workstation()
    async with driven(app, (120, 40)) as pilot:
        await pilot.press("alt+2", "i")
        await wait_until(pilot, lambda: "Apache License 2.0" in screen_text(app))
        assert "temperature 0.6" in screen_text(app)


async def test_what_fits_depends_on_the_context_that_one_asks_about():
    app = workstation(busy_script())
    async with driven(app, (120, 40)) as pilot:
        await pilot.press("alt+2", "f11")
        await wait_until(pilot, lambda: app.state.footprints)
        await settled(pilot)
        assert "fits with 4k" in screen_text(app)
        for _ in range(3):
            await pilot.press("c")
        await settled(pilot)
        assert "fits with 32k" in screen_text(app)
        await pilot.press("C", "C", "C", "C")
        await settled(pilot)
        assert "fits with 256k" in screen_text(app)


async def test_a_model_gets_a_second_name():
    script = Script()
    app = workstation(script)
    async with driven(app, (120, 40)) as pilot:
        await pilot.press("alt+2", "y", *"spark", "enter")
        await settled(pilot)
        assert "this is the name that it has" in screen_text(app) and script.asked == []
        await pilot.press("2", "enter")
        await wait_until(pilot, lambda: script.asked == ["copy spark:latest spark2"])


async def test_a_model_is_made_by_a_form():
    script = Script()
    app = workstation(script)
    async with driven(app, (80, 24)) as pilot:
        await pilot.press("alt+2", "n")
        await settled(pilot)
        assert "the new model needs a name" in screen_text(app)
        await pilot.press(*"mine", "down", "down", *"Be brief.", "enter", *"temperature x", "enter")
        await settled(pilot)
        assert script.asked == [] and app.screen is not app.main, "a number is needed"
        await pilot.press("backspace", "0", "enter")
        await wait_until(
            pilot, lambda: script.asked == ["create mine:latest spark:latest 'Be brief.' temperature=0.0"]
        )
        await pilot.press("n", "escape")
        await settled(pilot)
        assert app.screen is app.main and len(script.asked) == 1


async def test_details_are_asked_for_once_and_a_failure_is_told_once(monkeypatch):
    services = ScriptedServices(Script())
    app = workstation(services=services)
    models, asked, failure = services.models, [], asyncio.Event()

    async def fail_later(request):
        asked.append(request.model)
        await failure.wait()
        raise ServerUnreachable("the store is gone")

    told = []
    monkeypatch.setattr(models, "show", fail_later)
    monkeypatch.setattr(app, "notice", lambda text, severity, hint: told.append(text))
    async with driven(app, (120, 40)) as pilot:
        await pilot.press("alt+2", "i")
        await wait_until(pilot, lambda: asked)
        pane = app.main.pane("models")
        for _ in range(3):
            pane.refresh_from(frozenset(("status",)))
        failure.set()
        await wait_until(pilot, lambda: told)
        pane.refresh_from(frozenset(("status",)))
        await settled(pilot)
        assert len(asked) == 1 and told == ["the store is gone"]


@pytest.mark.parametrize("key", ["r", "enter"])
async def test_running_a_model_opens_a_chat_with_it(key):
    app = workstation()
    async with driven(app, (80, 24)) as pilot:
        await pilot.press("alt+2", "j", key)
        await settled(pilot)
        assert app.main.active == "chat"
        assert app.desk.current.model == "qwen3:14b-q4_K_M"
        assert focus_of(app) == "composer"


async def test_loaded_models_are_kept_longer_and_unloaded():
    script = busy_script()
    app = workstation(script)
    async with driven(app, (120, 40)) as pilot:
        await pilot.press("alt+3")
        await settled(pilot)
        assert app.main.pane("running").table.key == "nomic-embed-text:latest"
        await pilot.press("plus")
        await wait_until(pilot, lambda: "keep nomic-embed-text:latest 60" in script.asked)
        await pilot.press("u")
        await wait_until(pilot, lambda: "unload nomic-embed-text:latest" in script.asked)
        await wait_until(pilot, lambda: len(app.state.running) == 1)


async def test_a_model_is_held_and_let_go():
    script = busy_script()
    app = workstation(script)
    async with driven(app, (120, 40)) as pilot:
        await pilot.press("alt+3", "h")
        await wait_until(pilot, lambda: script.asked == ["keep nomic-embed-text:latest inf"])
        await wait_until(pilot, lambda: "forever" in screen_text(app))
        await pilot.press("h")
        await wait_until(pilot, lambda: script.asked[1:] == ["keep nomic-embed-text:latest 300"])
        await pilot.press("j", "i")
        await settled(pilot)
        assert "9.3 GB weights, 2.7 GB kv cache, 300 MB other" in screen_text(app)


async def test_requests_are_filtered():
    app = workstation(busy_script())
    async with driven(app, (120, 40)) as pilot:
        await pilot.press("alt+5", "slash", *"qwen3 !python", "enter")
        await settled(pilot)
        table = app.main.pane("requests").table
        assert table.keys == [] and "No request matches." in screen_text(app)
        await pilot.press("slash", "escape", "o")
        await settled(pilot)
        assert table.keys == ["3", "4"]
        await pilot.press("o")
        await settled(pilot)
        assert len(table.keys) == 4


async def test_a_long_line_of_the_log_is_shown_whole():
    script = busy_script()
    script.logs.append(LogLine(6, 0.0, "error", "server", " ".join(f"word{n}" for n in range(40))))
    script.logs.append(LogLine(7, 0.0, "info", "server", "the newest"))
    app = workstation(script)
    async with driven(app, (80, 24)) as pilot:
        await pilot.press("alt+6")
        await wait_until(pilot, lambda: app.state.logs.last_number == 7)
        await settled(pilot)
        assert "word39" not in screen_text(app)
        await pilot.press("k")
        await settled(pilot)
        assert "word39" in screen_text(app)


async def test_an_open_request_is_cancelled_and_an_ended_one_is_not():
    script = busy_script()
    app = workstation(script)
    async with driven(app, (120, 40)) as pilot:
        await pilot.press("alt+5", "x")
        await wait_until(pilot, lambda: script.asked == ["cancel 3"])
        await pilot.press("G", "x", "enter")
        await settled(pilot)
        assert script.asked == ["cancel 3"]
        assert "model 'mistral:7b' not found" in screen_text(app)


async def test_the_window_of_the_graphs_has_ends():
    app = workstation(busy_script())
    async with driven(app, (80, 24)) as pilot:
        await pilot.press("alt+4", *["right_square_bracket"] * 6)
        await settled(pilot)
        assert app.main.pane("gpus").window_s == 86_400
        await pilot.press(*["left_square_bracket"] * 6)
        assert app.main.pane("gpus").window_s == 60


async def test_one_looks_back_at_a_moment_and_returns_to_now():
    app = workstation(busy_script())
    async with driven(app, (120, 40)) as pilot:
        await pilot.press("alt+4")
        await wait_until(pilot, lambda: app.state.history is not None)
        await settled(pilot)
        assert "30 ended" in screen_text(app) and "1 ended" not in screen_text(app)
        await pilot.press(*["left"] * 5)
        await settled(pilot)
        assert "1 ended" in screen_text(app)
        await pilot.press(*["left"] * 60)
        await settled(pilot)
        assert "nothing is known of this time" in screen_text(app)
        await pilot.press("right")
        assert app.main.pane("gpus")._look.n_back == 59
        await pilot.press("end")
        await settled(pilot)
        assert "nothing is known" not in screen_text(app)


async def test_logs_are_filtered_searched_and_saved(tmp_path):
    app = workstation(busy_script(), settings=TestSettings(save_dir=tmp_path / "logs"))
    async with driven(app, (80, 24)) as pilot:
        await pilot.press("alt+6")
        await wait_until(pilot, lambda: "out of memory" in screen_text(app))
        assert "store: 5 models" not in screen_text(app)
        await pilot.press("l")
        await settled(pilot)
        assert "listening on" not in screen_text(app) and "mistral:7b" in screen_text(app)
        await pilot.press("slash", *"memory", "enter", "s")
        await wait_until(pilot, lambda: list((tmp_path / "logs").glob("log-*.txt")))
        (saved,) = (tmp_path / "logs").glob("log-*.txt")
        assert saved.read_text().count("\n") == 1 and "out of memory" in saved.read_text()
        assert saved.stat().st_mode & 0o077 == 0


async def test_the_log_follows_its_end_until_one_looks_back():
    script = busy_script()
    app = workstation(script)
    async with driven(app, (80, 24)) as pilot:
        await pilot.press("alt+6")
        await wait_until(pilot, lambda: app.state.logs.last_number == 5)
        table = app.main.pane("logs").table
        script.logs += [LogLine(n, 0.0, "info", "server", f"line {n}") for n in range(6, 60)]
        await wait_until(pilot, lambda: app.state.logs.last_number == 59)
        await settled(pilot)
        assert "line 59" in screen_text(app)
        await pilot.press("g")
        script.logs.append(LogLine(60, 0.0, "info", "server", "line 60"))
        await wait_until(pilot, lambda: app.state.logs.last_number == 60)
        await settled(pilot)
        assert "line 60" not in screen_text(app) and not table.following


async def test_a_server_that_goes_away_is_told_and_comes_back():
    script = Script()
    app = workstation(script, attached=True)
    async with driven(app, (120, 40)) as pilot:
        assert "attached" in screen_text(app).splitlines()[0]
        script.down = ServerUnreachable("no server answers at :11434")
        await wait_until(pilot, lambda: "no server answers" in screen_text(app).splitlines()[0])
        script.down = None
        await wait_until(pilot, lambda: app.state.connection == "up")
        await settled(pilot)
        assert "no server answers" not in screen_text(app)


async def test_an_attached_screen_quits_without_a_question():
    app = workstation(attached=True)
    async with driven(app, (80, 24)) as pilot:
        await pilot.press("alt+2", "q")
        await pilot.pause()
    assert app.return_value == "quit"


@pytest.mark.parametrize(
    ("keys", "result"),
    [(("enter",), "quit"), (("right", "enter"), "keep")],
)
async def test_quitting_asks_what_becomes_of_the_server(keys, result):
    app = workstation(busy_script())
    async with driven(app, (80, 24)) as pilot:
        await pilot.press("ctrl+q")
        await settled(pilot)
        assert "2 open requests will be cancelled." in screen_text(app)
        await pilot.press(*keys)
        await pilot.pause()
    assert app.return_value == result


async def test_the_question_can_be_left():
    app = workstation(busy_script())
    async with driven(app, (80, 24)) as pilot:
        await pilot.press("ctrl+q")
        await settled(pilot)
        await pilot.press("escape")
        await settled(pilot)
        assert app.screen is app.main and app.return_value is None


async def test_two_interrupts_ask_and_one_does_not():
    app = workstation()
    async with driven(app, (80, 24)) as pilot:
        await pilot.press("ctrl+c")
        await settled(pilot)
        assert app.screen is app.main
        await pilot.press("ctrl+c")
        await settled(pilot)
        assert "Quit olla?" in screen_text(app)


async def test_an_answer_under_way_is_kept_when_the_screen_closes():
    script = Script(hold=asyncio.Event())
    app = workstation(script, attached=True)
    async with driven(app, (80, 24)) as pilot:
        await pilot.press(*"Why?", "enter")
        await wait_until(pilot, lambda: app.desk.current.is_answering)
        chat = app.desk.current
        await pilot.press("ctrl+q")
        await pilot.pause()
    assert chat.turns[-1].state == "stopped"
    assert script.n_cancelled == 1


async def test_names_with_markup_are_shown_as_they_are():
    script = busy_script()
    script.requests[0] = msgspec.structs.replace(
        script.requests[0], route="[b]/x[/b]", client="[red]evil\x1b[2J"
    )
    app = workstation(script)
    async with driven(app, (200, 60)) as pilot:
        await pilot.press("alt+5")
        await settled(pilot)
        assert "[b]/x[/b]" in screen_text(app)
