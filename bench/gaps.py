"""How long a stream stands still while a long prompt of another client arrives, beside a llama-server.

    python bench/gaps.py --llama-server PATH --model 60m.gguf [--prompts 3000 8000] [--rounds 3]

One client reads a stream; in the middle of it another one sends a prompt of so many tokens that nobody has
seen. Printed are the longest gap between two pieces of the stream until the prompt's first token, that first
token, and the pieces that the stream got meanwhile per second. Both servers have two slots; llama-server has
its default batch of 2,048 tokens unless `--peer-args` says otherwise.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

from peers import (
    Figures,
    LlamaServer,
    Olla,
    Server,
    arguments,
    letters,
    print_table,
    rounds_of,
)

N_STREAM_TOKENS = 4000
N_PIECES_BEFORE = 32
ROOM_TOKENS = 512


def measure(server: Server, n_prompt_tokens: int) -> Figures:
    stamps: list[float] = []
    flows, is_over = threading.Event(), threading.Event()

    def read() -> None:
        with closing(server.watch(letters(16), N_STREAM_TOKENS)) as pieces:
            for stamp in pieces:
                stamps.append(stamp)
                if len(stamps) >= N_PIECES_BEFORE:
                    flows.set()
                if is_over.is_set():
                    return
        flows.set()

    reader = threading.Thread(target=read)
    reader.start()
    flows.wait()
    answer = server.ask(letters(n_prompt_tokens), 2)
    is_over.set()
    reader.join()
    first_s = answer.stamps[0]
    if stamps[-1] < first_s:
        raise SystemExit(f"{server.name}: the stream ended before the prompt was decoded")
    seen = [stamp for stamp in stamps if stamp <= first_s]
    last = [max(stamp for stamp in seen if stamp <= answer.sent_s), *[s for s in seen if s > answer.sent_s]]
    after = min(stamp for stamp in stamps if stamp >= first_s)
    gaps = [later - earlier for earlier, later in zip(last, [*last[1:], after], strict=True)]
    return {
        "longest gap, s": max(gaps),
        "prompt's first token, s": answer.first_token_s,
        "stream, pieces/s": len(last) / answer.first_token_s,
    }


def main() -> None:
    parser = arguments(__doc__, n_rounds=3)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--prompts", type=int, nargs="+", default=[3000, 8000])
    parser.add_argument("--peer-args", default="", help="more arguments for llama-server")
    args = parser.parse_args()
    n_ctx = max(*args.prompts, N_STREAM_TOKENS) + ROOM_TOKENS
    with (
        Olla(args.model, n_slots=2, n_ctx=n_ctx) as ours,
        LlamaServer(
            args.llama_server, args.model, n_slots=2, n_ctx=n_ctx, arguments=args.peer_args.split()
        ) as theirs,
    ):
        for n_tokens in args.prompts:
            measures: dict[str, Callable[[], Figures]] = {
                server.name: partial(measure, server, n_tokens) for server in (ours, theirs)
            }
            title = f"{args.model.stem}, a prompt of {n_tokens} tokens"
            print_table(title, rounds_of(measures, args.rounds, title=title))


if __name__ == "__main__":
    main()
