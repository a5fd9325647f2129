"""`olla serve` for clients: a process of its own from olla's environment, with a store of its own."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).parents[2]
MODELS = ROOT / "tests" / "models"
BUNDLED = ROOT / "server" / "bundled"
OLLA_PYTHON = os.environ.get("OLLA_PYTHON", str(ROOT / ".venv" / "bin" / "python"))
"""Python of the environment that olla is installed in."""

START_TIMEOUT_S = 60.0
REPLY_TIMEOUT_S = 60.0


class Server:
    """A running `olla serve`.

    Attributes:
        url: where it listens.
        folder: where it keeps everything, and where the models for tests are.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = ""
        self.log: list[str] = []
        self._process = subprocess.Popen(
            [OLLA_PYTHON, "-P", "-m", "olla_tui", "serve"],
            env={
                **os.environ,
                "HOME": str(folder),
                "XDG_CONFIG_HOME": str(folder / "config"),
                "XDG_DATA_HOME": str(folder / "data"),
                "OLLAMA_MODELS": str(folder / "models"),
                "OLLAMA_HOST": "127.0.0.1:0",
                "NO_COLOR": "1",
                "TERM": "dumb",
            },
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
        self.http = httpx.Client(base_url=self.url, timeout=REPLY_TIMEOUT_S, trust_env=False)
        if not has_started:
            self.close()
            raise AssertionError("the server did not start:\n" + "".join(self.log))

    def _read_log(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self.log.append(line)
            if line.startswith("Listening on "):
                self.url = f"http://{line.split()[2]}"
                self._started.set()
        self._started.set()

    def close(self) -> None:
        """Make sure that the process has ended, and let go of what belongs to it."""
        try:
            if self._process.poll() is None:
                self._process.send_signal(signal.SIGINT)
                self._process.wait(20)
        finally:
            self._process.kill()
            self._process.wait()
            self._reader.join(5)
            self.http.close()

    def create(self, name: str, *files: Path, **fields: Any) -> None:
        """Make a model from files."""
        digests = {}
        for file in files:
            content = file.read_bytes()
            digests[file.name] = f"sha256:{hashlib.sha256(content).hexdigest()}"
            self.http.post(f"/api/blobs/{digests[file.name]}", content=content).raise_for_status()
        body = {"model": name, "files": digests, "stream": False, **fields}
        reply = self.http.post("/api/create", json=body)
        assert reply.json() == {"status": "success"}, reply.text

    def status(self) -> Any:
        """What the server tells about itself: running models, the newest requests first."""
        return self.http.get("/olla/status").raise_for_status().json()

    def running(self) -> dict[str, Any]:
        """The loaded models by name."""
        return {model["name"]: model for model in self.status()["running"]}

    @contextmanager
    def broken_off(self, model: str) -> Iterator[None]:
        """The block asks a model and leaves: the request must end as cancelled, and its slot be free."""
        before = {request["id"] for request in self.status()["requests"]}
        names = (model, f"{model}:latest")
        yield

        def has_left() -> bool:
            status = self.status()
            new = [one for one in status["requests"] if one["id"] not in before and one["model"] in names]
            busy = [one["n_busy_slots"] for one in status["running"] if one["name"] == f"{model}:latest"]
            return bool(new) and all(one["state"] == "cancelled" for one in new) and busy == [0]

        wait_until(has_left)


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """A server that ends with the block, with these models:

    spark     tools and thinking, by its Go template
    plain     the same weights without either
    native    the same with the Jinja template of its GGUF
    minilm    embeddings
    endless   `plain`, but an answer never ends by itself
    eyes      sees, with random weights
    """
    written = subprocess.run(
        [OLLA_PYTHON, str(Path(__file__).with_name("write_models.py")), str(folder)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert written.returncode == 0, written.stderr
    server = Server(folder)
    try:
        stop = {"stop": ["<|im_end|>"]}
        spark_template = (BUNDLED / "spark.gotmpl").read_text()
        plain_template = (MODELS / "plain.gotmpl").read_text()
        plain = folder / "plain.gguf"
        server.create("spark", BUNDLED / "spark.gguf", template=spark_template, parameters=stop)
        server.create("plain", plain, template=plain_template, parameters=stop)
        server.create("native", MODELS / "spark-f16.gguf")
        server.create("minilm", MODELS / "minilm.gguf")
        server.create("endless", plain, template=plain_template, parameters={"ignore_eos": True})
        server.create("eyes", folder / "eyes.gguf", folder / "eyes-mmproj.gguf")
        yield server
    finally:
        server.close()


def wait_until(condition: Callable[[], bool], *, timeout_s: float = 20.0) -> None:
    """Ask again and again until a condition holds."""
    deadline = time.monotonic() + timeout_s
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come to hold"
        pause.wait(0.02)
