"""Speed beside programs that keep processors busy, olla and a llama-server at its defaults in turn.

    python bench/neighbour.py --llama-server PATH --model 60m.gguf [--neighbours 1] [--rounds 3]

Decoding is that of one stream, a prompt's speed that of its tokens up to the first token of the answer.
The busy programs run from the first round to the last. `--neighbours 0` gives the figures without them.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
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


def measure(server: Server, n_prompt_tokens: int, n_tokens: int) -> Figures:
    decode = server.ask(letters(16), n_tokens).tokens_per_s
    prompt = server.ask(letters(n_prompt_tokens), 1)
    return {"decode, tok/s": decode, "prompt, tok/s": n_prompt_tokens / prompt.first_token_s}


def main() -> None:
    parser = arguments(__doc__, n_rounds=3)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--neighbours", type=int, default=1)
    parser.add_argument("--prompt", type=int, default=2000, help="tokens of the prompt")
    parser.add_argument("--tokens", type=int, default=384)
    args = parser.parse_args()
    n_ctx = args.prompt + args.tokens + 64
    with (
        Olla(args.model, n_slots=1, n_ctx=n_ctx) as ours,
        LlamaServer(args.llama_server, args.model, n_slots=1, n_ctx=n_ctx) as theirs,
    ):
        measures: dict[str, Callable[[], Figures]] = {
            server.name: partial(measure, server, args.prompt, args.tokens) for server in (ours, theirs)
        }
        busy = [
            subprocess.Popen([sys.executable, "-S", "-c", "while True: pass"]) for _ in range(args.neighbours)
        ]
        try:
            title = f"{args.model.stem}, {args.neighbours} busy beside"
            print_table(title, rounds_of(measures, args.rounds, title=title))
        finally:
            for process in busy:
                process.kill()
                process.wait()


if __name__ == "__main__":
    main()
