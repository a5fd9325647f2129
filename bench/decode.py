"""Decode speed of `olla serve` beside a llama-server of the same llama.cpp, an Ollama, or both, in turn.

    python bench/decode.py --llama-server PATH --model 60m.gguf [--clients 1 8 32] [--rounds 5] [--tokens 128]
    python bench/decode.py --ollama PATH --model server/bundled/spark.gguf --prompt "Once upon a time"

All servers run at once, on one model each, and are asked in turn, so that a noisy machine is noisy for all.
Each client streams a greedy completion of a prompt of its own of 32 tokens, or of the one that is given. With
one client tokens per second are counted from the first to the last token; with several, all tokens over the
time from the requests to the last token, and the median of their first tokens is told.

olla decodes without drafts unless `--drafts` is given. llama-server has as many slots as there are clients,
and so has olla, whose default is 4 to 32 by memory; Ollama has its default, which is one.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from peers import (
    Figures,
    LlamaServer,
    Olla,
    Ollama,
    Server,
    arguments,
    ask_at_once,
    letters,
    print_table,
    rounds_of,
)

N_PROMPT_TOKENS = 32


def measure(server: Server, n_clients: int, n_tokens: int, prompt: str = "") -> Figures:
    answers = ask_at_once(
        [partial(server.ask, prompt or letters(N_PROMPT_TOKENS), n_tokens) for _ in range(n_clients)]
    )
    if n_clients == 1:
        return {"tok/s": answers[0].tokens_per_s}
    begin_s = min(answer.sent_s for answer in answers)
    end_s = max(answer.stamps[-1] for answer in answers)
    return {
        "tok/s": sum(answer.n_tokens for answer in answers) / (end_s - begin_s),
        "first token, s": statistics.median(answer.first_token_s for answer in answers),
    }


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--ctx", type=int, default=2048)
    parser.add_argument("--prompt", default="", help="text of the prompt in place of random letters")
    parser.add_argument("--drafts", action="store_true", help="let olla guess tokens ahead")
    parser.add_argument("--peer-args", default="", help="more arguments for llama-server")
    args = parser.parse_args()
    for n_clients in args.clients:
        with ExitStack() as stack:
            servers: list[Server] = [
                Olla(args.model, drafts=args.drafts, n_slots=n_clients, n_ctx=args.ctx),
            ]
            if args.llama_server:
                more = args.peer_args.split()
                servers.append(
                    LlamaServer(
                        args.llama_server, args.model, n_slots=n_clients, n_ctx=args.ctx, arguments=more
                    )
                )
            if args.ollama:
                servers.append(Ollama(args.ollama, args.model, n_ctx=args.ctx))
            for server in servers:
                stack.enter_context(server)
            measures: dict[str, Callable[[], Figures]] = {
                server.name: partial(measure, server, n_clients, args.tokens, args.prompt)
                for server in servers
            }
            title = f"{args.model.stem}, {n_clients} client{'s' if n_clients > 1 else ''}"
            print_table(title, rounds_of(measures, args.rounds, title=title))


if __name__ == "__main__":
    main()
