"""Short commands stay short: what they import, and what they cost, in a process of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.json_server import JsonServer, Reply

HEAVY = (
    "textual",
    "llama_cpp",
    "starlette",
    "uvicorn",
    "numpy",
    "httpx",
    "rich",
    "asyncio",
    "prompt_toolkit",
)

PROBE = """
import json, pathlib, re, sys
from olla_tui.cli.main import run_command
code = run_command(sys.argv[1:])
status = pathlib.Path("/proc/self/status")
peak = re.search(r"VmHWM:\\s*(\\d+)", status.read_text()) if status.exists() else None
modules = sorted({name.partition(".")[0] for name in sys.modules})
print(json.dumps([code, modules, int(peak[1]) if peak else 0]), file=sys.stderr)
"""

MAX_RSS_KB = 45_000


@pytest.mark.parametrize(
    "words", [["list"], ["ps"], ["--version"], ["--help"], ["show", "m"], ["cp", "a", "b"]]
)
def test_short_commands_import_little(words: list[str]) -> None:
    script: dict[str, Reply | list[Reply]] = {
        "GET /api/tags": Reply(body={"models": []}),
        "GET /api/ps": Reply(body={"models": []}),
        "GET /api/version": Reply(body={"version": "1"}),
        "POST /api/show": Reply(body={"details": {}}),
        "POST /api/copy": Reply(),
    }
    with JsonServer(script).running() as server:
        done = subprocess.run(
            [sys.executable, "-P", "-c", PROBE, *words],
            env={**os.environ, "OLLAMA_HOST": server.url},
            capture_output=True,
            text=True,
            check=True,
        )
    code, modules, rss_kb = json.loads(done.stderr)
    assert code == 0
    assert not set(HEAVY) & set(modules)
    assert rss_kb <= MAX_RSS_KB


NOT_BEFORE_THE_FIRST_FRAME = ("typer", "httpx", "markdown_it", "starlette", "uvicorn", "jinja2", "llama_cpp")

FRAME_PROBE = """
import json, sys
from olla_tui.app import OllaApp
from olla_tui.cli import main, tui
from olla_tui.term import TerminalGuard
from server.settings import Settings

seen = []

def first_frame_is_out(app):
    seen.extend({name.partition(".")[0] for name in sys.modules})
    app.exit("quit")

OllaApp._start = first_frame_is_out
connection = tui.connect(Settings.load())
guard = TerminalGuard(Settings.load().olla_dir / "log")
app = tui.make_app(connection, guard)
app._hang_up = None
app.run(headless=True)
connection.close()
print(json.dumps([connection.own is None, seen]), file=sys.stderr)
"""


def test_the_first_frame_of_an_attached_screen_imports_little(tmp_path: Path) -> None:
    with JsonServer({"GET /api/version": Reply(body={"version": "1"})}).running() as server:
        attached, modules = probe_frame(tmp_path, server.url)
    assert attached
    assert "textual" in modules
    assert not set(NOT_BEFORE_THE_FIRST_FRAME) & set(modules)


def test_the_first_frame_comes_before_the_server_is_imported(tmp_path: Path) -> None:
    attached, modules = probe_frame(tmp_path, "127.0.0.1:0")
    assert not attached
    assert "textual" in modules
    assert not set(NOT_BEFORE_THE_FIRST_FRAME) & set(modules)


def probe_frame(folder: Path, host: str) -> tuple[bool, list[str]]:
    """Whether a screen attaches to a server, and what is imported when its first frame is out."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", FRAME_PROBE],
        env={**os.environ, "OLLAMA_HOST": host, "HOME": str(folder), "OLLA_HOME": str(folder)},
        capture_output=True,
        text=True,
        check=True,
    )
    attached, modules = json.loads(done.stderr.splitlines()[-1])
    return attached, modules


def test_command_lines_without_flags_need_no_parser() -> None:
    script: dict[str, Reply | list[Reply]] = {
        "GET /api/tags": Reply(body={"models": []}),
        "GET /api/ps": Reply(body={"models": []}),
        "GET /api/version": Reply(body={"version": "1"}),
    }
    with JsonServer(script).running() as server:
        for words in (["list"], ["ls", "a"], ["ps"], ["--version"], ["-v"]):
            done = subprocess.run(
                [sys.executable, "-P", "-c", PROBE, *words],
                env={**os.environ, "OLLAMA_HOST": server.url},
                capture_output=True,
                text=True,
                check=True,
            )
            code, modules, _ = json.loads(done.stderr)
            assert code == 0
            assert not {"typer", "msgspec", "email"} & set(modules)
            parsed = subprocess.run(
                [sys.executable, "-P", "-c", PARSED, *words],
                env={**os.environ, "OLLAMA_HOST": server.url},
                capture_output=True,
                text=True,
                check=True,
            )
            assert parsed.stdout == done.stdout


PARSED = """
import sys
from olla_tui.cli.main import _parse_and_run
sys.exit(_parse_and_run(sys.argv[1:]))
"""
