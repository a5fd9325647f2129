"""A real registry, Debian's package `docker-registry`, where it is found."""

from __future__ import annotations

import hashlib
import shutil
import socket
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

BINARY = shutil.which("docker-registry") or ""

needs_registry = pytest.mark.skipif(
    not BINARY, reason="there is no registry: no `docker-registry` is on the PATH"
)


N_TRIES = 5
"""A port that was free may be another process's when the registry comes to it."""


@contextmanager
def docker_registry(folder: Path) -> Iterator[str]:
    """Host and port of a registry over a folder, until the end of the block."""
    for _ in range(N_TRIES):
        process, host = _start(folder)
        if process.poll() is None:
            break
    else:
        raise RuntimeError("the registry did not start")
    try:
        yield host
    finally:
        process.terminate()
        process.wait(20)


def add_blob(host: str, repository: str, data: bytes) -> str:
    """Put a blob into a registry; returns its digest. Raises: OSError."""
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    begin = urllib.request.Request(f"http://{host}/v2/{repository}/blobs/uploads/", b"", method="POST")
    with urllib.request.urlopen(begin) as reply:
        place = reply.headers["Location"]
    headers = {"Content-Type": "application/octet-stream"}
    send = urllib.request.Request(f"{place}&digest={digest}", data, headers, method="PUT")
    urllib.request.urlopen(send).close()
    return digest


def _start(folder: Path) -> tuple[subprocess.Popen[bytes], str]:
    """A registry that listens, or has ended, and where it was to listen."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{probe.getsockname()[1]}"
    config = folder / "registry.yml"
    config.write_text(
        "version: 0.1\nlog: {level: info, accesslog: {disabled: true}}\n"
        f"storage: {{filesystem: {{rootdirectory: {folder / 'registry'}}}}}\n"
        f"http: {{addr: '{host}'}}\n"
    )
    process = subprocess.Popen(
        [BINARY, "serve", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    for line in process.stderr:
        if b"listening on" in line:
            break
    else:
        process.wait(20)
    # What it writes from now on is read by nobody, and it must not wait for that.
    threading.Thread(target=_drain, args=(process.stderr,), daemon=True).start()
    return process, host


def _drain(stream: IO[bytes]) -> None:
    with stream:
        for _ in stream:
            pass
