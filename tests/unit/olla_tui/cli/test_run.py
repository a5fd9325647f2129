"""`olla run` with a prompt or a pipe, as a process against a server with scripted replies."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.json_server import JsonServer, Reply

SHOW = {"details": {"family": "llama"}, "model_info": {}, "capabilities": ["completion"]}


def piece(response: str, **more: Any) -> dict[str, Any]:
    return {"model": "m", "response": response, "done": False, **more}


DONE = {
    "model": "m",
    "response": "",
    "done": True,
    "done_reason": "stop",
    "eval_count": 2,
    "eval_duration": 10**9,
}
ANSWER = Reply(lines=(piece("Hello "), piece("there."), DONE))


@pytest.fixture
def server() -> Iterator[JsonServer]:
    replies: dict[str, Reply | list[Reply]] = {
        "GET /api/version": Reply(body={"version": "0.32.0"}, headers=(("olla-version", "0.1.0"),)),
        "GET /olla/bundled": Reply(body=[]),
        "POST /api/show": Reply(body=SHOW),
        "POST /api/generate": ANSWER,
    }
    with JsonServer(replies).running() as server:
        yield server


def run(server: JsonServer, folder: Path, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "olla_tui", "run", *words],
        env={**os.environ, "OLLAMA_HOST": server.url, "OLLA_HOME": str(folder)},
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def asked(server: JsonServer) -> dict[str, Any]:
    body: dict[str, Any] = server.asked[-1].body
    return body


@pytest.mark.parametrize(
    ("words", "stdin", "prompt"),
    [
        (("m", "Hi", "there"), "", "Hi there"),
        (("m",), "piped\n", "piped\n"),
        (("m", "and", "more"), "piped\n", "piped\n and more"),
    ],
)
def test_prompt_and_pipe_are_joined(
    server: JsonServer, tmp_path: Path, words: tuple[str, ...], stdin: str, prompt: str
) -> None:
    done = run(server, tmp_path, *words, stdin=stdin)
    assert (done.returncode, done.stdout, done.stderr) == (0, "Hello there.\n\n", "")
    assert asked(server)["prompt"] == prompt


@pytest.mark.parametrize("words", [("m",), ("m", "")])
def test_no_prompt_only_loads(server: JsonServer, tmp_path: Path, words: tuple[str, ...]) -> None:
    server.replies["POST /api/generate"] = Reply(body={**DONE, "done_reason": "load"})
    done = run(server, tmp_path, *words)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert asked(server)["prompt"] == ""


def test_flags_become_fields(server: JsonServer, tmp_path: Path) -> None:
    words = ("m", "--think=high", "--format", "json", "--keepalive", "1m30s", "Hi")
    assert run(server, tmp_path, *words).returncode == 0
    body = asked(server)
    assert (body["think"], body["format"], body["keep_alive"]) == ("high", "json", 90.0)


def test_a_model_that_can_think_thinks(server: JsonServer, tmp_path: Path) -> None:
    server.replies["POST /api/show"] = Reply(body={**SHOW, "capabilities": ["completion", "thinking"]})
    server.replies["POST /api/generate"] = Reply(lines=(piece("", thinking="Hm."), piece("Yes."), DONE))
    done = run(server, tmp_path, "m", "Hi")
    assert done.stdout == "Thinking...\nHm.\n...done thinking.\n\nYes.\n\n"
    assert asked(server)["think"] is True
    assert run(server, tmp_path, "m", "--hidethinking", "Hi").stdout == "Yes.\n\n"


def test_figures_go_to_stderr(server: JsonServer, tmp_path: Path) -> None:
    done = run(server, tmp_path, "m", "--verbose", "Hi")
    assert done.stdout == "Hello there.\n\n"
    assert done.stderr == (
        "eval count:           2 token(s)\neval duration:        1s\neval rate:            2.00 tokens/s\n"
    )


def test_an_embedding_model_prints_a_vector(server: JsonServer, tmp_path: Path) -> None:
    server.replies["POST /api/show"] = Reply(body={**SHOW, "capabilities": ["embedding"]})
    server.replies["POST /api/embed"] = Reply(body={"embeddings": [[0.6, 0.7, -1.5e-8]]})
    done = run(server, tmp_path, "m", "--truncate=false", "--dimensions", "3", "Hi")
    assert done.stdout == "[0.6,0.7,-1.5e-8]\n"
    body = asked(server)
    assert (body["input"], body["truncate"], body["dimensions"]) == (["Hi"], False, 3)
    done = run(server, tmp_path, "m")
    assert done.stderr == ('Error: embedding models require input text. Usage: olla run m "your text here"\n')


def test_a_model_that_ships_with_olla_is_installed_on_the_way(server: JsonServer, tmp_path: Path) -> None:
    missing = Reply(404, {"error": "model 'spark:latest' not found"})
    bundled = {"name": "spark", "title": "Spark", "size_bytes": 6, "installed": False}
    server.replies["POST /api/show"] = [missing, Reply(body=SHOW)]
    server.replies["GET /olla/bundled"] = Reply(body=[bundled])
    server.replies["POST /olla/bundled/spark"] = Reply()
    done = run(server, tmp_path, "spark:latest", "Hi")
    assert (done.returncode, done.stdout) == (0, "Hello there.\n\n")


def test_any_other_model_is_pulled_on_the_way(server: JsonServer, tmp_path: Path) -> None:
    missing = Reply(404, {"error": "model 'x:latest' not found"})
    server.replies["POST /api/show"] = [missing, Reply(body=SHOW)]
    server.replies["POST /api/pull"] = Reply(lines=({"status": "pulling manifest"}, {"status": "success"}))
    done = run(server, tmp_path, "--insecure", "x", "Hi")
    assert (done.returncode, done.stdout) == (0, "Hello there.\n\n")
    assert done.stderr == "pulling manifest\nsuccess\n"
    (pulled,) = [asked.body for asked in server.asked if asked.path == "/api/pull"]
    assert pulled == {"model": "x", "insecure": True}


def test_a_model_that_cannot_be_pulled_says_so_in_one_line(server: JsonServer, tmp_path: Path) -> None:
    server.replies["POST /api/show"] = Reply(404, {"error": "model 'x:latest' not found"})
    failure = {"error": "pull model manifest: file does not exist"}
    server.replies["POST /api/pull"] = Reply(lines=({"status": "pulling manifest"}, failure))
    done = run(server, tmp_path, "x", "Hi")
    assert done.returncode == 1
    assert done.stderr == "pulling manifest\nError: pull model manifest: file does not exist\n"


def test_errors_carry_the_status_before_the_first_line_and_not_after(
    server: JsonServer, tmp_path: Path
) -> None:
    server.replies["POST /api/generate"] = [
        Reply(400, {"error": '"m" does not support thinking'}),
        Reply(lines=(piece("Hel"), {"error": "the worker ended"})),
    ]
    assert run(server, tmp_path, "m", "Hi").stderr == (
        'Error: 400 Bad Request: "m" does not support thinking\n'
    )
    done = run(server, tmp_path, "m", "Hi")
    assert (done.returncode, done.stdout, done.stderr) == (1, "Hel\n", "Error: the worker ended\n")


def test_bytes_that_are_no_text_are_taken(server: JsonServer, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "olla_tui", "run", "m"],
        env={**os.environ, "OLLAMA_HOST": server.url, "OLLA_HOME": str(tmp_path)},
        input=b"caf\xe9",
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert done.stdout == b"Hello there.\n\n"
    assert asked(server)["prompt"] == "caf\ufffd"
