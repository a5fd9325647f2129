"""Finding a server, starting one with real processes, and what is said when it does not come up."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from olla_tui.client.launch import FoundServer, ensure_server, find_server, last_line, start_server
from server.errors import ServerUnreachable
from server.settings import Settings
from tests.support.json_server import JsonServer, Reply

SERVER = """
import http.server, json, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"version": "1"}).encode()
        self.send_response(200)
        self.send_header("olla-version", "2")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
server = http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
server.handle_request()
"""


@pytest.fixture
def free_port() -> int:
    with JsonServer({}).running() as server:
        return int(server.url.rpartition(":")[2])


def test_a_running_server_is_found() -> None:
    with JsonServer({"GET /api/version": Reply(body={"version": "0.5"})}).running() as server:
        assert find_server(server.url) == FoundServer("0.5", is_olla=False)
        assert ensure_server(settings_for(server.url)).version == "0.5"


def test_something_else_on_the_port_is_no_server() -> None:
    with JsonServer({"GET /api/version": Reply(body=[1])}).running() as server:
        assert find_server(server.url) is None


def test_a_server_is_started_and_waited_for(tmp_path: Path, free_port: int) -> None:
    command = (sys.executable, "-c", SERVER, str(free_port))
    found = start_server(f"http://127.0.0.1:{free_port}", tmp_path / "logs", command=command)
    assert found == FoundServer("2", is_olla=True)


def test_a_server_that_ends_is_explained_by_its_last_words(tmp_path: Path, free_port: int) -> None:
    command = (sys.executable, "-c", "print('first'); raise SystemExit('no room on the disk')")
    with pytest.raises(ServerUnreachable, match="exit code 1: no room on the disk") as caught:
        start_server(f"http://127.0.0.1:{free_port}", tmp_path, command=command)
    assert str(tmp_path / "serve.log") in caught.value.hint


def test_a_server_that_never_answers_is_ended(tmp_path: Path, free_port: int) -> None:
    command = (sys.executable, "-c", "import signal; signal.pause()")
    with pytest.raises(ServerUnreachable, match="did not answer"):
        start_server(f"http://127.0.0.1:{free_port}", tmp_path, command=command, timeout_s=0.2)


def test_no_server_is_started_for_another_machine() -> None:
    with pytest.raises(ServerUnreachable, match="no server answers"):
        ensure_server(settings_for("http://host.invalid:1"))


def test_the_last_line_that_is_not_blank(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("one\ntwo\n\n")
    assert last_line(log) == "two"
    log.write_text("")
    assert last_line(log) == ""


def settings_for(url: str) -> Settings:
    return Settings.load(environ={"OLLAMA_HOST": url, "HOME": "/nonexistent"})
