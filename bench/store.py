"""Figures of the model store: `olla list` with many models, and making a model of a large file.

    python bench/store.py [--models 500] [--gigabytes 2] [--rounds 10]

`list` is the whole process against a running server that has listed before. For the create, a file of zeros
with a GGUF header is uploaded and a model made of it twice: the first figure is the server's time for the
create alone, which reads the header and neither hashes nor copies; the others tell what of the store grew.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import httpx
from peers import free_port, wait_until_answered

from server.storage.config import ModelConfig
from server.storage.manifests import Layer
from server.storage.store import ModelStore
from server.types.names import ModelName
from tests.support.tiny_gguf import gguf_bytes, tiny_llama_bytes

PIECE_BYTES = 1 << 20


def fill(root: Path, n_models: int) -> None:
    """A store of small models with weights, a template, parameters and a system text each."""
    store = ModelStore(root)
    for number in range(n_models):
        weights = tiny_llama_bytes(seed=number)
        parts = {
            "model": weights,
            "template": b"{{ .Prompt }}",
            "params": b'{"stop":["x"]}\n',
            "system": f"You are number {number}.".encode(),
        }
        layers = [Layer(kind, store.put_bytes(data).digest, len(data)) for kind, data in parts.items()]
        config = ModelConfig(model_format="gguf", model_family="llama", file_type="F32", model_type="18K")
        store.write_model(ModelName.parse(f"space{number % 7}/model{number}"), config, layers)


def large_file(path: Path, n_bytes: int) -> str:
    """A GGUF header and zeros behind it; the digest."""
    head = gguf_bytes({"general.architecture": "llama", "general.file_type": 1, "llama.block_count": 1})
    hasher = hashlib.sha256(head)
    with path.open("wb") as file:
        file.write(head)
        for _ in range(n_bytes // PIECE_BYTES):
            file.write(bytes(PIECE_BYTES))
            hasher.update(bytes(PIECE_BYTES))
    return f"sha256:{hasher.hexdigest()}"


def disk_bytes(root: Path) -> int:
    return sum(path.lstat().st_blocks * 512 for path in root.rglob("*") if path.is_file())


def read_bytes(pid: int) -> int:
    """Bytes that a process has read by calls of the system so far."""
    fields = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
    return int(fields["rchar"])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--models", type=int, default=500)
    parser.add_argument("--gigabytes", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=10)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "models"
        fill(root, given.models)
        url = f"http://127.0.0.1:{free_port()}"
        environ = {**os.environ, "HOME": folder, "OLLAMA_MODELS": str(root), "OLLAMA_HOST": url}
        # Compiled modules are kept, as an installation has them.
        environ.pop("PYTHONDONTWRITEBYTECODE", None)
        command = [sys.executable, "-P", "-m", "olla_tui"]
        with subprocess.Popen([*command, "serve"], env=environ, stderr=subprocess.DEVNULL) as server:
            try:
                wait_until_answered(f"{url}/api/version", server)
                measure(given, url, environ, command, root, Path(folder), server.pid)
            finally:
                server.terminate()


def measure(
    given: argparse.Namespace,
    url: str,
    environ: dict[str, str],
    command: list[str],
    root: Path,
    folder: Path,
    pid: int,
) -> None:
    client = httpx.Client(base_url=url, timeout=600, trust_env=False)
    first_s = -time.perf_counter()
    n_models = len(client.get("/api/tags").json()["models"])
    first_s += time.perf_counter()
    walls, routes = [], []
    for _ in range(given.rounds):
        start = time.perf_counter()
        subprocess.run([*command, "list"], env=environ, stdout=subprocess.DEVNULL, check=True)
        walls.append(time.perf_counter() - start)
        start = time.perf_counter()
        client.get("/api/tags")
        routes.append(time.perf_counter() - start)
    path = folder / "large.gguf"
    digest = large_file(path, int(given.gigabytes * 1e9))
    start = time.perf_counter()
    with path.open("rb") as file:
        client.post(
            f"/api/blobs/{digest}", content=iter(lambda: file.read(PIECE_BYTES), b"")
        ).raise_for_status()
    upload_s = time.perf_counter() - start
    size, n_read = disk_bytes(root), read_bytes(pid)
    body = {"model": "large", "files": {"large.gguf": digest}, "stream": False}
    start = time.perf_counter()
    reply = client.post("/api/create", content=json.dumps(body))
    create_s = time.perf_counter() - start
    print(f"| figure | {n_models} models, {given.gigabytes:g} GB |\n| --- | --- |")
    print(f"| `olla list`, whole process | {statistics.median(walls) * 1000:.0f} ms |")
    print(
        f"| `/api/tags`, first and later | {first_s * 1000:.0f}, {statistics.median(routes) * 1000:.0f} ms |"
    )
    print(f"| upload with its hash | {upload_s:.2f} s |")
    print(f"| create of what is uploaded ({reply.json()}) | {create_s * 1000:.0f} ms |")
    print(
        f"| read for it, and added to the store | {read_bytes(pid) - n_read} B, {disk_bytes(root) - size} B |"
    )


if __name__ == "__main__":
    main()
