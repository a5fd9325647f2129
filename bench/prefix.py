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

Printed are the rounds, medians, and the medians of the rounds' ratios: of `turns` those to a new prompt.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from peers import (
    POLL_S,
    Answer,
    Figures,
    LlamaServer,
    Olla,
    Ollama,
    OllamaApi,
    Server,
    ask_at_once,
    get,
    letters,
    print_table,
    rounds_of,
)

N_CLIENTS = 8
N_SYSTEM_TOKENS = 1000
N_TURN_TOKENS = 32
N_ANSWER_TOKENS = 4
SAVE_TIMEOUT_S = 60.0
CACHE = ".cache"
"""Folder of olla's cache below the home of a server."""


def servers(args: argparse.Namespace, n_ctx: int) -> list[OllamaApi]:
    # Without XDG_CACHE_HOME the cache is below the server's own home, and not the caller's.
    olla = Olla(args.model, n_ctx=n_ctx, environ={"XDG_CACHE_HOME": ""})
    return [olla, Ollama(args.ollama, args.model, n_ctx=n_ctx)] if args.ollama else [olla]


# Turns.


def kill_worker(olla: Server) -> None:
    """Wait until the conversation is on disk, then end the worker of the model at once."""
    deadline_s = time.monotonic() + SAVE_TIMEOUT_S
    folder = olla.home / CACHE / "olla" / "kv"
    while not any(folder.rglob("*.kv")) or any(folder.rglob("*.tmp")):
        if time.monotonic() > deadline_s:
            raise SystemExit("nothing was saved")
        time.sleep(POLL_S)
    (model,) = get(f"{olla.url}/olla/status")["running"]
    os.kill(model["pid"], signal.SIGKILL)


def run_turns(peer: OllamaApi, n_tokens: int) -> dict[str, tuple[float, int]]:
    """One round, by kind of turn: seconds to the first token, and tokens found (0 where nobody tells)."""

    def first_token() -> tuple[float, int]:
        answer = peer.ask(text, N_ANSWER_TOKENS)
        return answer.first_token_s, answer.record.get("olla", {}).get("n_cached_tokens", 0)

    peer.ask(letters(16), N_ANSWER_TOKENS)  # the model is loaded
    text = letters(n_tokens)
    figures = {"cold": first_token()}
    text += letters(N_TURN_TOKENS)
    figures["slot"] = first_token()
    peer.unload()
    text += letters(N_TURN_TOKENS)
    figures["unload"] = first_token()
    if isinstance(peer, Olla):
        kill_worker(peer)
        text += letters(N_TURN_TOKENS)
        figures["kill"] = first_token()
    return figures


def measure_turns(args: argparse.Namespace) -> None:
    with ExitStack() as stack:
        peers = [stack.enter_context(peer) for peer in servers(args, args.tokens + 512)]
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


def all_done(server: Server) -> Figures:
    """The time until all clients are done, after one request with the same system prompt."""
    system = letters(N_SYSTEM_TOKENS)

    def client() -> Callable[[], Answer]:
        prompt = system + letters(N_TURN_TOKENS)
        return lambda: server.ask(prompt, N_ANSWER_TOKENS)

    client()()
    clients = [client() for _ in range(N_CLIENTS)]
    start_s = time.perf_counter()
    ask_at_once(clients)
    return {"all done, s": time.perf_counter() - start_s}


def measure_clients(args: argparse.Namespace) -> None:
    with ExitStack() as stack:
        peers: list[Server] = [*servers(args, 2048)]
        if args.llama_server:
            peers.append(LlamaServer(args.llama_server, args.model, n_slots=N_CLIENTS))
        measures = {stack.enter_context(peer).name: partial(all_done, peer) for peer in peers}
        rounds = rounds_of(measures, args.rounds, title="clients")
    print_table(f"{args.model.name}, {N_CLIENTS} clients", rounds)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["turns", "clients"])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--ollama", type=Path, help="a real Ollama's binary")
    parser.add_argument("--llama-server", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=8000)
    args = parser.parse_args()
    if args.what == "turns":
        measure_turns(args)
    else:
        measure_clients(args)


if __name__ == "__main__":
    main()
