"""The first minute: no server, no models, no network."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest


def environment(folder: Path, port: int) -> dict[str, str]:
    return {
        **os.environ,
        "HOME": str(folder),
        "XDG_CONFIG_HOME": str(folder / "config"),
        "XDG_DATA_HOME": str(folder / "data"),
        "OLLAMA_MODELS": str(folder / "models"),
        "OLLAMA_HOST": f"127.0.0.1:{port}",
    }


@pytest.fixture
def port() -> Iterator[int]:
    """A free port; whatever listens on it in the end is ended."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    yield port
    for process in psutil.process_iter(["cmdline"]):
        if process.info["cmdline"] and process.info["cmdline"][-2:] == ["olla_tui", "serve"]:
            if any(connection.laddr.port == port for connection in process.net_connections("tcp")):
                process.terminate()
                process.wait(20)


def olla(environ: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "olla_tui", *words],
        env=environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_run_starts_a_server_and_installs_the_bundled_model(tmp_path: Path, port: int) -> None:
    environ = environment(tmp_path, port)
    done = olla(environ, "run", "spark", "--think=false", "What is the capital of France?")
    assert done.returncode == 0, done.stderr
    assert "Paris" in done.stdout
    listed = olla(environ, "list")
    assert [line.split()[0] for line in listed.stdout.splitlines()] == ["NAME", "spark:latest"]
    assert "Listening on" in (tmp_path / "data" / "olla" / "logs" / "serve.log").read_text()


def test_a_server_that_cannot_start_is_explained(tmp_path: Path, port: int) -> None:
    environ = environment(tmp_path, port)
    (tmp_path / "data").write_text("a file where a folder must be")
    done = olla(environ, "run", "spark", "Hi")
    assert done.returncode == 1
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1
    assert "OLLA_HOME" in done.stderr


def test_short_commands_do_not_start_a_server(tmp_path: Path, port: int) -> None:
    done = olla(environment(tmp_path, port), "list")
    assert done.returncode == 1
    assert "olla serve" in done.stderr
