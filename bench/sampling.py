"""Times the choice of a token on a vocabulary of 128,256: olla's sampler, and llama.cpp's whole chain.

    python bench/sampling.py [--rounds 200] [MODEL.gguf]

Prints microseconds per token, the least of the rounds, for rows of logits as a model has them: a wide floor
and some sixty likely tokens. Both ways choose the same tokens, which is checked. With a model, of which only
the vocabulary is read, the search for all tokens that a grammar allows is timed against asking about each.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from server.engine import native
from server.engine.candidates import Candidates, Row
from server.engine.grammar import Grammar
from server.engine.logprobs import token_logprob
from server.engine.logs import LogSink
from server.engine.model import Model
from server.engine.sampler import Sampler
from server.prompts.grammar import grammar_for
from server.types.generation import SamplingParams
from tests.support.whole_chain import WholeChain

N_VOCAB = 128_256
N_CTX = 4096
OPTIONS: dict[str, dict[str, Any]] = {
    "greedy": {"temperature": 0.0},
    "greedy, repeat_penalty": {"temperature": 0.0, "repeat_penalty": 1.1},
    "top_k 40, top_p 0.9": {},
    "  and repeat_penalty": {"repeat_penalty": 1.1},
    "  and repeat_last_n -1": {"repeat_penalty": 1.1, "repeat_last_n": -1},
    "  and 20 biases": {"logit_bias": tuple((token, 1.0) for token in range(20))},
    "top_k 200": {"top_k": 200},
    "top_p 0.9 alone": {"top_k": 0},
    "min_p 0.05 alone": {"top_k": 0, "top_p": 1.0, "min_p": 0.05},
    "temperature alone": {"top_k": 0, "top_p": 1.0},
}
SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "age": {"type": "integer"},
        "tags": {"type": "array", "items": {"enum": ["red", "green", "blue"]}},
    },
    "required": ["name", "age", "tags"],
}


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """As much of a model as sampling without a grammar needs."""

    n_vocab: int = N_VOCAB

    def check_token(self, token: int) -> None:
        """All are there."""

    def piece(self, token: int, *, special: bool = False) -> bytes:
        """A text for each."""
        return b"%d" % token


def rows(n: int) -> list[Row]:
    """Rows of logits."""
    rng = np.random.default_rng(1)
    made: list[Row] = []
    for _ in range(n):
        row = rng.normal(-2.0, 2.5, N_VOCAB).astype(np.float32)
        row[rng.integers(0, N_VOCAB, 60)] += np.linspace(2, 20, 60).astype(np.float32)
        made.append(row)
    return made


def least_us(function: Callable[[Row], object], stream: list[Row]) -> float:
    """The shortest of the calls, in microseconds, after one that is not counted."""
    function(stream[0])
    least = float("inf")
    for row in stream:
        begin = time.perf_counter()
        function(row)
        least = min(least, time.perf_counter() - begin)
    return least * 1e6


def time_options(stream: list[Row]) -> None:
    """One line per set of options."""
    model = cast("Model", Vocabulary())
    prompt = np.random.default_rng(2).integers(0, N_VOCAB, N_CTX // 2).astype(np.int32)
    print(f"{'options':28}{'olla us':>10}{'chain us':>10}{'ratio':>8}")
    for name, options in OPTIONS.items():
        params = SamplingParams(seed=1, **options)
        sampler = Sampler(model, params, N_CTX, Candidates(N_VOCAB))
        chain = WholeChain(N_VOCAB, params, N_CTX)
        sampler.accept_prompt(prompt)
        for token in prompt:
            chain.accept(int(token))
        if any(sampler.sample(row) != chain.sample(row) for row in stream[:20]):
            raise SystemExit(f"{name}: the chain chose another token")
        ours, whole = least_us(sampler.sample, stream), least_us(chain.sample, stream)
        print(f"{name:28}{ours:10.0f}{whole:10.0f}{ours / whole:8.2f}")
        sampler.close()
        chain.close()
    for n_top in (0, 5, 20):
        took = least_us(partial(logprob, model, n_top), stream)
        print(f"{f'logprobs, {n_top} alternatives':28}{took:10.0f}")


def logprob(model: Model, n_top: int, row: Row) -> object:
    """As for a token of a reply."""
    return token_logprob(model, row, 7, n_top)


def time_grammar(path: str) -> None:
    """The search along a walk through a schema's grammar."""
    params = native.model_default_params()
    params.vocab_only = True
    address = native.model_load_from_file(path.encode(), params)
    if not address:
        raise SystemExit(f"{path} cannot be loaded")
    model = Model(address)
    candidates = Candidates(model.n_vocab)
    grammar = Grammar(model, grammar_for(SCHEMA), (), candidates)
    grammar.all_allowed()
    rng = np.random.default_rng(3)
    print(f"\n{'after':>12}{'allowed':>10}{'search us':>12}{'each us':>12}")
    piece = b""
    for _ in range(40):
        searches = [timed(grammar.all_allowed) for _ in range(20)]
        each_us, mask = timed(lambda: grammar.mask(candidates.all_ids))
        allowed = np.flatnonzero(mask)
        found = searches[0][1]
        if found is not None and not np.array_equal(found, allowed):
            raise SystemExit("the search found other tokens")
        cost = f"{min(took for took, _ in searches):10.0f}" + ("  " if found is not None else " *")
        print(f"{piece!r:>12.12}{len(allowed):10}{cost:>12}{each_us:12.0f}")
        token = int(rng.choice(allowed))
        if model.is_eog(token):
            break
        grammar.accept(token)
        piece = model.piece(token)
    print("* left to the likeliest tokens")
    grammar.close()


def timed(function: Callable[[], Any]) -> tuple[float, Any]:
    """Microseconds, and what the function returned."""
    begin = time.perf_counter()
    made = function()
    return (time.perf_counter() - begin) * 1e6, made


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", nargs="?", help="a GGUF whose vocabulary grammars are timed on")
    parser.add_argument("--rounds", type=int, default=200)
    arguments = parser.parse_args()
    log = LogSink()
    log.install()
    native.backend_init()
    stream = rows(min(arguments.rounds, 50)) * max(1, arguments.rounds // 50)
    time_options(stream)
    if arguments.model:
        time_grammar(arguments.model)


if __name__ == "__main__":
    main()
