"""Speed of generation under a JSON schema beside that without, on one model in one process, in turn.

    python bench/constrained.py MODEL.gguf [--tokens 128] [--rounds 5]

Random weights are the worst case: nothing that such a model likes is allowed, so that each token is chosen
twice. Nothing is guessed ahead, because free text of random weights repeats itself. Printed are the medians
of milliseconds per token and the median of the rounds' ratios of speed.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from server.engine import native
from server.engine.inbox import Inbox
from server.engine.loading import Engine, open_engine
from server.engine.logs import LogSink
from server.engine.model import load_model
from server.ipc.messages import Failed, Finished, Submit
from server.prompts.grammar import grammar_for
from server.types.generation import LoadParams, ModelPaths, SamplingParams

PROMPT = "The quick brown fox"
FORMATS: dict[str, Any] = {
    "any object": "json",
    "integers": {"type": "array", "items": {"type": "integer"}, "minItems": 1000},
    "names": {"type": "array", "items": {"enum": ["red", "green", "blue"]}, "minItems": 1000},
    "objects": {
        "type": "array",
        "minItems": 1000,
        "items": {
            "type": "object",
            "properties": {"name": {"type": "string", "maxLength": 12}, "age": {"type": "integer"}},
            "required": ["name", "age"],
        },
    },
}


class Run:
    """Generates in one engine."""

    def __init__(self, engine: Engine, n_tokens: int) -> None:
        self._engine = engine
        self._n_tokens = n_tokens
        self._n_requests = 0

    def ms_per_token(self, **options: Any) -> float:
        """Milliseconds per token of one request, the prompt not counted."""
        generator = self._engine.generator
        assert generator is not None
        self._n_requests += 1
        sampling = SamplingParams(
            seed=self._n_requests, n_predict=self._n_tokens, n_draft=0, context_shift=False, **options
        )
        generator.submit(Submit(request_id=self._n_requests, prompt=(PROMPT,), sampling=sampling))
        generator.step()
        begin = time.perf_counter()
        while True:
            for message in generator.step():
                if isinstance(message, Failed):
                    raise SystemExit(f"the request failed: {message.message}")
                if isinstance(message, Finished):
                    took_ms = (time.perf_counter() - begin) * 1e3
                    return took_ms / (message.timings.n_output_tokens - 1)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    log = LogSink()
    log.install()
    native.backend_init()
    load = LoadParams(n_ctx=2048, n_gpu_layers=0)
    model = load_model(ModelPaths(model=arguments.model), load, log, lambda fraction: True)
    run = Run(open_engine(model, load, Inbox(-1), log), arguments.tokens)
    print(f"{'options':12}{'format':14}{'free ms':>10}{'format ms':>12}{'speed':>8}")
    for name, options in {"greedy": {"temperature": 0.0}, "defaults": {}, "top_p": {"top_k": 0}}.items():
        for kind, format_ in FORMATS.items():
            grammar = grammar_for(format_)
            run.ms_per_token(grammar=grammar, **options)
            pairs = [
                (run.ms_per_token(**options), run.ms_per_token(grammar=grammar, **options))
                for _ in range(arguments.rounds)
            ]
            free, bound = (statistics.median(side) for side in zip(*pairs, strict=True))
            ratio = statistics.median(one / other for one, other in pairs)
            print(f"{name:12}{kind:14}{free:10.2f}{bound:12.2f}{ratio:8.2f}", flush=True)


if __name__ == "__main__":
    main()
