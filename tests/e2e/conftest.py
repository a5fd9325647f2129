"""`olla serve` as a process of its own, on a free port, with a store of its own."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.support.plain_model import plain_model

ROOT = Path(__file__).parents[2]
MODELS = ROOT / "tests" / "models"
BUNDLED = ROOT / "server" / "bundled"

START_TIMEOUT_S = 60.0
REPLY_TIMEOUT_S = 120.0


class Served:
    """A running `olla serve`.

    Attributes:
        log: what it has written so far.
        environ: environment for commands that talk to it.
    """

    def __init__(self, folder: Path, **variables: str) -> None:
        self.log: list[str] = []
        self.url = ""
        self.environ = {
            **os.environ,
            "HOME": str(folder),
            "XDG_CONFIG_HOME": str(folder / "config"),
            "XDG_DATA_HOME": str(folder / "data"),
            "OLLAMA_MODELS": str(folder / "models"),
            "OLLAMA_HOST": "127.0.0.1:0",
            "NO_COLOR": "1",
            "TERM": "dumb",
            **variables,
        }
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "olla_tui", "serve"],
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            cwd=folder,
        )
        self._started = threading.Event()
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()
        has_started = self._started.wait(START_TIMEOUT_S) and self.url
        self.client = httpx.Client(base_url=self.url, timeout=REPLY_TIMEOUT_S, trust_env=False)
        if not has_started:
            self.close()
            raise AssertionError("the server did not start:\n" + "".join(self.log))

    def _read_log(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line)
            if line.startswith("Listening on "):
                self.url = f"http://{line.split()[2]}"
                self.environ["OLLAMA_HOST"] = self.url
                self._started.set()
        self._started.set()

    def workers(self) -> list[psutil.Process]:
        """Processes below the server's that are loaded models."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        return [child for child in children if "server.engine" in " ".join(child.cmdline())]

    def stop(self, signal_number: int = signal.SIGINT) -> int:
        """End the server; its exit code."""
        self.process.send_signal(signal_number)
        return self.process.wait(20)

    def close(self) -> None:
        """Make sure that the process has ended, and let go of what belongs to it."""
        try:
            if self.process.poll() is None:
                self.stop()
        finally:
            self.process.kill()
            self.process.wait()
            self._reader.join(5)
            assert self.process.stderr is not None
            self.process.stderr.close()
            self.client.close()

    def post(self, path: str, body: Any) -> Any:
        """The JSON reply to a request that must succeed."""
        reply = self.client.post(path, json=body)
        assert reply.status_code < 400, reply.text
        return reply.json() if reply.content else None

    def create(self, name: str, file: Path, **fields: Any) -> None:
        """Make a model from a file."""
        content = file.read_bytes()
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        assert self.client.post(f"/api/blobs/{digest}", content=content).status_code in (200, 201)
        body = {"model": name, "files": {file.name: digest}, "stream": False, **fields}
        assert self.post("/api/create", body) == {"status": "success"}

    def run(
        self, *words: str, stdin: str | None = None, cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run `olla` against the server."""
        return subprocess.run(
            [sys.executable, "-P", "-m", "olla_tui", *words],
            env=self.environ,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            timeout=REPLY_TIMEOUT_S,
            cwd=cwd,
            check=False,
        )


@contextmanager
def serving(folder: Path, **variables: str) -> Iterator[Served]:
    """A server that ends with the block."""
    served = Served(folder, **variables)
    try:
        yield served
    finally:
        served.close()


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server with the four models of the recorded replies, made in their order."""
    with serving(tmp_path_factory.mktemp("served")) as served:
        stop = {"stop": ["<|im_end|>"]}
        spark_template = (BUNDLED / "spark.gotmpl").read_text()
        plain_template = (MODELS / "plain.gotmpl").read_text()
        served.create("spark", BUNDLED / "spark.gguf", template=spark_template, parameters=stop)
        served.create("plain", plain_model(), template=plain_template, parameters=stop)
        served.create("native", MODELS / "spark-f16.gguf")
        served.create("minilm", MODELS / "minilm.gguf")
        yield served


def wait_until(condition: Callable[[], bool], *, timeout_s: float = 20.0) -> None:
    """Ask again and again until a condition holds."""
    deadline = time.monotonic() + timeout_s
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come to hold"
        pause.wait(0.02)


def lines_of(reply: httpx.Response) -> Iterator[Any]:
    """The JSON values of a streamed reply, as they come."""
    return (json.loads(line) for line in reply.iter_lines() if line)
