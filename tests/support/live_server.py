"""The whole server on a socket of this machine, for tests."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from server.serve import ServerThread, bind
from server.settings import Settings

REPLY_TIMEOUT_S = 120.0


@contextmanager
def live_server(folder: Path, **variables: str) -> Iterator[httpx.Client]:
    """A running server with a store below `folder`, set up by environment variables; gives a client for it.

    The store is made first and stays empty: only a store that does not exist yet gets the bundled model.
    """
    models = folder / "models"
    for name in ("manifests", "blobs"):
        (models / name).mkdir(parents=True)
    environ = {"HOME": str(folder), "OLLAMA_MODELS": str(models), "OLLAMA_HOST": "127.0.0.1:0", **variables}
    loaded = Settings.load(environ=environ)
    sock = bind(loaded)
    address, port = sock.getsockname()[:2]
    thread = ServerThread(loaded, sock)
    thread.start()
    try:
        with httpx.Client(
            base_url=f"http://{address}:{port}", timeout=REPLY_TIMEOUT_S, trust_env=False
        ) as client:
            yield client
    finally:
        thread.stop()


def create_model(client: httpx.Client, name: str, *paths: Path, **fields: Any) -> None:
    """Make a model from files: its weights, and projectors or adapters."""
    digests: dict[str, str] = {}
    for path in paths:
        data = path.read_bytes()
        digests[path.name] = f"sha256:{hashlib.sha256(data).hexdigest()}"
        client.post(f"/api/blobs/{digests[path.name]}", content=data).raise_for_status()
    body = {"model": name, "files": digests, "stream": False, **fields}
    reply = client.post("/api/create", json=body)
    assert reply.status_code == 200, reply.text
