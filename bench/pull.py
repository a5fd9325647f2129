"""Pulling a large blob from a registry on this machine, beside curl.

    python bench/pull.py [--gigabytes 2] [--rounds 3]

Needs `docker-registry` and `curl`. Each round fetches the same blob with curl to a file, then puts it on the
disk, then hashes it; and pulls it with a server of its own, which does all three.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any, NamedTuple

import psutil

REPOSITORY = "bench/big"
MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
TIMEOUT_S = 300.0
POLL_S = 0.05
"""Between two looks at a port of another process, which gives no other sign of being up."""


class Round(NamedTuple):
    """Seconds of each way, and what the server took."""

    curl_s: float
    curl_synced_s: float
    curl_verified_s: float
    pull_s: float
    server_cpu_s: float
    server_rss_bytes: int
    idle_rss_bytes: int


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def wait_for(port: int) -> None:
    """Wait until somebody listens. Raises: TimeoutError."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(POLL_S)
    raise TimeoutError(f"nobody listens on port {port}")


def start_registry(folder: Path, port: int) -> subprocess.Popen[bytes]:
    """A real registry over a folder."""
    config = folder / "registry.yml"
    config.write_text(
        "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"
        f"storage: {{filesystem: {{rootdirectory: {folder / 'registry'}}}}}\n"
        f"http: {{addr: '127.0.0.1:{port}'}}\n"
    )
    process = subprocess.Popen(
        ["docker-registry", "serve", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    wait_for(port)
    return process


def add_blob(folder: Path, n_bytes: int) -> str:
    """Put a blob of random bytes where the registry keeps it; returns its digest."""
    root = folder / "registry" / "docker" / "registry" / "v2"
    root.mkdir(parents=True, exist_ok=True)
    hasher, temporary = hashlib.sha256(), root / "new"
    with temporary.open("wb") as file:
        for _ in range(n_bytes >> 20):
            piece = os.urandom(1 << 20)
            hasher.update(piece)
            file.write(piece)
    digest = hasher.hexdigest()
    target = root / "blobs" / "sha256" / digest[:2] / digest / "data"
    target.parent.mkdir(parents=True)
    temporary.replace(target)
    link = root / "repositories" / REPOSITORY / "_layers" / "sha256" / digest / "link"
    link.parent.mkdir(parents=True)
    link.write_text(f"sha256:{digest}")
    return f"sha256:{digest}"


def put(url: str, body: bytes, kind: str) -> None:
    """Send a body."""
    request = urllib.request.Request(url, body, {"Content-Type": kind}, method="PUT")
    urllib.request.urlopen(request).close()


def add_model(base: str, digest: str, n_bytes: int) -> None:
    """Name the blob as a model's weights."""
    config = b'{"model_format":"gguf","os":"linux","architecture":"amd64"}'
    begin = urllib.request.Request(f"{base}/v2/{REPOSITORY}/blobs/uploads/", b"", method="POST")
    with urllib.request.urlopen(begin) as reply:
        place = reply.headers["Location"]
    config_digest = f"sha256:{hashlib.sha256(config).hexdigest()}"
    put(f"{place}&digest={config_digest}", config, "application/octet-stream")
    layer = {"mediaType": "application/vnd.ollama.image.model", "digest": digest, "size": n_bytes}
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": {
            "mediaType": "application/vnd.docker.container.image.v1+json",
            "digest": config_digest,
            "size": len(config),
        },
        "layers": [layer],
    }
    put(f"{base}/v2/{REPOSITORY}/manifests/latest", json.dumps(manifest).encode(), MANIFEST_TYPE)


def curl(url: str, target: Path) -> tuple[float, float, float]:
    """Seconds that curl takes, until the file is on the disk, and until it is hashed."""
    began = time.monotonic()
    subprocess.run(["curl", "-sf", "-o", str(target), url], check=True, timeout=TIMEOUT_S)
    took = time.monotonic() - began
    with target.open("rb+") as file:
        os.fsync(file.fileno())
        synced = time.monotonic() - began
        hashlib.file_digest(file, "sha256")
    verified = time.monotonic() - began
    target.unlink()
    return took, synced, verified


def pull(folder: Path, model: str) -> tuple[float, float, int, int]:
    """Seconds of a pull by a server of its own, its processor time, its memory at its peak and before."""
    home, port = folder / "home", free_port()
    home.mkdir()
    environment = {
        **os.environ,
        "HOME": str(home),
        "OLLAMA_HOST": f"127.0.0.1:{port}",
        "OLLA_HOME": str(home),
    }
    environment.pop("OLLAMA_MODELS", None)
    server = subprocess.Popen(
        [sys.executable, "-P", "-m", "olla_tui", "serve"],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(port)
        process = psutil.Process(server.pid)
        idle = process.memory_info().rss
        before, peak = sum(process.cpu_times()[:2]), idle
        body = json.dumps({"model": model, "insecure": True}).encode()
        began = time.monotonic()
        lines: list[dict[str, Any]] = []
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/pull", body, timeout=TIMEOUT_S) as reply:
            for raw in reply:
                lines.append(json.loads(raw))
                peak = max(peak, process.memory_info().rss)
        took = time.monotonic() - began
        if lines[-1].get("status") != "success":
            raise RuntimeError(f"the pull failed: {lines[-1]}")
        return took, sum(process.cpu_times()[:2]) - before, peak, idle
    finally:
        server.terminate()
        server.wait(30)
        shutil.rmtree(home)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=3)
    flags = parser.parse_args()
    n_bytes = int(flags.gigabytes * 1e9) >> 20 << 20
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), free_port()
        digest = add_blob(folder, n_bytes)
        registry = start_registry(folder, port)
        try:
            base = f"http://127.0.0.1:{port}"
            add_model(base, digest, n_bytes)
            url = f"{base}/v2/{REPOSITORY}/blobs/{digest}"
            rounds = []
            for _ in range(flags.rounds):
                times = curl(url, folder / "curl.bin")
                rounds.append(Round(*times, *pull(folder, f"127.0.0.1:{port}/{REPOSITORY}")))
                print(rounds[-1], file=sys.stderr)
        finally:
            registry.terminate()
            registry.wait(30)
    report(n_bytes, rounds)


def report(n_bytes: int, rounds: list[Round]) -> None:
    """Medians, as lines of a table."""
    middle = Round(*(statistics.median(column) for column in zip(*rounds, strict=True)))
    rate = {field: n_bytes / 1e6 / getattr(middle, field) for field in Round._fields[:4]}
    ratios = [[seconds / r.pull_s for seconds in r[:3]] for r in rounds]
    alone, synced, verified = (statistics.median(column) for column in zip(*ratios, strict=True))
    print(f"| curl | {rate['curl_s']:.0f} MB/s |")
    print(f"| curl, and on the disk | {rate['curl_synced_s']:.0f} MB/s |")
    print(f"| curl, on the disk and hashed | {rate['curl_verified_s']:.0f} MB/s |")
    print(f"| olla, on the disk and hashed | {rate['pull_s']:.0f} MB/s |")
    print(f"| olla / curl | {alone:.2f} |")
    print(f"| olla / curl, on the disk | {synced:.2f} |")
    print(f"| olla / curl, on the disk and hashed | {verified:.2f} |")
    print(f"| processor time of the server | {middle.server_cpu_s / (n_bytes / 1e9):.2f} s per GB |")
    print(f"| memory of the server at its peak | {middle.server_rss_bytes / 1e6:.0f} MB |")
    print(f"| before the pull | {middle.idle_rss_bytes / 1e6:.0f} MB |")


if __name__ == "__main__":
    main()
