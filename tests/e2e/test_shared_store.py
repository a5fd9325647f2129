"""One store for olla and a real Ollama at the same time: each lists, shows, runs, copies and deletes what the
other made, and neither removes what the other needs.

Runs where `OLLAMA_BINARY` names an Ollama that can run models, or `ollama` is on the PATH.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from server.storage.partials import open_partial
from server.storage.paths import StorePaths
from server.storage.store import ModelStore
from tests.e2e.conftest import MODELS, REPLY_TIMEOUT_S, Served, serving, wait_until

BINARY = os.environ.get("OLLAMA_BINARY") or shutil.which("ollama") or ""
HALF = MODELS / "spark-f16.gguf"
PROMPT = "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\nThe"

pytestmark = pytest.mark.skipif(
    not BINARY, reason="there is no Ollama: OLLAMA_BINARY is not set and no `ollama` is on the PATH"
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Ollama:
    """A running Ollama on a store."""

    def __init__(self, models: Path, home: Path) -> None:
        port = free_port()
        environ = {
            **os.environ,
            "HOME": str(home),
            "OLLAMA_MODELS": str(models),
            "OLLAMA_HOST": f"127.0.0.1:{port}",
            "OLLAMA_NO_CLOUD": "1",
            # llama.cpp's repacked kernels crash on processors with AMX.
            "LLAMA_ARG_NO_REPACK": "1",
        }
        self.process = subprocess.Popen(
            [BINARY, "serve"], env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self.client = httpx.Client(
            base_url=f"http://127.0.0.1:{port}", timeout=REPLY_TIMEOUT_S, trust_env=False
        )
        wait_until(self._answers)

    def _answers(self) -> bool:
        try:
            return self.client.get("/api/version").status_code == 200
        except httpx.TransportError:
            return False

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(20)
        self.client.close()


@contextmanager
def ollama_on(models: Path, home: Path) -> Iterator[httpx.Client]:
    ollama = Ollama(models, home)
    try:
        yield ollama.client
    finally:
        ollama.close()


@pytest.fixture
def olla(tmp_path: Path) -> Iterator[Served]:
    with serving(tmp_path) as served:
        yield served


def models_of(served: Served) -> Path:
    return Path(served.environ["OLLAMA_MODELS"])


def tags(client: httpx.Client) -> dict[str, tuple[str, int]]:
    """Digest and size of each model by name."""
    models = client.get("/api/tags").raise_for_status().json()["models"]
    return {model["name"]: (model["digest"], model["size"]) for model in models}


def show(client: httpx.Client, model: str) -> dict[str, Any]:
    shown: dict[str, Any] = client.post("/api/show", json={"model": model}).raise_for_status().json()
    return {key: shown.get(key) for key in ("template", "system", "parameters", "details", "license")}


def ask(client: httpx.Client, model: str) -> str:
    body = {
        "model": model,
        "prompt": PROMPT,
        "raw": True,
        "stream": False,
        "options": {"temperature": 0, "num_predict": 12},
    }
    answer: str = client.post("/api/generate", json=body).raise_for_status().json()["response"]
    return answer


def make(client: httpx.Client, name: str, file: Path, **fields: Any) -> None:
    data = file.read_bytes()
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    client.post(f"/api/blobs/{digest}", content=data).raise_for_status()
    body = {"model": name, "files": {file.name: digest}, "stream": False, **fields}
    assert client.post("/api/create", json=body).raise_for_status().json() == {"status": "success"}


def copy_and_delete(client: httpx.Client, model: str) -> None:
    client.post("/api/copy", json={"source": model, "destination": "copied"}).raise_for_status()
    client.request("DELETE", "/api/delete", json={"model": "copied"}).raise_for_status()


def grow_old(models: Path, seconds: float) -> None:
    """Let time pass for every file of a store."""
    then = time.time() - seconds
    for path in models.rglob("*"):
        if path.is_file() and not path.is_symlink():
            os.utime(path, (then, then))


def test_each_uses_what_the_other_made(olla: Served, tmp_path: Path) -> None:
    with ollama_on(models_of(olla), tmp_path) as ollama:
        make(olla.client, "ours", HALF, system="Be brief.", parameters={"temperature": 0})
        make(ollama, "theirs", HALF, system="Be brief.", parameters={"temperature": 0})
        assert tags(olla.client) == tags(ollama)
        assert {"ours:latest", "theirs:latest", "spark:latest"} <= tags(olla.client).keys()
        for model in ("ours", "theirs"):
            assert show(olla.client, model) == show(ollama, model)
            assert ask(olla.client, model) == ask(ollama, model) != ""
        copy_and_delete(ollama, "ours")
        copy_and_delete(olla.client, "theirs")
        assert tags(olla.client) == tags(ollama)
        olla.client.request("DELETE", "/api/delete", json={"model": "theirs"}).raise_for_status()
        assert "theirs:latest" not in tags(ollama)
        assert ask(ollama, "ours")
        ollama.request("DELETE", "/api/delete", json={"model": "ours"}).raise_for_status()
        assert "ours:latest" not in tags(olla.client)
        assert ask(olla.client, "spark")
    assert olla.run("fsck").stdout == "The store is whole.\n"


def test_what_olla_quantizes_ollama_runs(olla: Served, tmp_path: Path) -> None:
    make(olla.client, "half", HALF)
    body = {"model": "small", "from": "half", "quantize": "q5_K_M", "stream": False}
    assert olla.client.post("/api/create", json=body).raise_for_status().json() == {"status": "success"}
    with ollama_on(models_of(olla), tmp_path) as ollama:
        details = ollama.post("/api/show", json={"model": "small"}).raise_for_status().json()["details"]
        assert details["quantization_level"] == "Q5_K_M"
        assert ask(ollama, "small") == ask(olla.client, "small") != ""


def test_ollamas_pruning_at_its_start_removes_nothing_that_is_in_use(olla: Served, tmp_path: Path) -> None:
    models = models_of(olla)
    make(olla.client, "ours", HALF)
    store = ModelStore(models)
    partial = open_partial(store.paths, f"sha256:{'b' * 64}", 1000, "big")
    assert partial is not None
    partial.write_at(memoryview(b"x" * 500), 0)
    partial.save(((0, 500),))
    own = {path for path in (models / ".olla").rglob("*") if path.is_file()}
    grow_old(models, 7200)
    # An upload of now; older ones that no model was made of go, for Ollama cannot know of them.
    waiting = f"sha256:{hashlib.sha256(b'waits').hexdigest()}"
    olla.client.post(f"/api/blobs/{waiting}", content=b"waits").raise_for_status()
    before = set((models / "blobs").iterdir())
    with ollama_on(models, tmp_path) as ollama:
        assert ask(ollama, "ours")
    assert set((models / "blobs").iterdir()) == before
    assert own <= {path for path in (models / ".olla").rglob("*") if path.is_file()}
    assert olla.run("fsck").returncode == 0
    partial.close()


def test_olla_removes_nothing_of_ollamas(olla: Served, tmp_path: Path) -> None:
    paths = StorePaths(models_of(olla))
    with ollama_on(paths.root, tmp_path) as ollama:
        make(ollama, "theirs", HALF)
        # A download under way with a layer that is complete since long, in no manifest yet.
        layer = paths.blobs / f"sha256-{hashlib.sha256(b'layer').hexdigest()}"
        layer.write_bytes(b"layer")
        grow_old(paths.root, 7200)
        partial = paths.blobs / f"sha256-{'c' * 64}-partial"
        partial.write_bytes(b"x" * 100)
        uploaded = f"sha256:{hashlib.sha256(b'uploaded').hexdigest()}"
        ollama.post(f"/api/blobs/{uploaded}", content=b"uploaded").raise_for_status()
        before = set(paths.blobs.iterdir())
        assert "Nothing to remove." in olla.run("gc", "--age", "0").stdout
        assert ModelStore(paths.root).prune() == 0
        assert set(paths.blobs.iterdir()) == before
        assert ask(ollama, "theirs")
