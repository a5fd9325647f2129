"""Chooses the drafts of a step and keeps count of what became of them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

import numpy as np

from server.engine.batch import TokenArray
from server.engine.draft import (
    FORCED,
    MAX_DRAFT_TOKENS,
    Asking,
    Match,
    StepCosts,
    best_draft_length,
    best_match,
    promised,
)
from server.engine.draft_model import DraftModel
from server.engine.generation import Generation
from server.engine.kv_cache import SlotCache
from server.engine.memory_policy import PoolPolicy
from server.engine.model_drafter import Expected, ModelDrafter

_LONG_MATCH_TOKENS: Final = 16
"""Equal tokens after which a guess is good enough to measure a step with it."""

_NEARLY_SURE: Final = 0.97
"""Where even guesses that come true so often would not pay, none is looked for."""


_PAYING_STEPS: Final = 8
"""Steps after which it is looked at again whether any guess would pay; a look takes 30 us."""


class Drafter:
    """Drafts for all requests of one context."""

    def __init__(
        self,
        cache: SlotCache,
        *,
        n_ctx: int,
        n_rows_max: int,
        costs: StepCosts | None = None,
        pool: PoolPolicy | None = None,
        model: DraftModel | None = None,
    ) -> None:
        """`pool`: the promises that drafts have to keep to, where the slots share their cells.

        `model`: guesses too.
        """
        self._pool = pool
        self._cache = cache
        self._n_ctx = n_ctx
        self._n_rows_max = n_rows_max
        self._costs = costs or StepCosts()
        self._model = ModelDrafter(model, cache, self._costs, n_rows_max=n_rows_max) if model else None
        self._is_paused = False
        self._asking = Asking()
        # By the rows of a step without a draft and the tokens that it yields for others: what was found of
        # late, and for how many more steps it is believed.
        self._paying: dict[tuple[int, int], tuple[int, bool]] = {}

    def pause(self) -> None:
        """The next step has no drafts: the last one found no room."""
        self._is_paused = True

    def measured(self, n_rows: int, seconds: float) -> None:
        """A step of decode rows alone took so long."""
        self._costs.measured(n_rows, seconds)

    def take_spent_s(self) -> float:
        """Time that a draft model has taken since this was asked last."""
        return self._model.take_spent_s() if self._model is not None else 0.0

    def observed(self, generation: Generation, draft: Match, n_accepted: int) -> None:
        """The first `n_accepted` tokens of a draft came true."""
        generation.n_drafted += len(draft.tokens)
        generation.n_accepted += n_accepted
        if draft.n_matched == FORCED:
            self._asking.brought(n_accepted)
        if not isinstance(draft, Expected):
            generation.acceptance.observed(draft.n_matched, len(draft.tokens), n_accepted)
        elif self._model is not None:
            self._model.observed(generation, draft, n_accepted)

    def drafts(self, generations: Sequence[Generation]) -> dict[int, Match]:
        """Drafts for requests whose last token is due, by request id. Their rows fit one step."""
        if self._is_paused:
            self._is_paused = False
            return {}
        n_rows = len(generations)
        drafts: dict[int, Match] = {}
        if not any(generation.params.n_draft for generation in generations):
            return drafts
        for generation in generations:
            draft = self._draft(generation, n_rows, len(generations) - 1)
            if draft is not None:
                drafts[generation.sequence.request_id] = draft
                n_rows += len(draft.tokens)
        if self._model is None:
            return drafts
        n_most = [self._n_draft_max(generation, len(generations)) for generation in generations]
        return self._model.drafts(generations, drafts, n_most)

    def _draft(self, generation: Generation, n_rows: int, n_others: int) -> Match | None:
        n_max = self._n_draft_max(generation, n_rows)
        if n_max < 1:
            return None
        can_pay = self._can_pay(n_max, n_rows, n_others)
        if not can_pay and not self._costs.is_due(n_rows + n_max):
            return None
        found = self._match(generation, n_max)
        if not can_pay and found is not None and found.n_matched >= _LONG_MATCH_TOKENS:
            return found
        return self._better_of(generation, found, n_max, n_rows, n_others)

    def _can_pay(self, n_max: int, n_rows: int, n_others: int) -> bool:
        """Whether guesses that nearly always come true would pay."""
        n_steps, can_pay = self._paying.get((n_rows, n_others), (0, False))
        if n_steps == 0:
            if self._costs.seconds(n_rows) <= 0.0:
                return False
            can_pay = self._best_length(_NEARLY_SURE, n_max, n_rows, n_others) > 0
            n_steps = _PAYING_STEPS
        self._paying[n_rows, n_others] = (n_steps - 1, can_pay)
        return can_pay

    def _better_of(
        self, generation: Generation, found: Match | None, n_max: int, n_rows: int, n_others: int
    ) -> Match | None:
        """What was found in a text or what a grammar forces, as much of it as pays."""
        best, best_rate = None, 0.0
        forced = self._forced(generation, n_max, n_rows, n_others)
        for match in (found, forced):
            if match is None:
                continue
            probability = generation.acceptance.probability(match.n_matched)
            n = self._best_length(probability, len(match.tokens), n_rows, n_others)
            rate = promised(self._costs, probability, n, n_rows=n_rows, n_others=n_others) if n else 0.0
            if rate > best_rate:
                best, best_rate = Match(match.tokens[:n], match.n_matched), rate
        if forced is not None and (best is None or best.n_matched != FORCED):
            self._asking.brought(0)
        return best

    def _forced(self, generation: Generation, n_max: int, n_rows: int, n_others: int) -> Match | None:
        if not generation.sampler.is_constrained:
            return None
        probability = generation.acceptance.probability(FORCED)
        if not self._best_length(probability, n_max, n_rows, n_others):
            return None
        if not self._asking.is_worth_it(self._costs.seconds(n_rows)):
            return None
        begin_s = time.thread_time()
        tokens = generation.sampler.forced(n_max)
        self._asking.took(time.thread_time() - begin_s)
        if not len(tokens):
            self._asking.brought(0)
            return None
        return Match(tokens, FORCED)

    def _best_length(self, probability: float, n_available: int, n_rows: int, n_others: int) -> int:
        return best_draft_length(
            self._costs, probability, n_available=n_available, n_rows=n_rows, n_others=n_others
        )

    def _n_draft_max(self, generation: Generation, n_rows: int) -> int:
        """Most tokens of a draft: what the caller, the step, the context and the answer's bound allow."""
        n_asked = 0 if generation.sequence.is_alone else generation.params.n_draft
        slot = generation.sequence.slot
        n_free = self._n_ctx - self._cache.length(slot) - 3
        if self._pool is not None:
            n_free = min(n_free, self._pool.room(slot) - 1)
        return min(
            MAX_DRAFT_TOKENS if n_asked < 0 else min(n_asked, MAX_DRAFT_TOKENS),
            self._n_rows_max - n_rows,
            n_free,
            generation.n_output_max - generation.n_output - 1,
        )

    def _match(self, generation: Generation, n_max: int) -> Match | None:
        slot = generation.sequence.slot
        own: TokenArray = np.append(self._cache.tokens(slot), np.int32(generation.last_token))
        others = [self._cache.tokens(other) for other in range(self._cache.n_slots) if other != slot]
        return best_match(own, [other for other in others if len(other)], n_max)
