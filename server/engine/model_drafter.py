"""Asks a draft model where that promises more than what was found in the texts, and learns from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
import numpy as np

from server.engine.batch import TokenArray
from server.engine.draft import Match, StepCosts, n_expected
from server.engine.draft_choice import (
    MAX_ASKED_TOKENS,
    USUAL_PROBABILITY,
    Choice,
    Option,
    Trust,
    choose,
    is_worth_reading,
    paying_length,
)
from server.engine.draft_model import MAX_BEHIND_TOKENS, Asked, DraftModel, Guess
from server.engine.failures import EngineFailure
from server.engine.generation import Generation
from server.engine.kv_cache import SlotCache

_REST_STEPS: Final = 8
"""Steps without a look at the draft model after one in which it did not pay: a look costs 50 us."""

_TRY_AFTER: Final = 24
"""Looks in vain after which what was measured is forgotten and measured again: it may have been bad luck."""

_LEARNING: Final = 0.02
"""Share of what was learned with one draft of one request that the next requests begin with."""


class Expected(Match, frozen=True):
    """A guess of a draft model, with the probability that it gives each token."""

    confidences: tuple[float, ...] = ()


class _One(msgspec.Struct, eq=False):
    """A request in a step.

    Attributes:
        match: what was found for it.
        n_max: most tokens that may be asked for.
        n_missing: tokens that the draft model would have to read first; None: it cannot, or need not.
    """

    generation: Generation
    trust: Trust
    text: TokenArray
    match: Match | None
    n_max: int
    n_missing: int | None

    @property
    def request_id(self) -> int:
        return self.generation.sequence.request_id

    @property
    def slot(self) -> int:
        return self.generation.sequence.slot

    def option(self, *, as_if_read: bool = False) -> Option:
        """What may be guessed. `as_if_read`: as if the draft model had read all of the text."""
        can_ask = self.n_missing is not None and (as_if_read or self.n_missing <= MAX_BEHIND_TOKENS)
        n_max = self.n_max if can_ask else 0
        if self.match is None:
            return Option(n_max, self.trust.mean)
        n_found = len(self.match.tokens)
        probability = self.generation.acceptance.probability(self.match.n_matched)
        return Option(n_max, self.trust.mean, n_found, n_expected(probability, n_found))


class ModelDrafter:
    """The guesses of a draft model for all requests of one context."""

    def __init__(
        self,
        model: DraftModel,
        cache: SlotCache,
        costs: StepCosts,
        *,
        n_rows_max: int,
    ) -> None:
        """`costs`: of the model's steps. `n_rows_max`: most rows of these."""
        self._model: DraftModel | None = model
        self._cache = cache
        self._costs = costs
        self._n_rows_max = n_rows_max
        self._usual = USUAL_PROBABILITY
        self._n_rests = 0
        self._n_in_vain = 0

    def take_spent_s(self) -> float:
        """Time that the draft model has taken since this was asked last."""
        if self._model is None:
            return 0.0
        spent_s, self._model.spent_s = self._model.spent_s, 0.0
        return spent_s

    def drafts(
        self, generations: Sequence[Generation], found: Mapping[int, Match], n_most: Sequence[int]
    ) -> dict[int, Match]:
        """Drafts by request id: `found`, or better ones. `n_most`: most tokens for each request."""
        if self._model is None:
            return dict(found)
        if self._n_rests:
            self._n_rests -= 1
            for generation in generations:
                self._trust(generation).not_asked()
            return dict(found)
        try:
            return self._with_model(self._model, generations, found, n_most)
        except (EngineFailure, MemoryError) as error:  # it costs the guesses, not the requests
            self._model.failure = str(error) or "there is not enough memory for it"
            self._model.context.log.write(
                "error", f"the draft model is not used any more: {self._model.failure}"
            )
            self._model.close()
            self._model = None
            return dict(found)

    def observed(self, generation: Generation, draft: Expected, n_accepted: int) -> None:
        """The first `n_accepted` tokens of a draft came true."""
        trust = self._trust(generation)
        trust.observed(draft.confidences, n_accepted)
        self._usual += _LEARNING * (trust.mean - self._usual)

    def _with_model(
        self,
        model: DraftModel,
        generations: Sequence[Generation],
        found: Mapping[int, Match],
        n_most: Sequence[int],
    ) -> dict[int, Match]:
        ones = [
            self._one(model, generation, found.get(generation.sequence.request_id), n_max)
            for generation, n_max in zip(generations, n_most, strict=True)
        ]
        model.in_use = frozenset(one.slot for one in ones)
        if self._reads(model, ones):
            return dict(found)
        choice = self._choose(model, [one.option() for one in ones])
        if choice.n_tokens:
            self._n_in_vain = 0
            return self._verified(ones, self._ask(model, ones, choice))
        self._n_rests = _REST_STEPS
        self._n_in_vain += 1
        if self._n_in_vain == _TRY_AFTER:
            self._n_in_vain = 0
            model.forget_costs()
            self._costs.forget(more_than=len(ones))
        return dict(found)

    def _one(self, model: DraftModel, generation: Generation, match: Match | None, n_max: int) -> _One:
        slot = generation.sequence.slot
        text: TokenArray = np.append(self._cache.tokens(slot), np.int32(generation.last_token))
        n_missing = model.n_missing(slot, text) if n_max > 0 else None
        return _One(generation, self._trust(generation), text, match, min(n_max, MAX_ASKED_TOKENS), n_missing)

    def _reads(self, model: DraftModel, ones: Sequence[_One]) -> bool:
        """Have the draft model read a part of the text of which the least is missing, where that pays."""
        behind = [one for one in ones if one.n_missing is not None and one.n_missing > MAX_BEHIND_TOKENS]
        if not behind:
            return False
        one = min(behind, key=lambda one: one.n_missing or 0)
        choice = self._choose(model, [other.option(as_if_read=other is one) for other in ones])
        is_worth_it = choice.asks[ones.index(one)] and is_worth_reading(
            choice,
            self._costs.seconds(len(ones)),
            n_missing=one.n_missing or 0,
            tokens_per_s=model.tokens_per_s,
            n_left=one.generation.n_output_max - one.generation.n_output,
        )
        return is_worth_it and model.read(one.slot, one.text)

    def _ask(self, model: DraftModel, ones: Sequence[_One], choice: Choice) -> dict[int, Guess]:
        """The guesses of the draft model, by the place of the request."""
        askers = [index for index, asks in enumerate(choice.asks) if asks]
        least = choice.tokens_per_s * self._asking_s(model, len(askers)) / len(askers)
        together = [1.0] * len(askers)

        def go_on(number: int, confidence: float) -> bool:
            """Whether one more token promises more than its time would bring elsewhere."""
            trust = ones[askers[number]].trust
            together[number] *= trust.probability(confidence)
            return together[number] * trust.mean >= least

        asked = [
            Asked(ones[index].slot, ones[index].text, min(ones[index].n_max, choice.n_tokens))
            for index in askers
        ]
        return dict(zip(askers, model.guess(asked, go_on), strict=True))

    def _verified(self, ones: Sequence[_One], guesses: Mapping[int, Guess]) -> dict[int, Match]:
        """What is to be verified, by request id: of each guess as much as is worth its rows."""
        drafts = {
            one.request_id: one.match
            for index, one in enumerate(ones)
            if one.match is not None and index not in guesses
        }
        n_rows = len(ones) + sum(len(match.tokens) for match in drafts.values())
        for index, guess in guesses.items():
            one = ones[index]
            chances = [one.trust.probability(confidence) for confidence in guess.confidences]
            n = paying_length(self._costs, chances, n_rows=n_rows, n_others=len(ones) - 1)
            if n < len(chances):
                one.trust.given_up(guess.confidences[n])
            if n:
                tokens = np.array(guess.tokens[:n], np.int32)
                drafts[one.request_id] = Expected(tokens, 0, tuple(guess.confidences[:n]))
                n_rows += n
        return drafts

    def _choose(self, model: DraftModel, options: Sequence[Option]) -> Choice:
        return choose(self._costs, lambda n: self._asking_s(model, n), options, n_rows_max=self._n_rows_max)

    def _asking_s(self, model: DraftModel, n_rows: int) -> float:
        if not n_rows:
            return 0.0
        return model.step_s(n_rows) or model.size * self._costs.seconds(n_rows)

    def _trust(self, generation: Generation) -> Trust:
        if generation.trust is None:
            generation.trust = Trust(self._usual)
        return generation.trust
