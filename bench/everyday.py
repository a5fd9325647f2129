"""What a user waits for besides decoding, beside a real Ollama where its binary is given, A and B in turn.

    python bench/everyday.py [--ollama PATH] [--rounds 10]

Measured are: the first token of a model that is not loaded (the bundled spark, unloaded before each request),
`list` against a running server as a whole process (seconds and peak resident memory), and the resident memory
of a server at rest without a model. Printed are medians. On a processor with AMX, where llama.cpp's kernels
for it crash, give Ollama LLAMA_ARG_NO_REPACK=1.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
START_TIMEOUT_S = 60.0
BODY = {
    "model": "spark",
    "messages": [{"role": "user", "content": "What is the capital of France?"}],
    "think": False,
    "options": {"temperature": 0, "num_predict": 4},
}


class Program:
    """A program with `serve` and `list`, with a server of its own on a free port."""

    def __init__(self, name: str, command: list[str], folder: Path) -> None:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            port = int(sock.getsockname()[1])
        self.name = name
        self.command = command
        self.base = f"http://127.0.0.1:{port}"
        self.environ = {
            **os.environ,
            "HOME": str(folder),
            "OLLAMA_HOST": f"127.0.0.1:{port}",
            "OLLAMA_NO_CLOUD": "1",
        }
        self.server = subprocess.Popen(
            [*command, "serve"], env=self.environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            if time.monotonic() > deadline_s:
                raise SystemExit(f"{name} did not start")
            time.sleep(0.05)

    def _answers(self) -> bool:
        try:
            self.call("/api/version")
        except OSError:
            return False
        return True

    def call(self, path: str, body: object = None) -> bytes:
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        with urllib.request.urlopen(urllib.request.Request(self.base + path, data), timeout=120) as reply:
            return bytes(reply.read())

    def create_spark(self) -> None:
        data = (ROOT / "server" / "bundled" / "spark.gguf").read_bytes()
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        self.call(f"/api/blobs/{digest}", data)
        template = (ROOT / "server" / "bundled" / "spark.gotmpl").read_text()
        self.call(
            "/api/create",
            {"model": "spark", "files": {"spark.gguf": digest}, "template": template, "stream": False},
        )

    def first_token_s(self) -> float:
        """From the request to the first streamed line, the model unloaded before."""
        self.call("/api/chat", {"model": "spark", "messages": [], "keep_alive": 0})
        while json.loads(self.call("/api/ps"))["models"]:
            time.sleep(0.02)
        request = urllib.request.Request(f"{self.base}/api/chat", json.dumps(BODY).encode())
        start_s = time.perf_counter()
        with urllib.request.urlopen(request, timeout=120) as reply:
            reply.readline()
            taken_s = time.perf_counter() - start_s
            reply.read()
        return taken_s

    def list_once(self) -> tuple[float, float]:
        """Seconds and peak MB of a whole `list` process."""
        code = (
            "import resource, subprocess, sys, time\n"
            "start = time.perf_counter()\n"
            "subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)\n"
            "print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\n"
        )
        out = subprocess.run(
            [sys.executable, "-S", "-c", code, *self.command, "list"],
            env=self.environ,
            check=True,
            capture_output=True,
            text=True,
        ).stdout.split()
        per_mb = 1024 * 1024 if sys.platform == "darwin" else 1024
        return float(out[0]), int(out[1]) / per_mb

    def server_mb(self) -> float:
        """Resident memory of the server process."""
        out = subprocess.run(
            ["ps", "-o", "rss=", "-p", str(self.server.pid)], check=True, capture_output=True, text=True
        )
        return int(out.stdout) / 1024

    def stop(self) -> None:
        self.server.terminate()
        self.server.wait(30)


@contextmanager
def programs(ollama: str | None) -> Iterator[list[Program]]:
    with tempfile.TemporaryDirectory() as folder:
        commands = {"olla": [str(Path(sys.executable).parent / "olla")]}
        if ollama:
            commands["ollama"] = [ollama]
        started = []
        for name, command in commands.items():
            home = Path(folder) / name
            home.mkdir()
            started.append(Program(name, command, home))
        try:
            yield started
        finally:
            for program in started:
                program.stop()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ollama", help="a real Ollama's binary")
    parser.add_argument("--rounds", type=int, default=10)
    args = parser.parse_args()
    with programs(args.ollama) as all_programs:
        figures: dict[str, dict[str, list[float]]] = {program.name: {} for program in all_programs}
        for program in all_programs:
            program.create_spark()
            figures[program.name]["server at rest, MB"] = [program.server_mb()]
        for _ in range(args.rounds):
            for program in all_programs:
                seconds, megabytes = program.list_once()
                values = figures[program.name]
                values.setdefault("list, s", []).append(seconds)
                values.setdefault("list, MB", []).append(megabytes)
                values.setdefault("first token of a model not loaded, s", []).append(program.first_token_s())
        for figure in figures["olla"]:
            row = [f"{name} {statistics.median(values[figure]):.3f}" for name, values in figures.items()]
            print(f"{figure}: {', '.join(row)}")


if __name__ == "__main__":
    main()
