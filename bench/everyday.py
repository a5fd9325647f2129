"""What a user waits for besides decoding, beside a real Ollama where its binary is given, A and B in turn.

    python bench/everyday.py [--ollama PATH] [--model 60m.gguf] [--rounds 10]

Measured are the first token of a model that is not loaded (the bundled spark, or another, unloaded before
each request), `list` against a running server as a whole process (seconds and peak resident memory), and the
resident memory of a server at rest without a model.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from peers import (
    BENCH_MODEL,
    Figures,
    Olla,
    Ollama,
    OllamaApi,
    arguments,
    print_table,
    rounds_of,
)

BUNDLED = Path(__file__).parents[1] / "server" / "bundled"
BODY: dict[str, Any] = {
    "model": BENCH_MODEL,
    "messages": [{"role": "user", "content": "What is the capital of France?"}],
    "think": False,
    "options": {"temperature": 0, "num_predict": 4},
}
TIMER = (
    "import resource, subprocess, sys, time\n"
    "start = time.perf_counter()\n"
    "subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)\n"
    "print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\n"
)


def first_token_s(server: OllamaApi) -> float:
    """From a chat's request to its first streamed line, the model unloaded before."""
    server.unload()
    request = urllib.request.Request(f"{server.url}/api/chat", json.dumps(BODY).encode())
    start_s = time.perf_counter()
    with urllib.request.urlopen(request, timeout=120) as reply:
        line = reply.readline()
        taken_s = time.perf_counter() - start_s
        reply.read()
    if b'"error"' in line:
        raise SystemExit(f"{server.name}: {line!r}")
    return taken_s


def list_once(program: list[str], url: str) -> tuple[float, float]:
    """Seconds and peak MB of a whole `list` process."""
    out = subprocess.run(
        [sys.executable, "-S", "-c", TIMER, *program, "list"],
        env={**os.environ, "OLLAMA_HOST": url, "OLLAMA_NO_CLOUD": "1"},
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    per_mb = 1024 * 1024 if sys.platform == "darwin" else 1024
    return float(out[0]), int(out[1]) / per_mb


def resident_mb(server: OllamaApi) -> float:
    out = subprocess.run(
        ["ps", "-o", "rss=", "-p", str(server.process.pid)], check=True, capture_output=True, text=True
    )
    return int(out.stdout) / 1024


def measure(server: OllamaApi, program: list[str], at_rest_mb: float) -> Figures:
    seconds, megabytes = list_once(program, server.url)
    return {
        "first token of a model not loaded, s": first_token_s(server),
        "list, s": seconds,
        "list, MB": megabytes,
        "server at rest, MB": at_rest_mb,
    }


def main() -> None:
    parser = arguments(__doc__, n_rounds=10)
    parser.add_argument("--model", type=Path, default=BUNDLED / "spark.gguf")
    args = parser.parse_args()
    template = BUNDLED / "spark.gotmpl" if args.model.stem == "spark" else None
    programs: dict[OllamaApi, list[str]] = {
        Olla(args.model, template=template): [str(Path(sys.executable).parent / "olla")]
    }
    if args.ollama:
        programs[Ollama(args.ollama, args.model, template=template)] = [str(args.ollama)]
    with ExitStack() as stack:
        measures: dict[str, Callable[[], Figures]] = {}
        for server, program in programs.items():
            stack.enter_context(server)
            measures[server.name] = partial(measure, server, program, resident_mb(server))
        print_table(args.model.stem, rounds_of(measures, args.rounds, title=args.model.stem))


if __name__ == "__main__":
    main()
