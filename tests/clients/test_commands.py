"""curl without a Content-Type, and Ollama's own command where its binary is found."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.clients.asked import (
    CAPITAL,
    CAPITAL_ANSWER,
    CITY_SCHEMA,
    ENDLESS,
    WEATHER,
    WEATHER_TOOL,
    assert_city,
    user,
)
from tests.clients.serving import MODELS, Server, wait_until

CURL = shutil.which("curl")
OLLAMA = os.environ.get("OLLAMA_BINARY") or shutil.which("ollama")

needs_curl = pytest.mark.skipif(CURL is None, reason="curl was not found")
needs_ollama = pytest.mark.skipif(
    OLLAMA is None, reason="Ollama's binary was not found: set OLLAMA_BINARY, or have it in PATH"
)


def curl(server: Server, path: str, body: Any = None, *words: str) -> subprocess.CompletedProcess[str]:
    data = () if body is None else ("-H", "Content-Type:", "-d", json.dumps(body))
    return subprocess.run(
        [str(CURL), "-sN", "--noproxy", "*", *words, f"{server.url}{path}", *data],
        capture_output=True,
        text=True,
        timeout=60,
    )


@needs_curl
def test_curl_chats_streams_and_lists(server: Server) -> None:
    body: dict[str, Any] = {"model": "plain", "messages": user(CAPITAL), "options": {"temperature": 0}}
    lines = [json.loads(line) for line in curl(server, "/api/chat", body).stdout.splitlines()]
    assert "".join(line["message"]["content"] for line in lines) == CAPITAL_ANSWER
    assert [line["done"] for line in lines] == [False] * (len(lines) - 1) + [True]
    whole = json.loads(curl(server, "/v1/chat/completions", {**body, "temperature": 0}).stdout)
    assert whole["choices"][0]["message"]["content"] == CAPITAL_ANSWER
    streamed = curl(server, "/v1/chat/completions", {**body, "temperature": 0, "stream": True}).stdout
    events = [line for line in streamed.split("\n\n") if line]
    assert all(event.startswith("data: ") for event in events) and events[-1] == "data: [DONE]"
    assert curl(server, "/").stdout == "Ollama is running"
    names = {model["name"] for model in json.loads(curl(server, "/api/tags").stdout)["models"]}
    assert {"spark:latest", "minilm:latest"} <= names


@needs_curl
def test_curl_calls_tools_holds_schemas_and_embeds(server: Server) -> None:
    fields: dict[str, Any] = {"stream": False, "think": False, "options": {"temperature": 0}}
    called = curl(
        server, "/api/chat", {"model": "spark", "messages": user(WEATHER), "tools": [WEATHER_TOOL], **fields}
    )
    (call,) = json.loads(called.stdout)["message"]["tool_calls"]
    assert call["function"]["arguments"] == {"city": "Paris"}
    held = curl(
        server, "/api/chat", {"model": "spark", "messages": user(CAPITAL), "format": CITY_SCHEMA, **fields}
    )
    assert_city(json.loads(json.loads(held.stdout)["message"]["content"]))
    embedded = json.loads(curl(server, "/api/embed", {"model": "minilm", "input": ["a", "b"]}).stdout)
    assert [len(vector) for vector in embedded["embeddings"]] == [384, 384]


@needs_curl
def test_curl_sees_errors_and_frees_its_slot(server: Server) -> None:
    ended = curl(server, "/api/chat", {"model": "nope"}, "--fail-with-body")
    assert ended.returncode == 22 and json.loads(ended.stdout) == {"error": "model 'nope' not found"}
    curl(server, "/api/generate", {"model": "endless"})
    with server.broken_off("endless"):
        ended = curl(server, "/api/generate", {"model": "endless", "prompt": ENDLESS}, "--max-time", "0.7")
        assert ended.returncode == 28


@pytest.fixture
def ollama(server: Server, tmp_path: Path) -> Any:
    environ = {
        **os.environ,
        "OLLAMA_HOST": server.url,
        "HOME": str(tmp_path),
        "NO_COLOR": "1",
        "TERM": "dumb",
    }

    def run(*words: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(OLLAMA), *words],
            env=environ,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            timeout=60,
            cwd=tmp_path,
        )

    run.environ = environ  # type: ignore[attr-defined]
    return run


@needs_ollama
def test_ollamas_command_runs_models(ollama: Any) -> None:
    assert ollama("run", "plain", CAPITAL).stdout.strip() == CAPITAL_ANSWER
    assert ollama("run", "plain", stdin=CAPITAL).stdout.strip() == CAPITAL_ANSWER
    thought = ollama("run", "native", "--think", CAPITAL)
    assert "<think>" not in thought.stdout
    assert "The user asks for the capital of France" in thought.stdout
    silent = ollama("run", "spark", "--think=false", CAPITAL)
    assert silent.stdout.strip() == CAPITAL_ANSWER


@needs_ollama
def test_ollamas_command_holds_a_format(ollama: Any) -> None:
    """Without `--nowordwrap` it wraps at 80 columns into a pipe as well, in the middle of JSON texts."""
    words = ("run", "spark", "--nowordwrap", "--hidethinking", "--format", "json")
    for question in ("Name a city as JSON", "Who are you? Answer as JSON"):
        assert isinstance(json.loads(ollama(*words, question).stdout), dict)


@needs_ollama
def test_ollamas_command_manages_models(ollama: Any, server: Server, tmp_path: Path) -> None:
    (tmp_path / "Modelfile").write_text(f"FROM {MODELS / 'minilm.gguf'}\nPARAMETER num_ctx 128\n")
    made = ollama("create", "cli-made", "-f", "Modelfile")
    assert made.returncode == 0, made.stderr
    assert "cli-made:latest" in ollama("list").stdout
    shown = ollama("show", "cli-made").stdout
    assert "bert" in shown and "num_ctx" in shown
    assert ollama("show", "spark", "--template").stdout.startswith("{{- if .Suffix }}")
    assert ollama("cp", "cli-made", "cli-twin").returncode == 0
    removed = ollama("rm", "cli-made", "cli-twin")
    assert removed.returncode == 0 and "deleted 'cli-made'" in removed.stdout
    missing = ollama("show", "cli-made")
    assert missing.returncode == 1 and "not found" in missing.stderr


@needs_ollama
def test_ollamas_command_loads_and_unloads(ollama: Any) -> None:
    assert ollama("run", "native", "").returncode == 0
    assert "native:latest" in ollama("ps").stdout
    assert ollama("stop", "native").returncode == 0
    assert "native:latest" not in ollama("ps").stdout


@needs_ollama
def test_an_interrupt_of_ollamas_command_frees_the_slot(ollama: Any, server: Server) -> None:
    with server.broken_off("endless"):
        running = subprocess.Popen(
            [str(OLLAMA), "run", "endless", ENDLESS],
            env=ollama.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        try:
            assert running.stdout is not None and running.stdout.read(1)
            wait_until(lambda: server.running()["endless:latest"]["n_busy_slots"] == 1)
            running.send_signal(signal.SIGINT)
            running.stdout.read()
            running.wait(20)
        finally:
            running.kill()
            running.wait()
            running.stdout.close()
