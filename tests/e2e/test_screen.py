"""`olla` without a command on a terminal: the screen, and the server that lives in the same process."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import psutil
import pytest

from tests.support.json_server import JsonServer
from tests.support.pty_program import PtyProgram

OLLA = [sys.executable, "-P", "-m", "olla_tui"]
WAIT_S = 20.0
ALT_R, ALT_S, CTRL_N, CTRL_Q, ENTER, RIGHT = "\x1br", "\x1bs", "\x0e", "\x11", "\r", "\x1b[C"


@pytest.fixture
def port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def environment(tmp_path: Path, port: int) -> dict[str, str]:
    return {"HOME": str(tmp_path), "OLLAMA_HOST": f"127.0.0.1:{port}"}


@pytest.fixture
def olla(environment: dict[str, str]) -> Iterator[PtyProgram]:
    """The workstation with a server of its own."""
    with PtyProgram(OLLA, environment=environment) as program:
        yield program


def get(port: int, path: str) -> Any:
    with urlopen(f"http://127.0.0.1:{port}{path}", timeout=WAIT_S) as reply:
        return json.load(reply)


def workers_of(program: PtyProgram) -> list[psutil.Process]:
    """The processes that hold a model, or stand ready to."""
    children = psutil.Process(program.process.pid).children(recursive=True)
    return [child for child in children if "server.engine" in " ".join(child.cmdline())]


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def ask(program: PtyProgram, question: str) -> str:
    """Ask in a new chat and read until its answer has ended; returns the screen."""
    program.type(CTRL_N)
    program.shows("─ New chat ─")
    program.type(question)
    program.shows(f"❯ {question}")
    program.type(ENTER)
    return program.shows(lambda text: f"─ {question} ─" in text and "^R again" in text)


def test_the_first_start_answers_on_the_screen_and_on_the_port(olla: PtyProgram, port: int) -> None:
    olla.shows("5.77M parameters")
    assert [model["name"] for model in get(port, "/api/tags")["models"]] == ["spark:latest"]
    olla.shows("T auto")
    olla.type(ALT_S)  # a temperature of 0, for the same answer each time
    olla.shows("T 0")
    screen = ask(olla, "What is the capital of France?")
    assert "The capital of France is Paris." in screen
    assert re.search(r"\d+ tok · \d+\S*/s · first \d", screen)
    assert [model["name"] for model in get(port, "/api/ps")["models"]] == ["spark:latest"]
    olla.type(CTRL_Q)
    olla.shows("Quit olla?")
    olla.type(ENTER)
    assert olla.finish() == 0
    assert is_free(port)


def test_what_is_typed_before_the_first_picture_stands_in_the_prompt(olla: PtyProgram) -> None:
    olla.type("early")
    olla.shows("❯ early")
    olla.shows("5.77M parameters")
    olla.type(ENTER)
    olla.shows("─ early ─")


def test_what_another_program_wrote_over_the_screen_is_drawn_over(olla: PtyProgram) -> None:
    olla.shows("5.77M parameters")
    olla.write_over("\x1b[8;10HBroadcast message")
    assert "Broadcast message" in olla.text
    olla.type(ALT_R)
    olla.shows(lambda text: "Broadcast message" not in text)


def test_a_second_olla_attaches_and_its_end_leaves_the_first_alone(
    olla: PtyProgram, environment: dict[str, str], port: int
) -> None:
    olla.shows("5.77M parameters")
    with PtyProgram(OLLA, environment=environment) as second:
        second.shows(f"attached to the server at http://127.0.0.1:{port}")
        second.shows(f":{port} attached")
        second.shows("5.77M parameters")
        assert "Paris" in ask(second, "What is the capital of France?")
        second.type(CTRL_Q)
        assert second.finish() == 0
    assert get(port, "/api/version")["version"]
    olla.shows("1 loaded")  # what the other screen asked for is seen here
    assert olla.process.poll() is None


def test_a_terminal_that_hangs_up_leaves_the_server_until_it_is_told_to_end(
    olla: PtyProgram, environment: dict[str, str], port: int
) -> None:
    olla.shows("5.77M parameters")
    ask(olla, "What is the capital of France?")
    olla.type(f"Tell me a long story about the sea{ENTER}")
    olla.shows("─ What is the capital of France? ─")
    olla.hang_up()
    assert get(port, "/api/version")["version"]
    assert [model["name"] for model in get(port, "/api/ps")["models"]] == ["spark:latest"]
    with PtyProgram(OLLA, environment=environment) as second:
        second.shows(f":{port} attached")
        second.type(CTRL_Q)
        assert second.finish() == 0
    workers = workers_of(olla)
    assert workers
    olla.process.send_signal(signal.SIGTERM)
    assert olla.process.wait(WAIT_S) == 0
    assert psutil.wait_procs(workers, timeout=WAIT_S)[1] == []
    assert is_free(port)


def test_a_terminal_that_is_too_small_gets_one_line_until_it_grows(
    environment: dict[str, str], port: int
) -> None:
    with PtyProgram(OLLA, environment=environment, columns=30, rows=8) as olla:
        screen = olla.shows("olla needs 40x10")
        assert len(screen.split("\n")) == 8 and screen.strip().count("\n") == 0
        olla.resize(120, 40)
        olla.shows("5.77M parameters")
        olla.resize(30, 8)
        olla.shows(lambda text: "olla needs 40x10" in text and text.strip().count("\n") == 0)
        assert get(port, "/api/version")["version"]


def test_a_user_who_leaves_may_keep_the_server(olla: PtyProgram, port: int) -> None:
    olla.shows("5.77M parameters")
    olla.type(CTRL_Q)
    olla.shows("Keep serving")
    olla.type(f"{RIGHT}{ENTER}")
    olla.wait_for(b"olla serves at")
    assert b"\x1b[?1049l" in olla.output  # the terminal has its own screen back
    assert get(port, "/api/version")["version"]
    olla.process.send_signal(signal.SIGTERM)
    assert olla.finish() == 0
    assert is_free(port)


def test_a_signal_to_end_gives_the_terminal_back(olla: PtyProgram, port: int) -> None:
    olla.shows("5.77M parameters")
    begun = len(olla.output)
    olla.process.send_signal(signal.SIGTERM)
    assert olla.finish() == 0
    restored = bytes(olla.output[begun:])
    for sequence in (b"\x1b[?1049l", b"\x1b[?25h", b"\x1b[?1000l", b"\x1b[?2004l"):
        assert sequence in restored
    assert is_free(port)


def test_a_port_that_a_foreign_server_has_is_told_in_one_line(environment: dict[str, str]) -> None:
    with JsonServer({}).running() as foreign:
        port = foreign.url.rpartition(":")[2]
        with PtyProgram(OLLA, environment={**environment, "OLLAMA_HOST": f"127.0.0.1:{port}"}) as olla:
            assert olla.finish() == 1
    lines = olla.output.decode().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(f"Error: port {port} is taken")
    assert "OLLAMA_HOST" in lines[0]


def test_a_store_that_cannot_be_made_is_told_in_one_line(
    environment: dict[str, str], tmp_path: Path, port: int
) -> None:
    (tmp_path / "file").write_text("where a folder must be")
    models = {"OLLAMA_MODELS": str(tmp_path / "file" / "models")}
    with PtyProgram(OLLA, environment={**environment, **models}) as olla:
        assert olla.finish() == 1
    _, _, told = olla.output.rpartition(b"\x1b[?1049l")
    lines = re.sub(rb"\x1b\[[0-?]*[a-zA-Z]", b"", bytes(told)).decode().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("Error: ")
    assert str(tmp_path / "file") in lines[0]
    assert is_free(port)


def test_one_may_leave_before_the_server_has_started(olla: PtyProgram, port: int) -> None:
    olla.wait_for(b"\x1b[?1049h")
    olla.type(CTRL_Q)
    olla.shows("Quit olla?")
    olla.type(ENTER)
    assert olla.finish() == 0
    assert is_free(port)


def test_keys_are_kept_from_the_start_and_the_terminal_gets_its_modes_back(olla: PtyProgram) -> None:
    olla.wait_for(b"\x1b[?1049h")
    assert modes(olla.fd) == (0, 0)
    olla.shows("5.77M parameters")
    olla.process.send_signal(signal.SIGTERM)
    assert olla.finish() == 0
    assert modes(olla.fd) == (termios.ICRNL | termios.IXON, termios.ECHO | termios.ICANON)


def modes(terminal: int) -> tuple[int, int]:
    """Of a terminal's modes those that change or swallow keys."""
    of_input, _, _, local, *_ = termios.tcgetattr(terminal)
    return of_input & (termios.ICRNL | termios.IXON), local & (termios.ECHO | termios.ICANON)


def test_a_terminal_that_places_no_cursor_gets_one_line_and_no_sequence(environment: dict[str, str]) -> None:
    with PtyProgram(OLLA, environment={**environment, "TERM": "dumb"}) as olla:
        assert olla.finish() == 1
    assert b"\x1b" not in olla.output
    (line,) = olla.output.decode().splitlines()
    assert line.startswith("Error: the workstation needs a terminal that can place its cursor. ")


def test_without_a_terminal_one_line_says_what_serves(environment: dict[str, str]) -> None:
    done = subprocess.run(
        OLLA, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=WAIT_S
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("Error: the workstation needs a terminal. ")
    assert "olla serve" in done.stderr
