"""`olla attach`, `olla top` and `olla ps --watch` on a terminal, against a server that is an Ollama."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.json_server import JsonServer, Reply
from tests.support.pty_program import PtyProgram
from tests.unit.olla_tui.cli.test_top import MODEL, OLLAMA

OLLA = [sys.executable, "-P", "-m", "olla_tui"]
CTRL_Q = "\x11"


@pytest.fixture
def ollama() -> Iterator[JsonServer]:
    replies = {**OLLAMA, "GET /api/tags": Reply(body={"models": []})}
    with JsonServer(replies).running() as server:
        yield server


def environment(home: Path, url: str) -> dict[str, str]:
    return {"HOME": str(home), "OLLAMA_HOST": url, "PYTHONPATH": os.environ.get("PYTHONPATH", "")}


@pytest.mark.parametrize("words", [["top"], ["ps", "--watch"]])
def test_a_terminal_is_painted_in_place_and_given_back(
    words: list[str], ollama: JsonServer, tmp_path: Path
) -> None:
    with PtyProgram(
        [*OLLA, *words, "--interval", "0.2"], environment=environment(tmp_path, ollama.url)
    ) as shown:
        shown.shows("qwen3:4b")
        ollama.replies["GET /api/ps"] = Reply(body={"models": [{**MODEL, "name": "gemma3:1b"}]})
        shown.shows(lambda text: "gemma3:1b" in text and "qwen3:4b" not in text)
        shown.type("q")
        assert shown.finish() == 0
    assert bytes(shown.output).endswith(b"\x1b[?25h\x1b[?1049l")


def test_attach_shows_an_ollama_and_says_what_it_does_not_tell(ollama: JsonServer, tmp_path: Path) -> None:
    with PtyProgram(
        [*OLLA, "attach", ollama.url], environment=environment(tmp_path, "127.0.0.1:1")
    ) as screen:
        screen.shows("attached to the server at")
        screen.shows(f":{ollama.url.rpartition(':')[2]} Ollama")
        screen.shows("An Ollama tells of none.")
        screen.type(CTRL_Q)
        assert screen.finish() == 0


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("127.0.0.1:1", "no olla or Ollama server answers at http://127.0.0.1:1. "),
        ("ftp://x", "'ftp://x' is no address of a server"),
        ("127.0.0.1:99999", "'127.0.0.1:99999' is no address of a server"),
    ],
)
def test_a_server_that_is_not_there_is_one_sentence(host: str, message: str, tmp_path: Path) -> None:
    with PtyProgram([*OLLA, "attach", host], environment=environment(tmp_path, "")) as screen:
        assert screen.finish() == 1
    (line,) = screen.output.decode().splitlines()
    assert line.startswith(f"Error: {message}")
