"""What a prompt costs whose beginning was seen before: after an unload, a crash, and for eight clients.

    python bench/prefix.py turns --model 60m.gguf [--ollama PATH] [--tokens 8000] [--rounds 3]
    python bench/prefix.py clients --model 60m.gguf [--ollama PATH] [--llama-server PATH] [--rounds 5]

Models are those of `random_model.py`, whose tokenizer makes one token of each letter.

`turns`: the first token of a long prompt that is new; then of the same conversation with another turn, while
it has its slot, after its model was unloaded, and after its worker was killed with SIGKILL. Loading the model
again is part of the last two.

`clients`: one request has put a system prompt of 1,000 tokens into memory. Then eight clients ask at once,
each with that prompt and 32 tokens of its own, for 4 tokens. Measured is the time until all are done; each
round has a system prompt of its own. A llama-server has 8 slots, Ollama its default of one.

Printed are the rounds, medians, and the median of the rounds' ratios. On a processor with AMX give Ollama
LLAMA_ARG_NO_REPACK=1.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import statistics
import string
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from peers import POLL_S, LlamaServer, free_port, post, wait_until_answered, wait_until_unloaded

OLLA = [sys.executable, "-P", "-m", "olla_tui"]
N_CLIENTS = 8
N_SYSTEM_TOKENS = 1000
N_TURN_TOKENS = 32
SAVE_TIMEOUT_S = 60.0


def words(n_tokens: int) -> str:
    return "".join(random.choices(string.ascii_lowercase + "  ", k=n_tokens))


class Program:
    """A server with Ollama's API and the model under the name "bench"."""

    def __init__(self, name: str, base: str, home: Path, n_ctx: int) -> None:
        self.name = name
        self.base = base
        self.home = home
        self.n_ctx = n_ctx

    def body(self, prompt: str, n_predict: int) -> dict[str, object]:
        options = {"temperature": 0, "num_predict": n_predict, "num_ctx": self.n_ctx}
        return {"model": "bench", "prompt": prompt, "raw": True, "options": options}

    def ask(self, prompt: str) -> None:
        post(f"{self.base}/api/generate", {**self.body(prompt, 4), "stream": False})

    def first_token_s(self, prompt: str) -> tuple[float, int]:
        """Seconds to the first streamed line, and prompt tokens that were found (0 where nobody tells)."""
        request = urllib.request.Request(
            f"{self.base}/api/generate", json.dumps(self.body(prompt, 4)).encode()
        )
        start_s = time.perf_counter()
        with urllib.request.urlopen(request, timeout=1200) as reply:
            line = reply.readline()
            taken_s = time.perf_counter() - start_s
            record = json.loads(reply.read().splitlines()[-1] if not line.startswith(b'{"error"') else line)
        if "error" in record:
            raise SystemExit(record["error"])
        return taken_s, record.get("olla", {}).get("n_cached_tokens", 0)

    def unload(self) -> None:
        post(f"{self.base}/api/generate", {"model": "bench", "keep_alive": 0, "stream": False})
        wait_until_unloaded(self.base)

    def kill_worker(self) -> None:
        """Wait until the conversation is on disk, then end the worker of the model at once."""
        deadline_s = time.monotonic() + SAVE_TIMEOUT_S
        folder = self.home / ".cache" / "olla" / "kv"
        while not any(folder.rglob("*.kv")) or any(folder.rglob("*.tmp")):
            if time.monotonic() > deadline_s:
                raise SystemExit("nothing was saved")
            time.sleep(POLL_S)
        status = json.loads(urllib.request.urlopen(f"{self.base}/olla/status", timeout=60).read())
        (model,) = status["running"]
        os.kill(model["pid"], signal.SIGKILL)


@contextmanager
def program(name: str, command: list[str], model: Path, n_ctx: int) -> Iterator[Program]:
    port = free_port()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        environ = {**os.environ, "HOME": home, "OLLAMA_HOST": f"127.0.0.1:{port}", "OLLAMA_NO_CLOUD": "1"}
        environ.pop("XDG_CACHE_HOME", None)
        process = subprocess.Popen(
            [*command, "serve"], env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        base = f"http://127.0.0.1:{port}"
        try:
            wait_until_answered(f"{base}/api/version", process)
            create(base, model)
            yield Program(name, base, Path(home), n_ctx)
        finally:
            process.terminate()
            process.wait(30)


def create(base: str, model: Path) -> None:
    data = model.read_bytes()
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    post(f"{base}/api/blobs/{digest}", data)
    post(f"{base}/api/create", {"model": "bench", "files": {"bench.gguf": digest}, "stream": False})


# Turns.


def run_turns(peer: Program, n_tokens: int) -> dict[str, tuple[float, int]]:
    """One round: seconds to the first token and tokens found, of each kind of turn."""
    peer.ask(words(16))  # the model is loaded
    text = words(n_tokens)
    figures = {"cold": peer.first_token_s(text)}
    text += words(N_TURN_TOKENS)
    figures["slot"] = peer.first_token_s(text)
    peer.unload()
    text += words(N_TURN_TOKENS)
    figures["unload"] = peer.first_token_s(text)
    if peer.name == "olla":
        peer.kill_worker()
        text += words(N_TURN_TOKENS)
        figures["kill"] = peer.first_token_s(text)
    return figures


def measure_turns(args: argparse.Namespace) -> None:
    n_ctx = args.tokens + 512
    with ExitStack() as stack:
        peers = [stack.enter_context(program("olla", OLLA, args.model, n_ctx))]
        if args.ollama:
            peers.append(stack.enter_context(program("ollama", [args.ollama], args.model, n_ctx)))
        rounds: list[dict[str, dict[str, tuple[float, int]]]] = []
        for number in range(args.rounds):
            order = peers if number % 2 == 0 else peers[::-1]
            rounds.append({peer.name: run_turns(peer, args.tokens) for peer in order})
            print(f"  round {number}: {rounds[-1]}", flush=True)
    for peer in peers:
        cold = statistics.median(figures[peer.name]["cold"][0] for figures in rounds)
        for kind in rounds[0][peer.name]:
            seconds = statistics.median(figures[peer.name][kind][0] for figures in rounds)
            ratio = statistics.median(
                figures[peer.name][kind][0] / figures[peer.name]["cold"][0] for figures in rounds
            )
            print(f"{args.model.name}, {peer.name}, {kind}: {seconds:.3f} s of {cold:.3f} s, {ratio:.3f}")


# Clients.


def all_done_s(ask: Callable[[str], None]) -> float:
    """Seconds until all clients are done, after one request with the same system prompt."""
    system = words(N_SYSTEM_TOKENS)
    ask(system + words(N_TURN_TOKENS))
    threads = [threading.Thread(target=ask, args=(system + words(N_TURN_TOKENS),)) for _ in range(N_CLIENTS)]
    start_s = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - start_s


def measure_clients(args: argparse.Namespace) -> None:
    n_ctx = 2048
    asks: dict[str, Callable[[str], None]] = {}
    with ExitStack() as stack:
        asks["olla"] = stack.enter_context(program("olla", OLLA, args.model, n_ctx)).ask
        if args.ollama:
            asks["ollama"] = stack.enter_context(program("ollama", [args.ollama], args.model, n_ctx)).ask
        if args.llama_server:
            extra = args.peer_args.split()
            server = LlamaServer(args.llama_server, args.model, n_slots=N_CLIENTS, arguments=extra)
            base = stack.enter_context(server).url

            def complete(prompt: str) -> None:
                body = {"prompt": prompt, "n_predict": 4, "temperature": 0, "ignore_eos": True}
                post(f"{base}/completion", {**body, "cache_prompt": True})

            asks["llama-server"] = complete
        for ask in asks.values():
            all_done_s(ask)
        rounds: list[dict[str, float]] = []
        for number in range(args.rounds):
            names = list(asks) if number % 2 == 0 else list(asks)[::-1]
            rounds.append({name: all_done_s(asks[name]) for name in names})
            print(f"  round {number}: {rounds[-1]}", flush=True)
    for name in asks:
        seconds = statistics.median(figures[name] for figures in rounds)
        ratio = statistics.median(figures[name] / figures["olla"] for figures in rounds)
        print(f"{args.model.name}, {N_CLIENTS} clients, {name}: {seconds:.3f} s, {ratio:.1f} x olla")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["turns", "clients"])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--ollama", help="a real Ollama's binary")
    parser.add_argument("--llama-server", type=Path)
    parser.add_argument("--peer-args", default="--no-repack", help="more arguments for llama-server")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=8000)
    args = parser.parse_args()
    if args.what == "turns":
        measure_turns(args)
    else:
        measure_clients(args)


if __name__ == "__main__":
    main()
