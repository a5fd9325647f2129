"""How many prompt tokens a step may hold, from measured speed. Pure.

While somebody decodes, a step may take about as long as a reader does not notice; while nobody does, as
long as the server may wait for a sign of life.
"""

from __future__ import annotations

from typing import Final

SHARED_STEP_S: Final = 0.12
"""Longest share of a step for prompts while a request decodes: a gap that a reader does not notice."""

LONE_STEP_S: Final = 1.0
"""Longest step of prompts alone: below the heartbeat of 2 s."""

MIN_CHUNK_TOKENS: Final = 32
"""Smaller chunks waste more time than they save: 32-token chunks doubled the time of a long prompt."""

MIN_SHARED_CHUNK_TOKENS: Final = 64

_CPU_FLOPS_PER_THREAD: Final = 2e10
"""A cautious guess, used until the first prompt was measured."""

_SMOOTHING: Final = 0.3


class Pace:
    """Speed of prompts on this machine, in tokens per second."""

    def __init__(self, tokens_per_s: float) -> None:
        self.tokens_per_s = tokens_per_s

    @classmethod
    def guess(cls, n_params: int, n_threads: int, *, on_gpu: bool) -> Pace:
        """A first guess from the size of the model."""
        flops = _CPU_FLOPS_PER_THREAD * n_threads * (100 if on_gpu else 1)
        return cls(flops / max(2.0 * n_params, 1.0))

    def n_prompt_tokens(self, *, someone_decodes: bool, n_batch: int) -> int:
        """Prompt tokens for the next step: a multiple of 32, at most `n_batch`."""
        seconds = SHARED_STEP_S if someone_decodes else LONE_STEP_S
        floor = MIN_SHARED_CHUNK_TOKENS if someone_decodes else MIN_CHUNK_TOKENS
        n_fitting = int(self.tokens_per_s * seconds) // MIN_CHUNK_TOKENS * MIN_CHUNK_TOKENS
        return min(max(n_fitting, floor), n_batch)

    def measured(self, n_tokens: int, seconds: float) -> None:
        """A step decoded `n_tokens` prompt tokens. Steps of a few tokens say nothing about speed."""
        if n_tokens >= MIN_CHUNK_TOKENS and seconds > 0:
            self.tokens_per_s += _SMOOTHING * (n_tokens / seconds - self.tokens_per_s)
