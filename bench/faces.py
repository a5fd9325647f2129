"""What the API's faces cost: the first byte of a short prompt in the cache, and each chunk of a stream.

    python bench/faces.py --llama-server PATH [--ollama PATH] [--model spark.gguf] [--rounds 9]

One client, with a connection for each request, as llama-server closes it after a stream. A first byte is
that of the reply's body, the median of 30 requests for one token; each route is asked beside the peer's
of the same form. Chunks are those of 400 tokens, in microseconds per token from the first record to the
last, as the client sees them. The model is small, so that next to nothing of it is the model's work.
"""

from __future__ import annotations

import http.client
import json
import statistics
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any

from peers import BENCH_MODEL, Figures, LlamaServer, Olla, Ollama, Server, arguments, print_table, rounds_of

BUNDLED = Path(__file__).parents[1] / "server" / "bundled"
N_FIRST_BYTES = 30
N_TOKENS = 400
QUESTION = "What is the capital of France?"
TIMEOUT_S = 60.0

CHAT: dict[str, Any] = {
    "model": BENCH_MODEL,
    "messages": [{"role": "user", "content": QUESTION}],
    "stream": True,
}
NATIVE_CHAT = {**CHAT, "think": False, "options": {"temperature": 0, "num_predict": 1, "num_ctx": 2048}}
OPENAI_CHAT = {**CHAT, "temperature": 0, "max_tokens": 1, "reasoning_effort": "none"}
NATIVE_TEXT = {
    "model": BENCH_MODEL,
    "prompt": QUESTION,
    "raw": True,
    "options": {"temperature": 0, "num_predict": 1, "num_ctx": 2048},
}
OPENAI_TEXT = {
    "model": BENCH_MODEL,
    "prompt": QUESTION,
    "temperature": 0,
    "max_tokens": 1,
    "stream": True,
}
LLAMA_TEXT = {"prompt": QUESTION, "temperature": 0, "n_predict": 1, "stream": True, "cache_prompt": True}

FIRST_BYTES: dict[str, dict[str, tuple[str, dict[str, Any]]]] = {
    "native chat": {
        "olla": ("/api/chat", NATIVE_CHAT),
        "ollama": ("/api/chat", NATIVE_CHAT),
        "llama-server": ("/v1/chat/completions", OPENAI_CHAT),
    },
    "native completion": {
        "olla": ("/api/generate", NATIVE_TEXT),
        "ollama": ("/api/generate", NATIVE_TEXT),
        "llama-server": ("/completion", LLAMA_TEXT),
    },
    "/v1 chat": dict.fromkeys(("olla", "ollama", "llama-server"), ("/v1/chat/completions", OPENAI_CHAT)),
    "/v1 completion": dict.fromkeys(("olla", "ollama", "llama-server"), ("/v1/completions", OPENAI_TEXT)),
}
CHUNKS: dict[str, dict[str, tuple[str, dict[str, Any]]]] = {
    "native": {
        "olla": (
            "/api/generate",
            {
                **NATIVE_TEXT,
                "options": {
                    "temperature": 0,
                    "num_predict": N_TOKENS,
                    "num_ctx": 2048,
                    "ignore_eos": True,
                    "draft_num_predict": 0,
                },
            },
        ),
        "llama-server": ("/completion", {**LLAMA_TEXT, "n_predict": N_TOKENS, "ignore_eos": True}),
    },
    "/v1": dict.fromkeys(
        ("olla", "llama-server"),
        (
            "/v1/chat/completions",
            {**OPENAI_CHAT, "max_tokens": N_TOKENS, "ignore_eos": True, "draft_num_predict": 0},
        ),
    ),
}


def stamps_of(server: Server, path: str, body: Mapping[str, Any]) -> list[float]:
    """Seconds from the request to each line of the reply's body that is not empty."""
    data = json.dumps(body).encode()
    connection = http.client.HTTPConnection("127.0.0.1", int(server.url.rpartition(":")[2]), TIMEOUT_S)
    with closing(connection):
        sent_s = time.perf_counter()
        connection.request("POST", path, data, {"Content-Type": "application/json"})
        reply = connection.getresponse()
        stamps: list[float] = []
        while line := reply.readline():
            if len(line) > 2:
                stamps.append(time.perf_counter() - sent_s)
                if reply.status != 200 or b'"error"' in line[:20]:
                    raise SystemExit(f"{server.name} {path}: {line!r}")
    return stamps


def first_byte_ms(server: Server, path: str, body: Mapping[str, Any]) -> Figures:
    taken = [stamps_of(server, path, body)[0] for _ in range(N_FIRST_BYTES)]
    return {"first byte, ms": statistics.median(taken) * 1e3}


def chunk_us(server: Server, path: str, body: Mapping[str, Any]) -> Figures:
    stamps = stamps_of(server, path, body)
    return {
        "a token, us": (stamps[-1] - stamps[0]) / (N_TOKENS - 1) * 1e6,
        "records": float(len(stamps)),
    }


def main() -> None:
    parser = arguments(__doc__, n_rounds=9)
    parser.add_argument("--model", type=Path, default=BUNDLED / "spark.gguf")
    args = parser.parse_args()
    template = BUNDLED / "spark.gotmpl" if args.model.stem == "spark" else None
    servers: list[Server] = [Olla(args.model, template=template)]
    if args.llama_server:
        servers.append(LlamaServer(args.llama_server, args.model, arguments=["--jinja"]))
    if args.ollama:
        servers.append(Ollama(args.ollama, args.model, template=template))
    with ExitStack() as stack:
        for server in servers:
            stack.enter_context(server)
        for kind, tables in ((first_byte_ms, FIRST_BYTES), (chunk_us, CHUNKS)):
            for title, asked in tables.items():
                measures: dict[str, Callable[[], Figures]] = {
                    server.name: partial(kind, server, *asked[server.name])
                    for server in servers
                    if server.name in asked
                }
                print_table(title, rounds_of(measures, args.rounds, title=title))


if __name__ == "__main__":
    main()
