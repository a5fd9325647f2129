"""Memory of olla's worker and of a llama-server with the same model, slots and context.

    python bench/memory.py --model 1b-q4_0.gguf --llama-server PATH [--slots 4] [--tokens 2048] [--rounds 3]

A prompt of half a context is answered first, so that everything is in use, and a second passes, in which an
idle worker gives back what it never used. The figures are the resident set
and the part of it that no other process can share (USS), in MiB. Models are those of `random_model.py`;
those in Q4_0 are repacked by llama.cpp on many processors, and mapped they would be in memory twice.
"""

from __future__ import annotations

import time
from pathlib import Path

import psutil
from peers import Figures, LlamaServer, Olla, Server, arguments, letters, print_table, rounds_of

MIB = 1 << 20
SETTLE_S = 1.0
"""From the answer to the look: an idle worker gives memory back by then, and tells nobody that it has."""


def figures(server: Server, n_prompt: int) -> Figures:
    """Of the process that holds the model: the largest one of the server's."""
    server.ask(letters(n_prompt), 8)
    time.sleep(SETTLE_S)
    root = psutil.Process(server.process.pid)
    used = max(
        (one.memory_full_info() for one in [root, *root.children(recursive=True)]), key=lambda m: m.rss
    )
    return {"resident set, MiB": used.rss / MIB, "unshared, MiB": used.uss / MIB}


def main() -> None:
    parser = arguments(__doc__, n_rounds=3)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--slots", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=2048)
    given = parser.parse_args()
    if given.llama_server is None:
        parser.error("--llama-server is needed")

    def olla() -> Figures:
        with Olla(given.model, n_slots=given.slots, n_ctx=given.tokens) as server:
            return figures(server, given.tokens // 2)

    def llama_server() -> Figures:
        with LlamaServer(given.llama_server, given.model, n_slots=given.slots, n_ctx=given.tokens) as server:
            return figures(server, given.tokens // 2)

    rounds = rounds_of({"olla": olla, "llama-server": llama_server}, given.rounds, warms_up=False)
    print_table(f"{given.model.stem}, {given.slots} slots of {given.tokens} tokens", rounds)


if __name__ == "__main__":
    main()
