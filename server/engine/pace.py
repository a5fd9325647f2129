"""How many prompt tokens a step may hold, from measured speed. Pure.

While somebody decodes, a step may take about as long as a reader does not notice; while nobody does, as
long as the server may wait for a sign of life.
"""

from __future__ import annotations

from typing import Final

from server.engine.tiles import TILE_ROWS

SHARED_STEP_S: Final = 0.12
"""Share of a step for prompts while a request decodes: a gap that a reader does not notice. Parts are the
nearest number of tiles, which makes it 0.1 to 0.16 s where more than one fits."""

LONE_STEP_S: Final = 1.0
"""Longest step of prompts alone: below the heartbeat of 2 s."""

MIN_CHUNK_TOKENS: Final = 32
"""Smaller chunks waste more time than they save: 32-token chunks doubled the time of a long prompt."""

SHARED_CHUNK_TOKENS: Final = TILE_ROWS
"""Beside others, parts of prompts are multiples of so many tokens."""

MAX_SHORT_TOKENS: Final = 4 * TILE_ROWS
"""Prompts up to this length are decoded within few steps in any case, so that beside others they take no more
of a step than `_SHORT_SHARE`: where many come and go, every stream would be held up by each of them."""

_SHORT_SHARE: Final = 0.5
"""Of the time that a step of decode rows alone takes."""

_LONG_WAIT_S: Final = 0.25
"""Where the prompts of many who wait take as long, short ones get as much of a step as long ones do: of 32 at
once with 60M the median first token comes after three quarters of the time. Where they take less, as with 200
streams of spark, nobody waits long, and the longest one in a hundred gaps would be twice as long."""

_CPU_FLOPS_PER_THREAD: Final = 2e10
"""A cautious guess, used until the first prompt was measured."""

_SMOOTHING: Final = 0.3

_MAX_DECODE_SHARE: Final = 0.5
"""Of a step that had prompts too, the most that may have gone to those who decode."""


class Pace:
    """Speed of prompts on this machine, in tokens per second."""

    def __init__(self, tokens_per_s: float) -> None:
        self.tokens_per_s = tokens_per_s
        self._decode_s = 0.0

    @classmethod
    def guess(cls, n_params: int, n_threads: int, *, on_gpu: bool) -> Pace:
        """A first guess from the size of the model."""
        flops = _CPU_FLOPS_PER_THREAD * n_threads * (100 if on_gpu else 1)
        return cls(flops / max(2.0 * n_params, 1.0))

    def n_prompt_tokens(
        self,
        *,
        someone_decodes: bool,
        n_batch: int,
        n_longest: int = MAX_SHORT_TOKENS + 1,
        n_pressing: int = 0,
    ) -> int:
        """Prompt tokens for the next step, at most `n_batch`.

        `n_longest`: tokens that the longest prompt has left. `n_pressing`: tokens of all prompts,
        where so many requests wait for their first token, beside those who decode, that longer steps can be
        in the interest of most; else 0.
        """
        unit = SHARED_CHUNK_TOKENS if someone_decodes else MIN_CHUNK_TOKENS
        seconds = SHARED_STEP_S if someone_decodes else LONE_STEP_S
        is_hurried = n_pressing >= _LONG_WAIT_S * self.tokens_per_s
        is_short = n_longest <= MAX_SHORT_TOKENS and not is_hurried
        if someone_decodes and is_short and self._decode_s > 0.0:
            seconds = min(seconds, _SHORT_SHARE * self._decode_s)
        n_units = int(self.tokens_per_s * seconds / unit + (0.5 if someone_decodes else 0.0))
        return min(max(n_units, 1) * unit, n_batch)

    def measured(self, n_tokens: int, seconds: float, *, someone_decodes: bool = False) -> None:
        """A step decoded `n_tokens` prompt tokens. Steps of a few tokens say nothing about speed.

        `someone_decodes`: the step had rows of requests that decode; as long as steps of these alone take is
        not counted for the prompt.
        """
        if n_tokens == 0:
            self._decode_s += _SMOOTHING * (seconds - self._decode_s)
        elif n_tokens >= MIN_CHUNK_TOKENS and seconds > 0:
            if someone_decodes:
                seconds -= min(self._decode_s, _MAX_DECODE_SHARE * seconds)
            self.tokens_per_s += _SMOOTHING * (n_tokens / seconds - self.tokens_per_s)
