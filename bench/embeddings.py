"""Embeddings per second of `olla serve` beside llama-server, an Ollama, or both, A and B in turn.

    python bench/embeddings.py --model minilm.gguf [--llama-server PATH] [--ollama PATH] [--rounds 5]

All servers run at once, with one embedding model each, and are asked in turn, so that a noisy machine is
noisy for all. A round embeds 64 texts of 8 to 40 tokens (for minilm's vocabulary), once as one request and
once as 64 requests of 8 clients that keep their connections. llama-server runs with four slots, Ollama at its
defaults.
"""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from peers import BENCH_MODEL, Figures, LlamaServer, Olla, Ollama, Server, arguments, print_table, rounds_of

N_INPUTS = 64
N_CLIENTS = 8
N_SLOTS = 4
WORDS = """time person year way day thing man world life hand part child eye woman place work week case point
government company number group problem fact water house room mother area money story month book night city
business issue side kind head far black long right study war history party result change morning reason
research girl guy moment air teacher force education foot boy age policy music market sense nation
""".split()


def texts() -> list[str]:
    """64 texts of 8 to 40 tokens with those that the tokenizer puts at both ends."""
    chosen = random.Random(1)
    return [
        " ".join(chosen.choices(WORDS, k=n_tokens - 2))
        for n_tokens in (chosen.randint(8, 40) for _ in range(N_INPUTS))
    ]


class Client:
    """A connection to a server that is kept."""

    def __init__(self, server: Server) -> None:
        self._name = server.name
        self._path = "/v1/embeddings" if isinstance(server, LlamaServer) else "/api/embed"
        self._connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=600)
        self._connection.connect()

    def embed(self, inputs: Sequence[str]) -> None:
        body = json.dumps({"model": BENCH_MODEL, "input": list(inputs)}).encode()
        self._connection.request("POST", self._path, body, {"Content-Type": "application/json"})
        reply = self._connection.getresponse()
        record = json.loads(reply.read())
        vectors = record.get("embeddings") or record.get("data") or []
        if len(vectors) != len(inputs):
            raise SystemExit(f"{self._name} gave {len(vectors)} vectors for {len(inputs)} inputs: {record}")

    def close(self) -> None:
        self._connection.close()


def measure(server: Server, inputs: Sequence[str]) -> Figures:
    client = Client(server)
    start_s = time.perf_counter()
    client.embed(inputs)
    one_request_s = time.perf_counter() - start_s
    client.close()

    def run(index: int) -> None:
        for text in inputs[index::N_CLIENTS]:
            clients[index].embed([text])

    clients = [Client(server) for _ in range(N_CLIENTS)]
    threads = [threading.Thread(target=run, args=(index,)) for index in range(N_CLIENTS)]
    start_s = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    many_requests_s = time.perf_counter() - start_s
    for client in clients:
        client.close()
    return {
        "inputs/s, one request": len(inputs) / one_request_s,
        f"inputs/s, {N_CLIENTS} clients": len(inputs) / many_requests_s,
    }


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--peer-args", default="", help="more arguments for llama-server")
    args = parser.parse_args()
    inputs = texts()
    with ExitStack() as stack:
        servers: list[Server] = [stack.enter_context(Olla(args.model))]
        if args.llama_server:
            more = ("--embeddings", *args.peer_args.split())
            peer = LlamaServer(args.llama_server, args.model, n_slots=N_SLOTS, n_ctx=512, arguments=more)
            servers.append(stack.enter_context(peer))
        if args.ollama:
            servers.append(stack.enter_context(Ollama(args.ollama, args.model)))
        rounds = rounds_of({one.name: partial(measure, one, inputs) for one in servers}, args.rounds)
        print_table(f"{args.model.name}, {len(inputs)} inputs", rounds)


if __name__ == "__main__":
    main()
