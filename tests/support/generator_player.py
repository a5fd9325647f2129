"""Runs a generator step by step and collects what it says."""

from __future__ import annotations

import math

from server.engine.generator import Generator
from server.engine.loading import Engine
from server.ipc.messages import Failed, Finished, Step, Submit, TokenDelta
from server.types.generation import SamplingParams

FRANCE = "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
STORY = "<|im_start|>user\nTell me a story.<|im_end|>\n<|im_start|>assistant\n"
EOG = ((0, -math.inf), (2, -math.inf))
"""Biases against every token that ends a generation."""


class Player:
    """Runs a generator and collects what it says."""

    def __init__(self, engine: Engine) -> None:
        assert engine.generator is not None
        self.generator: Generator = engine.generator
        self.deltas: dict[int, list[TokenDelta]] = {}
        self.ends: dict[int, Finished | Failed] = {}
        self.steps: list[Step] = []
        self._n_requests = 0

    def submit(
        self,
        *prompt: str | tuple[int, ...],
        emitted: tuple[int, ...] = (),
        n_emitted_characters: int = -1,
        n_refused: int = 0,
        **options: object,
    ) -> int:
        self._n_requests += 1
        params = SamplingParams(**{"temperature": 0.0, **options})  # type: ignore[arg-type]
        self.generator.submit(
            Submit(
                request_id=self._n_requests,
                prompt=prompt,
                sampling=params,
                emitted=emitted,
                n_emitted_characters=n_emitted_characters,
                n_refused=n_refused,
            )
        )
        return self._n_requests

    def step(self) -> None:
        for message in self.generator.step():
            if isinstance(message, Step):
                self.steps.append(message)
                for delta in message.deltas:
                    self.deltas.setdefault(delta.request_id, []).append(delta)
            elif isinstance(message, Finished | Failed):
                assert message.request_id not in self.ends
                self.ends[message.request_id] = message

    def run(self, *prompt: str | tuple[int, ...], **options: object) -> tuple[str, Finished]:
        """Run one request to its end."""
        request_id = self.submit(*prompt, **options)  # type: ignore[arg-type]
        while request_id not in self.ends:
            self.step()
        end = self.ends[request_id]
        assert isinstance(end, Finished), end
        return self.text(request_id), end

    def text(self, request_id: int) -> str:
        return "".join(delta.text for delta in self.deltas.get(request_id, ()))

    def tokens(self, request_id: int) -> tuple[int, ...]:
        return tuple(token for delta in self.deltas.get(request_id, ()) for token in delta.tokens)


def greedy_answers(
    engine: Engine, *prompts: tuple[int, ...], n_predict: int = 8
) -> list[tuple[tuple[int, ...], int]]:
    """Answers of a tiny model, whose end is token 0, to prompts in turn, with the tokens that each found."""
    player = Player(engine)
    found: list[tuple[tuple[int, ...], int]] = []
    for number, prompt in enumerate(prompts, 1):
        _, end = player.run(prompt, n_predict=n_predict, logit_bias=((0, -1e6),))
        found.append((player.tokens(number), end.timings.n_cached_tokens))
    return found
