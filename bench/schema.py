"""Speed of answers under a JSON schema: olla, a llama-server, and olla without a schema, in turn.

    python bench/schema.py --llama-server PATH --model 60m.gguf [--rounds 3] [--tokens 128]

Random weights with a vocabulary of 128,256 tokens are the worst case: nothing that such a model likes is
allowed, so that each token is chosen twice. "olla" decodes without guesses; a row of its own has them, which
come from what the answer repeats and from what the schema leaves no choice about.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

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

SCHEMA = {
    "type": "array",
    "minItems": 1000,
    "items": {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 12},
            "age": {"type": "integer"},
            "colour": {"enum": ["red", "green", "blue"]},
        },
        "required": ["name", "age", "colour"],
    },
}
SAMPLING: dict[str, dict[str, Any]] = {
    "greedy": {"temperature": 0},
    "temperature 0.8, top_k 40, top_p 0.9": {
        "temperature": 0.8,
        "top_k": 40,
        "top_p": 0.9,
        "min_p": 0,
        "seed": 1,
    },
}


def measure(server: Server, n_tokens: int, schema: object, **more: Any) -> Figures:
    figures: Figures = {}
    for name, options in SAMPLING.items():
        answer = server.ask(letters(16), n_tokens, schema=schema, **options, **more)
        figures[f"{name}, tok/s"] = answer.tokens_per_s
        if schema is not None and not answer.text.lstrip().startswith("["):
            raise SystemExit(f"{server.name} wrote {answer.text[:100]!r}")
    return figures


def main() -> None:
    parser = arguments(__doc__, n_rounds=3)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--tokens", type=int, default=128)
    args = parser.parse_args()
    with (
        Olla(args.model, n_slots=1) as ours,
        LlamaServer(args.llama_server, args.model) as theirs,
    ):
        measures: dict[str, Callable[[], Figures]] = {
            ours.name: partial(measure, ours, args.tokens, SCHEMA),
            theirs.name: partial(measure, theirs, args.tokens, SCHEMA),
            "olla without schema": partial(measure, ours, args.tokens, None),
            "olla with guesses": partial(measure, ours, args.tokens, SCHEMA, draft_num_predict=-1),
        }
        title = f"{args.model.stem}, JSON schema"
        print_table(title, rounds_of(measures, args.rounds, title=title))


if __name__ == "__main__":
    main()
