"""Decode speed of `olla serve` beside a llama-server of the same llama.cpp, A and B in turn.

    python bench/decode.py --llama-server PATH --model 60m.gguf [--clients 1 8] [--rounds 5] [--tokens 128]

Both servers run at once, on one model each, and are asked in turn, so that a noisy machine is noisy for both.
Each round streams greedy completions of the same prompt over HTTP with as many clients as asked; tokens per
second are counted from the first to the last token of all clients. Printed are the medians, and the median of
the rounds' ratios.
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
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROMPT = "The quick brown fox"
START_TIMEOUT_S = 60.0


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def wait_until_answered(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline_s:
        if process.poll() is not None:
            raise SystemExit(f"{process.args!r} ended with {process.returncode}")
        try:
            with urllib.request.urlopen(url, timeout=1) as reply:
                if reply.status == 200:
                    return
        except OSError:
            time.sleep(0.05)
    raise SystemExit(f"{url} did not answer in {START_TIMEOUT_S} s")


def post(url: str, body: object, method: str = "POST") -> bytes:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data, method=method), timeout=600) as reply:
        return bytes(reply.read())


class Olla:
    """`olla serve` with the model under the name "bench"."""

    name = "olla"

    def __init__(self, base: str, n_tokens: int) -> None:
        self.url = f"{base}/api/generate"
        self.body = {
            "model": "bench",
            "prompt": PROMPT,
            "raw": True,
            "options": {"temperature": 0, "num_predict": n_tokens, "num_ctx": 2048},
        }

    def pieces(self) -> Iterator[float]:
        """The time of each streamed line with text."""
        request = urllib.request.Request(self.url, json.dumps(self.body).encode())
        with urllib.request.urlopen(request, timeout=600) as reply:
            for line in reply:
                record = json.loads(line)
                if "error" in record:
                    raise SystemExit(record["error"])
                if not record["done"]:
                    yield time.perf_counter()


class LlamaServer:
    """llama-server's own completion route."""

    name = "llama-server"

    def __init__(self, base: str, n_tokens: int) -> None:
        self.url = f"{base}/completion"
        self.body = {
            "prompt": PROMPT,
            "n_predict": n_tokens,
            "temperature": 0,
            "ignore_eos": True,
            "stream": True,
            "cache_prompt": True,
        }

    def pieces(self) -> Iterator[float]:
        """The time of each streamed event with text."""
        request = urllib.request.Request(self.url, json.dumps(self.body).encode())
        with urllib.request.urlopen(request, timeout=600) as reply:
            for line in reply:
                if line.startswith(b"data: ") and b'"stop":false' in line:
                    yield time.perf_counter()


@contextmanager
def olla_server(model: Path, n_slots: int) -> Iterator[str]:
    port = free_port()
    with tempfile.TemporaryDirectory() as home:
        environ = {
            **os.environ,
            "HOME": home,
            "OLLAMA_HOST": f"127.0.0.1:{port}",
            "OLLAMA_NUM_PARALLEL": str(n_slots),
        }
        process = subprocess.Popen([sys.executable, "-P", "-m", "olla_tui", "serve"], env=environ)
        base = f"http://127.0.0.1:{port}"
        try:
            wait_until_answered(f"{base}/api/version", process)
            data = model.read_bytes()
            digest = "sha256:" + hashlib.sha256(data).hexdigest()
            post(f"{base}/api/blobs/{digest}", data)
            post(f"{base}/api/create", {"model": "bench", "files": {"bench.gguf": digest}, "stream": False})
            yield base
        finally:
            process.terminate()
            process.wait(30)


@contextmanager
def llama_server(binary: Path, model: Path, n_slots: int, extra: list[str]) -> Iterator[str]:
    port = free_port()
    command = [str(binary), "-m", str(model), "--port", str(port), "-np", str(n_slots)]
    command += ["-c", str(2048 * n_slots), "-b", "512", "-ub", "512", *extra]
    environ = {**os.environ, "LD_LIBRARY_PATH": str(binary.parent)}
    process = subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    base = f"http://127.0.0.1:{port}"
    try:
        wait_until_answered(f"{base}/health", process)
        yield base
    finally:
        process.terminate()
        process.wait(30)


def tokens_per_s(peer: Olla | LlamaServer, n_clients: int) -> float:
    """Streamed tokens of all clients over the time from the first to the last."""
    times: list[list[float]] = [[] for _ in range(n_clients)]

    def run(index: int) -> None:
        times[index].extend(peer.pieces())

    threads = [threading.Thread(target=run, args=(index,)) for index in range(n_clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stamps = sorted(stamp for client in times for stamp in client)
    return (len(stamps) - 1) / (stamps[-1] - stamps[0])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--llama-server", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--peer-args", default="--no-repack", help="more arguments for llama-server")
    args = parser.parse_args()
    for n_clients in args.clients:
        with (
            olla_server(args.model, n_clients) as ours,
            llama_server(args.llama_server, args.model, n_clients, args.peer_args.split()) as theirs,
        ):
            pair = (Olla(ours, args.tokens), LlamaServer(theirs, args.tokens))
            for peer in pair:
                tokens_per_s(peer, n_clients)
            rounds = []
            for number in range(args.rounds):
                order = pair if number % 2 == 0 else pair[::-1]
                speeds = {peer.name: tokens_per_s(peer, n_clients) for peer in order}
                rounds.append((speeds["olla"], speeds["llama-server"]))
                print(
                    f"  {n_clients} clients, round {number}: {rounds[-1][0]:.1f} / {rounds[-1][1]:.1f}",
                    flush=True,
                )
            ratio = statistics.median(a / b for a, b in rounds)
            mine = statistics.median(a for a, _ in rounds)
            peers = statistics.median(b for _, b in rounds)
            print(
                f"{args.model.name}, {n_clients} clients: olla {mine:.1f} tok/s, "
                f"llama-server {peers:.1f} tok/s, ratio {ratio:.3f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
