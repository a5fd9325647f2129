"""Loaded models, requests and log lines as they are shown."""

import math

import msgspec
import pytest

from olla_tui.state import requests
from olla_tui.state import running as running_list
from olla_tui.state.logs import LogBook, role_for
from olla_tui.state.rows import plain, width_of
from server.types.status import LogLine
from tests.support.workstation_script import BUSY_REQUESTS, DEVICE_PARTS, LOG_LINES, START, running

NAME = "qwen3:14b-q4_K_M"
replace = msgspec.structs.replace


@pytest.mark.parametrize("width", [30, 39, 50])
def test_lines_of_the_rail_have_its_width(width):
    for line in running_list.rail_rows(running(NAME), width, START):
        assert width_of(line) == width
    for line in requests.rail_rows(BUSY_REQUESTS, width, 10):
        assert width_of(line) == width


def test_a_busy_model_tells_its_rate_and_an_idle_one_its_time():
    busy, idle = running(NAME), running(NAME, n_busy_slots=0)
    assert running_list.activity_text(busy, START) == "41.3 tok/s"
    assert running_list.keep_alive_text(busy, START) == "busy"
    assert running_list.activity_text(idle, START) == "idle"
    assert running_list.keep_alive_text(idle, START) == "4m12s"
    loading = running(NAME, state="loading", load_fraction=0.4)
    assert running_list.activity_text(loading, START) == "loading 40%"
    all_read = running(NAME, state="loading", load_fraction=1.0)
    assert running_list.activity_text(all_read, START) == "loading 99%"
    assert running_list.activity_text(running(NAME, state="starting"), START) == "starting"


def test_where_a_model_lives():
    assert running_list.device_text(running(NAME)) == "GPU"
    assert running_list.device_text(running(NAME, size_vram_bytes=0)) == "CPU"
    assert running_list.device_text(running(NAME, size_vram_bytes=int(12.3e9 / 2))) == "50% GPU"


def test_layers_and_devices_of_a_model_that_tells_of_them():
    whole = running(NAME, n_layers=41, n_gpu_layers=41, device_parts=DEVICE_PARTS)
    assert running_list.device_text(whole) == "CUDA0" and running_list.layers_text(whole) == "41/41"
    assert running_list.device_text(replace(whole, n_gpu_layers=30)) == "GPU+CPU"
    two = replace(whole, device_parts=(DEVICE_PARTS[0], replace(DEVICE_PARTS[0], device="CUDA1")))
    assert running_list.device_text(two) == "2 GPUs"
    assert running_list.layers_text(running(NAME)) == "–"
    lines = running_list.detail_lines(replace(whole, draft_refusal="it does not fit"), START)
    assert ("devices", "CUDA0: 41 layers, 9.1 GB weights, 2.7 GB kv cache, 300 MB buffers") in lines
    assert ("", "CPU: 200 MB weights") in lines and ("draft", "it does not fit") in lines


def test_context_is_that_of_one_slot_as_in_the_chat():
    assert running_list.context_text(running(NAME)) == "3.1k/32k"
    assert running_list.context_text(running(NAME, n_busy_slots=2, n_kv_tokens=3000)) == "1.5k/32k"
    assert running_list.context_text(running(NAME, n_busy_slots=0, n_kv_tokens=3000)) == "0/32k"
    half = running_list.slot_bar(running(NAME, n_kv_tokens=16384), 10)
    full = running_list.slot_bar(running(NAME, n_kv_tokens=32768), 10)
    assert half == running_list.slot_bar(running(NAME, n_busy_slots=2, n_kv_tokens=32768), 10) != full


@pytest.mark.parametrize(
    ("left", "longer", "shorter"),
    [
        (252, 300, 60),
        (300, 900, 60),
        (30, 60, 60),
        (86_400, math.inf, 4 * 3600),
        (math.inf, math.inf, 86_400),
    ],
)
def test_keep_alive_steps(left, longer, shorter):
    model = running(NAME, expires_at=START + left)
    assert running_list.stepped_keep_alive_s(model, START, 1) == longer
    assert running_list.stepped_keep_alive_s(model, START, -1) == shorter


def test_open_requests_come_first_the_next_to_go_on_top():
    assert [request.id for request in requests.in_order(BUSY_REQUESTS)] == [3, 4, 2, 1]


def test_each_state_has_a_mark_and_words_of_its_own():
    states = ("queued", "loading", "prefill", "decode", "done", "failed", "cancelled")
    shown = [msgspec.structs.replace(BUSY_REQUESTS[1], state=state) for state in states]
    words = [requests.state_text(request) for request in shown]
    assert len(set(words)) == len(states)
    assert all(requests.glyph_for(request).text for request in shown)
    assert requests.state_text(BUSY_REQUESTS[0]) == "queued #1"


def test_the_rail_tells_why_a_request_failed():
    lines = [plain(line) for line in requests.rail_rows(BUSY_REQUESTS, 50, 4)]
    assert "queued #1" in lines[1]
    assert "model 'mistr" in lines[3]


def test_details_of_a_request():
    assert dict(requests.detail_lines(BUSY_REQUESTS[0]))["waits for"] == "waits for a free slot"
    assert dict(requests.detail_lines(BUSY_REQUESTS[3]))["error"] == "model 'mistral:7b' not found"
    assert dict(requests.detail_lines(BUSY_REQUESTS[1]))["first token"] == "0.38 s"


def test_log_lines_are_kept_once_and_in_bounds():
    book = LogBook()
    assert book.extend(LOG_LINES)
    assert not book.extend(LOG_LINES)
    assert (len(book.select()), book.last_number) == (5, 5)
    book.extend([LogLine(number, START, "info", "server", "x") for number in range(6, 6000)])
    assert len(book.select()) == 5000


def test_a_new_server_starts_the_log_anew():
    book = LogBook()
    book.extend(LOG_LINES)
    book.extend(LOG_LINES[:1])
    assert [line.number for line in book.select()] == [1]


def test_log_filters():
    book = LogBook()
    book.extend(LOG_LINES)
    assert [line.level for line in book.select("warning")] == ["warning", "error"]
    assert [line.number for line in book.select("debug", "ENGINE memory")] == [5]
    roles = [role_for(level) for level in ("debug", "info", "warning", "error")]
    assert roles == ["muted", "", "warn", "bad"]


def ended(request_id, duration_s, model="qwen3:14b-q4_K_M"):
    done = next(request for request in BUSY_REQUESTS if request.state == "done")
    return msgspec.structs.replace(
        done, id=request_id, model=model, duration_s=duration_s, n_output_tokens=20
    )


def test_how_long_a_request_will_wait():
    queued = BUSY_REQUESTS[0]
    models = (running("qwen3:14b-q4_K_M"),)
    taken = (ended(10, 8.0), ended(11, 12.0), ended(12, 40.0), ended(13, 999.0, "other:latest"))
    assert requests.wait_estimate_s(queued, taken, models) == 12.0 / 4
    third = msgspec.structs.replace(queued, queue_position=3)
    assert requests.wait_estimate_s(third, taken, models) == 3 * 12.0 / 4
    assert requests.wait_estimate_s(queued, (), models) is None
    assert requests.wait_estimate_s(queued, taken, ()) is None
    assert requests.wait_estimate_s(BUSY_REQUESTS[1], taken, models) is None
    assert ("about", "3.00 s to wait") in requests.detail_lines(queued, 3.0)


def test_requests_that_hold_all_words():
    found = requests.select(BUSY_REQUESTS, "qwen3 !queued")
    assert [request.id for request in found] == [3]
    assert [request.id for request in requests.select(BUSY_REQUESTS, "NOT FOUND")] == [1]
    assert [request.id for request in requests.select(BUSY_REQUESTS, "", open_only=True)] == [3, 4]


def test_what_a_loaded_model_holds():
    model = running("qwen3:14b-q4_K_M")
    assert running_list.other_bytes(model) == int(12.3e9) - int(9.3e9) - int(2.7e9)
    found = dict(running_list.detail_lines(model, START))
    assert found["devices"] == "12.3 GB on GPU"
    assert found["stays"] == "while it answers"
    held = running("qwen3:14b-q4_K_M", n_busy_slots=0, expires_at=float("inf"), size_vram_bytes=0)
    assert running_list.is_held(held)
    assert dict(running_list.detail_lines(held, START))["stays"] == "until it is unloaded"
    assert dict(running_list.detail_lines(held, START))["devices"] == "12.3 GB in RAM"
    assert width_of(running_list.memory_stack(model, 33)) == 33
