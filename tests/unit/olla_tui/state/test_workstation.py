"""The state of the screen, and the lines around the panes that are made from it."""

import asyncio
from dataclasses import replace

import msgspec
import pytest

from olla_tui.state import turns
from olla_tui.state.conversation import Conversation, Turn
from olla_tui.state.devices import (
    DeviceView,
    graph_rows,
    label_devices,
    memory_rows,
    model_rows,
    share_of,
    shown,
)
from olla_tui.state.graphs import ASCII
from olla_tui.state.header import header_row, hints_row, tabs_row
from olla_tui.state.rail import rail_rows, rule
from olla_tui.state.rows import action_at, plain, row, width_of
from olla_tui.state.workstation import MAX_OPEN_CHATS, Workstation
from tests.support.scripted_tui_services import ScriptedServices
from tests.support.workstation_script import (
    DEVICE_PARTS,
    GPUS,
    LIBRARY,
    PROCESSOR_ONLY,
    START,
    Script,
    busy_script,
    empty_script,
    running,
)


def folded(script: Script) -> Workstation:
    state = Workstation(address="127.0.0.1:11434", now=START)
    services = ScriptedServices(script)
    state.fold_snapshot(asyncio.run(services.status.snapshot()))
    state.fold_models(script.models, script.bundled)
    state.fold_logs(script.logs)
    return state


@pytest.fixture
def busy():
    return folded(busy_script())


def test_only_what_is_shown_counts_as_a_change():
    script = Script()
    services = ScriptedServices(script)
    state = Workstation()
    first = asyncio.run(services.status.snapshot())
    assert state.fold_snapshot(first)
    script.clock.now += 1
    assert not state.fold_snapshot(asyncio.run(services.status.snapshot()))
    script.running = [running("qwen3:14b-q4_K_M")]
    assert state.fold_snapshot(asyncio.run(services.status.snapshot()))
    script.clock.now += 1
    assert state.fold_snapshot(asyncio.run(services.status.snapshot())), "its countdown goes on"


def test_a_server_that_goes_and_comes_back():
    script = Script()
    services = ScriptedServices(script)
    state = Workstation()
    snapshot = asyncio.run(services.status.snapshot())
    state.fold_snapshot(snapshot)
    assert state.fold_failure("gone")
    assert not state.fold_failure("gone")
    assert "gone" in plain(header_row(state, 80))
    assert state.fold_failure("gone with a sentence that is longer than the terminal is wide" * 2)
    assert "gone with a sentence" in plain(header_row(state, 40))
    assert width_of(header_row(state, 40)) == 40
    assert state.fold_snapshot(snapshot)
    assert (state.connection, state.problem) == ("up", "")


def test_device_histories_grow_with_the_snapshots(busy):
    assert [view.label for view in busy.devices] == ["GPU0", "GPU1", "CPU"]
    assert list(busy.devices[0].history.utilization) == [0.71]
    assert [view.label for view in shown(busy.devices)] == ["GPU0", "GPU1"]
    assert [view.label for view in shown(folded(empty_script()).devices)] == ["CPU"]
    assert label_devices(PROCESSOR_ONLY) == ["CPU"]


def test_the_default_model_is_loaded_or_new_and_can_chat(busy):
    assert busy.default_model() == "qwen3:14b-q4_K_M"
    assert folded(Script()).default_model() == "spark:latest"
    assert folded(empty_script()).default_model() == ""
    assert folded(Script(models=[LIBRARY[2]])).default_model() == ""


def test_open_chats_are_bounded_and_those_that_answer_stay():
    state = Workstation()
    answering = Conversation(id="first")
    answering.ask("Why?", 0)
    answering.begin_answer(0)
    state.open_chat(answering)
    for number in range(2 * MAX_OPEN_CHATS):
        state.open_chat(Conversation(id=str(number)))
    assert len(state.chats) == MAX_OPEN_CHATS
    assert answering in state.chats
    assert state.chat is state.chats[-1]


def test_forgetting_the_chat_that_is_shown_shows_another():
    state = Workstation()
    state.open_chat(Conversation(id="1"))
    state.open_chat(Conversation(id="2"))
    state.forget_chat("2")
    assert state.chat is not None and state.chat.id == "1"
    state.forget_chat("1")
    assert state.chat is None


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120, 200])
def test_the_lines_around_the_panes_fit_any_width(busy, width):
    busy.link_bytes_per_s = 14_000
    assert width_of(header_row(busy, width)) == width
    tabs = (("chat", "Chat"), ("models", "Models"), ("logs", "Logs"))
    line = tabs_row(tabs, "models", width)
    assert width_of(line) == width
    assert "Models" in plain(line)
    assert width_of(hints_row([("q", "quit", "app.quit")] * 30, row("end"), width)) == width


def test_the_header_drops_the_less_important_first(busy):
    busy.link_bytes_per_s = 14_000
    busy.attached = True
    tiny, narrow, wide = (plain(header_row(busy, width)) for width in (40, 84, 140))
    assert "tok/s" in tiny and "GPU" not in tiny
    assert "GPU0" in narrow and "tok/s" in narrow and "attached" not in narrow
    assert "attached" in wide
    busy.slow_link = True
    assert "slow link 14.0 kB/s" in plain(header_row(busy, 180))
    assert "slow link" in plain(header_row(busy, 80))
    busy.slow_link, busy.wants_low_bandwidth = False, True
    assert "sparing link 14.0 kB/s" in plain(header_row(busy, 180))
    assert "GPU1" in wide and "link" in wide and "queued" in wide


def test_the_header_leads_to_panes(busy):
    line = header_row(busy, 120)
    assert action_at(line, plain(line).index("GPU0")) == "pane.gpus"
    assert action_at(line, plain(line).index("queued")) == "pane.requests"


@pytest.mark.parametrize(("width", "height", "with_log"), [(39, 37, True), (49, 57, True), (39, 12, False)])
def test_the_rail_fits(busy, width, height, with_log):
    rows = rail_rows(busy, width, height, with_log=with_log)
    assert len(rows) <= height
    assert all(width_of(line) <= width for line in rows)
    assert "Running" in plain(rows[0])


def test_the_rail_of_an_idle_server_says_so():
    text = "\n".join(plain(line) for line in rail_rows(folded(Script()), 40, 30, with_log=False))
    assert "No model is loaded." in text
    assert "None yet." in text


def test_a_rule_has_its_width_whatever_its_title():
    for width in (3, 10, 40):
        assert width_of(rule("A title", width, "and a note")) == width


def test_memory_is_split_among_gpus_by_use_and_marked_as_an_estimate():
    views = folded(busy_script()).devices
    assert sum(share_of(view, views) for view in views[:2]) == pytest.approx(1)
    assert share_of(views[2], views) == 1
    models = (running("qwen3:14b-q4_K_M"),)
    estimate = plain(memory_rows(views[0], models, 60, share=0.8)[1])
    exact = plain(memory_rows(views[0], models, 60)[1])
    assert "weights ~6.9" in estimate
    assert "weights 8.7" in exact and "other 5.9" in exact


def test_a_models_memory_counts_where_it_lives():
    processor = DeviceView("CPU", PROCESSOR_ONLY[0], folded(Script()).devices[0].history)
    assert "weights" not in plain(memory_rows(processor, (running("qwen3:14b-q4_K_M"),), 60)[1])
    on_cpu = running("qwen3:14b-q4_K_M", size_vram_bytes=0)
    assert "weights 8.7" in plain(memory_rows(processor, (on_cpu,), 60)[1])


def test_a_model_that_tells_of_its_devices_counts_on_each_of_them_alone():
    first, second, processor = folded(busy_script()).devices
    models = (running("qwen3:14b-q4_K_M", device_parts=DEVICE_PARTS),)
    assert "weights ~8.5  ▓ kv ~2.5" in plain(memory_rows(first, models, 60, share=0.8)[1])
    assert "weights" not in plain(memory_rows(second, models, 60, share=0.2)[1])
    assert "weights 0.2" in plain(memory_rows(processor, models, 60)[1])
    assert "qwen3:14b-q4_K_M ~11.3" in plain(model_rows(first, models, 60, share=0.8)[1])
    assert model_rows(second, models, 60, share=0.2) == []


def test_a_graph_has_its_rectangle_in_both_glyph_sets(busy):
    for glyphs in (busy.glyphs, ASCII):
        rows = graph_rows(busy.devices[0], 40, 4, 120, glyphs)
        assert [width_of(line) for line in rows] == [40] * 4


# --- around a chat ---


def test_a_chat_without_a_model_tells_how_to_get_one():
    state = folded(empty_script())
    text = "\n".join(plain(line) for line in turns.welcome_rows(state, Conversation(id="1")))
    assert "spark: bundled, 6.2 MB" in text
    assert "enter" in text
    assert turns.blocked_reason(state, Conversation(id="1")) == "no model yet; alt+g starts one"


def test_a_chat_with_a_model_begins_with_examples(busy):
    chat = Conversation(id="1", model="spark:latest")
    text = "\n".join(plain(line) for line in turns.welcome_rows(busy, chat))
    assert "spark:latest" in text and turns.EXAMPLES[0] in text
    assert turns.blocked_reason(busy, chat) == ""


def test_why_nothing_can_be_sent():
    assert turns.blocked_reason(Workstation(), Conversation(id="1")) == "starting"
    state = folded(Script())
    gone = Conversation(id="1", model="mistral:7b")
    assert "mistral:7b is not in the store" in turns.blocked_reason(state, gone)
    state.fold_failure("no server answers")
    assert turns.blocked_reason(state, gone) == "no server answers"


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_chips_and_title_fit(busy, width):
    chat = Conversation(id="1", model="qwen3:14b-q4_K_M", title="A rather long title " * 4)
    assert width_of(turns.chips_row(busy, chat, width)) == width
    assert width_of(turns.title_row(busy, chat, width)) <= width


def test_only_models_that_think_have_the_chip(busy):
    assert "think" in plain(turns.chips_row(busy, Conversation(id="1", model="qwen3:14b-q4_K_M"), 80))
    assert "think" not in plain(turns.chips_row(busy, Conversation(id="1", model="spark:latest"), 80))


def test_the_context_gauge_knows_the_loaded_size_and_the_models(busy):
    loaded = Conversation(id="1", model="qwen3:14b-q4_K_M")
    assert turns.context_limit(busy, loaded) == 32768
    assert turns.context_limit(busy, Conversation(id="1", model="spark:latest")) == 2048
    assert turns.gauge_row(busy, Conversation(id="1", model="unknown:1"), 5) == ()


def test_of_a_log_that_is_quoted_the_last_line_is_shown():
    turn = Turn(role="assistant", error="The engine failed.", hint="Traceback:\n  main()\nImportError: x\n")
    assert turns.error_of(turn) == "The engine failed. ImportError: x (the log has more)"
    assert turns.error_of(replace(turn, hint="Try again.")) == "The engine failed. Try again."
    assert turns.error_of(replace(turn, error="")) == ""


def test_the_words_around_an_answer():
    chat = Conversation(id="1", model="m")
    chat.ask("Why?", START)
    chat.begin_answer(START)
    assert turns.stats_of(chat.turns[-1]) == "waiting"
    chat.progress(412, 41.3)
    chat.end_with(None, START)
    turn = replace(chat.turns[-1], first_token_s=0.38, thinking="Hm", thought_s=6.1, content="A")
    assert turns.stats_of(turn) == "412 tok · 41.3/s · first 0.38 s · stopped"
    assert turns.thinking_note_of(turn) == "thought for 6.10 s"
    assert turns.title_of(turn) == "m" and turns.title_of(chat.turns[0]) == "you"
    cut = replace(turn, state="done", done_reason="length", n_dropped_messages=3)
    assert turns.stats_of(cut).endswith("cut at the limit · 3 old messages left out")


def test_gpus_keep_their_order():
    assert label_devices(GPUS) == ["GPU0", "GPU1", "CPU"]
    swapped = msgspec.structs.replace(GPUS[0], name="other")
    assert label_devices((swapped, *GPUS[1:])) == ["GPU0", "GPU1", "CPU"]
