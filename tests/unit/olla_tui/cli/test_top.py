import json

import msgspec
import pytest

from olla_tui.cli.main import run_command
from olla_tui.cli.top import top_lines
from olla_tui.cli.watch import Repaint, read_interval
from olla_tui.state.graphs import ASCII
from server.errors import InvalidRequest
from server.types.status import StatusSnapshot
from server.wire.headers import VERSION_HEADER
from tests.support.json_server import JsonServer, Reply
from tests.support.workstation_script import BUSY_REQUESTS, GPUS, START, busy_script

MODEL = {
    "name": "qwen3:4b",
    "model": "qwen3:4b",
    "size": 4_000_000_000,
    "size_vram": 4_000_000_000,
    "digest": "ab" * 32,
    "details": {},
    "expires_at": "2126-01-01T00:00:00Z",
    "context_length": 8192,
}
OLLAMA = {
    "GET /api/version": Reply(body={"version": "0.9.1"}),
    "GET /api/ps": Reply(body={"models": [MODEL]}),
}


def busy() -> StatusSnapshot:
    return StatusSnapshot(
        version="0.2.0",
        started_at=START - 7200,
        taken_at=START,
        host="127.0.0.1:11434",
        devices=GPUS,
        running=tuple(busy_script().running),
        requests=BUSY_REQUESTS,
        n_active=1,
        n_queued=1,
        tokens_per_s=41.3,
    )


@pytest.mark.parametrize("columns", [60, 80, 120, 200])
def test_the_screen_fits_and_has_models_devices_and_requests(columns):
    lines = top_lines(busy(), columns, 100)
    assert all(len(line) == columns for line in lines)
    text = "\n".join(lines)
    for words in (
        "2 loaded",
        "up 2h00m",
        "GPU1",
        "VRAM 17.1/24.0 G",
        "qwen3:14b-q4",
        "queued #1",
        "/api/chat",
    ):
        assert words in text or columns < 80, words
    assert len(top_lines(busy(), columns, 7)) == 7
    assert all(
        line.isascii() for line in top_lines(msgspec.structs.replace(busy(), devices=()), 80, 9, ASCII)
    )


def test_only_lines_that_changed_are_sent():
    repaint = Repaint()
    assert repaint.change(["a", "b", "c"], 80, 24).startswith("\x1b[2J\x1b[1;1Ha\x1b[K")
    assert repaint.change(["a", "b", "c"], 80, 24) == ""
    assert repaint.change(["a", "x"], 80, 24) == "\x1b[2;1Hx\x1b[K\x1b[3;1H\x1b[K"
    assert repaint.change(["a" * 90, "x"], 5, 1) == "\x1b[2J\x1b[1;1Haaaa…\x1b[K"


@pytest.mark.parametrize("text", ["0", "-1", "x", "nan", "inf", "0.1"])
def test_an_interval_that_is_none_is_refused(text):
    with pytest.raises(InvalidRequest, match="is no interval"):
        read_interval(text)
    assert read_interval("0.5") == 0.5


def test_an_olla_is_shown_once_and_as_json(monkeypatch, capsys):
    status = msgspec.to_builtins(busy())
    status["running"][0]["expires_at"] = None
    replies = {
        "GET /api/version": Reply(body={"version": "0.9.1"}, headers=((VERSION_HEADER, "0.2.0"),)),
        "GET /olla/status": Reply(body=status),
    }
    with JsonServer(replies).running() as server:
        monkeypatch.setenv("OLLAMA_HOST", server.url)
        assert run_command(["top", "--once"]) == 0
        out = capsys.readouterr().out
        assert ("\x1b" not in out and "forever" in out) or "busy" in out
        assert run_command(["top", "--once", "--json"]) == 0
        (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["running"][0]["expires_at"] is None
    assert json.loads(line)["requests"][0]["id"] == BUSY_REQUESTS[0].id


def test_of_an_ollama_is_shown_what_it_tells(monkeypatch, capsys):
    with JsonServer(OLLAMA).running() as server:
        monkeypatch.setenv("OLLAMA_HOST", server.url)
        assert run_command(["top", "--once"]) == 0
    out = capsys.readouterr().out
    assert "qwen3:4b" in out and "An Ollama tells nothing of its devices" in out


@pytest.mark.parametrize("words", [["top"], ["top", "--json"], ["ps", "--watch"]])
def test_without_a_server_there_is_one_line(words, monkeypatch, capsys):
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:1")
    assert run_command(words) == 1
    told = capsys.readouterr()
    assert told.out == "" and told.err.startswith("Error: ") and told.err.count("\n") == 1
