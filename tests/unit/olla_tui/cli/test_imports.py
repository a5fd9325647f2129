"""Short commands stay short: what they import, and what they cost, in a process of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys

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
