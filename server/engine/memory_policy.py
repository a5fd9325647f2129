"""Who may take how many cells of a pool that does not hold a whole context for everybody. Pure.

A request is admitted when its prompt and the beginning of its answer fit beside what the others have been
promised. While it decodes, its promise grows piece by piece. Sequences without a request are in nobody's way:
what they hold can be had. When nothing is left to promise, the promises for answers are cut to what is
needed, and then the youngest request makes way for the older ones. The oldest is never in that position, and
a whole context fits, so there is always one that gets on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from server.engine.cells import CellPool

ANSWER_TOKENS: Final = 256
"""Tokens of an answer that are promised at a time."""


class PoolPolicy:
    """The promises. `limits` says for each slot with a request how long its sequence may become."""

    def __init__(self, cells: CellPool, n_ctx: int, answer_tokens: int = ANSWER_TOKENS) -> None:
        self.cells = cells
        self._answer_tokens = answer_tokens
        self.limits: dict[int, int] = {}
        self._n_ctx = n_ctx

    def limit_for(self, n_tokens: int, n_output_max: int) -> int:
        """Tokens to promise to a prompt of `n_tokens` of which at most `n_output_max` more come."""
        return min(self._n_ctx, n_tokens + min(n_output_max, self._answer_tokens))

    def n_available(self, also: tuple[int, int] = (0, 0)) -> int:
        """Cells that are neither held nor promised. `also`: (sequence, n) whose first n would be held too."""
        promised = sum(limit - self.cells.length(slot) for slot, limit in self.limits.items())
        return self.cells.n_cells - self.cells.n_held(self.limits, also) - promised

    def fits(self, limit: int, *, source: int, n_shared: int) -> bool:
        """Whether a request may begin whose sequence grows to `limit`.

        `source`, `n_shared`: a sequence that holds the first tokens of it, and how many.
        """
        return limit - n_shared <= self.n_available((source, n_shared))

    def begin(self, slot: int, limit: int) -> None:
        """A request has a slot and the promise of so many tokens."""
        self.limits[slot] = limit

    def end(self, slot: int) -> None:
        """A slot has no request any more; what it holds can be had."""
        self.limits.pop(slot, None)

    def room(self, slot: int) -> int:
        """Tokens that a slot may still take."""
        return self.limits[slot] - self.cells.length(slot)

    def is_at_end(self, slot: int) -> bool:
        """Whether a slot was promised all of its context."""
        return self.limits[slot] >= self._n_ctx

    def grow(self, slot: int, needed: Mapping[int, int]) -> bool:
        """Promise a slot more tokens; False when there is none to promise, or its context is full.

        `needed`: for each slot with a request, the length with its prompt or its next token: what others were
        promised beyond that is taken back first.
        """
        limit = self.limits[slot]
        if limit >= self._n_ctx:
            return False
        n = self.n_available()
        if n <= 0:
            for other, least in needed.items():
                self.limits[other] = min(self.limits[other], least)
            n = self.n_available()
        if n <= 0:
            return False
        share = self._answer_tokens if n >= self._answer_tokens else max(1, n // len(self.limits))
        self.limits[slot] = min(self._n_ctx, self.limits[slot] + share)
        return True
