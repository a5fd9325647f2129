"""Chooses the next token of one generation.

What is chosen is what llama.cpp's whole chain (`server.engine.chain`) chooses for the same seed, found in
less time: biases and penalties are applied to the few tokens that they concern, and the rest of the chain is
run over the tokens that can be chosen. Where rounding or equal logits could make a difference, it is run
over the whole vocabulary.

A grammar is llama-server's too: a token is drawn without it, and only when the grammar does not allow that
token another is drawn among those that it allows. These are found by a search, or, where they are many,
among the likeliest tokens.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from server.engine.batch import TokenArray
from server.engine.candidates import (
    MAX_TOP,
    Candidates,
    Row,
    best_id,
    distinct_top_ids,
    has_ties,
    min_p_ids,
    nucleus_of,
    top_ids,
)
from server.engine.chain import Chain
from server.engine.failures import BadGrammar, DecodeFailed
from server.engine.grammar import Grammar
from server.engine.likeliest import Likeliest, likeliest_of_rows
from server.engine.model import Model
from server.engine.prompt import control_tokens
from server.types.generation import SamplingParams

Known = int | Likeliest | None
"""Of a row: the first of its largest logits, its likeliest tokens, or nothing."""

_LIKELIEST: Final = (128, 320, 4096)
"""Tokens that a grammar is asked about in turn, before it is asked about all."""

NEGLIGIBLE_MASS: Final = 1e-4
"""Share of probability that a constrained choice without top-k, top-p and min-p may leave out."""


class _By(enum.Enum):
    """What bounds the tokens that can be chosen."""

    BEST = enum.auto()
    TOP_K = enum.auto()
    TOP_P = enum.auto()
    MIN_P = enum.auto()
    NOTHING = enum.auto()
    HISTORY = enum.auto()  # mirostat, or typical over the whole vocabulary: every token counts


class Sampler:
    """The sampler of one generation.

    Attributes:
        is_greedy: `best_id` of the row is the answer, so all such rows can be done at once.
        n_likeliest: the answer is one of so many likeliest tokens of the row, so all such rows can be looked
            through at once; 0 where more counts than these.
        remembers: what was chosen counts for what is chosen next.
        was_refused: the last token was drawn twice, because the grammar refused what was drawn first.
    """

    def __init__(self, model: Model, params: SamplingParams, n_ctx: int, candidates: Candidates) -> None:
        self._params = params
        self._candidates = candidates
        self._chain = Chain(model, params, n_ctx)
        self._by = _bound_of(params, self._chain)
        self._grammar: Grammar | None = None
        if params.grammar:
            try:
                shown = control_tokens(model, params.preserved_tokens)
                self._grammar = Grammar(model, params.grammar, params.grammar_triggers, candidates, shown)
            except BadGrammar:
                self.close()
                raise
        moves = self._chain.moves_logits
        self.was_refused = False
        self.remembers = self._grammar is not None or self._chain.penalises
        self.is_greedy = self._by is _By.BEST and not moves and self._grammar is None
        is_top_k = self._by is _By.TOP_K and not moves and self._grammar is None
        self.n_likeliest = params.top_k if is_top_k and params.top_k <= MAX_TOP else 0

    def sample(self, row: Row) -> int:
        """The next token. The row is as before afterwards.

        Raises: BadGrammar when the grammar allows no token at all, DecodeFailed for logits that are not
        numbers.
        """
        if not self._chain.moves_logits:
            return self._sample(row)
        ids, before = self._chain.move_logits(row, self._candidates)
        try:
            return self._sample(row)
        finally:
            row[ids] = before

    def sample_of(self, likeliest: Likeliest) -> int:
        """As `sample` of a row of which the `n_likeliest` likeliest are known."""
        return self._choose(*likeliest)

    def accept(self, token: int) -> None:
        """The token was chosen, by this sampler or by an earlier worker's."""
        if self._grammar is not None:
            self._grammar.accept(token)
        self._chain.accept(token)

    def accept_prompt(self, tokens: TokenArray) -> None:
        """The prompt counts for the penalties, not for the grammar."""
        self._chain.accept_prompt(tokens)

    @property
    def is_constrained(self) -> bool:
        """Whether a grammar says what may come next."""
        return self._grammar is not None and self._grammar.is_awake

    def forced(self, n_max: int) -> TokenArray:
        """Tokens of the text that a grammar leaves no choice about: see `Grammar.forced`."""
        return np.empty(0, np.int32) if self._grammar is None else self._grammar.forced(n_max)

    def skip_draws(self, n_draws: int) -> None:
        """Another sampler of the same seed made `n_draws` draws: go on with the random numbers after them."""
        if self._by is not _By.BEST and self._params.mirostat == 0 and self._params.seed != -1:
            self._chain.skip_draws(n_draws, self._candidates)

    def close(self) -> None:
        """Free the chain and the grammar."""
        self._chain.close()
        if self._grammar is not None:
            self._grammar.close()

    def _sample(self, row: Row) -> int:
        token = self._draw(row)
        if self._grammar is None or self._grammar.allows(token):
            self.was_refused = False
            return token
        self.was_refused = True
        return self._draw_allowed(row, self._grammar)

    # Without regard to a grammar.

    def _draw(self, row: Row) -> int:
        match self._by:
            case _By.BEST:
                return best_id(row)
            case _By.TOP_K:
                ids = distinct_top_ids(row, self._params.top_k)
            case _By.TOP_P:
                ids = self._candidates.nucleus(row, self._params.top_p)
            case _By.MIN_P:
                ids = min_p_ids(row, self._params.min_p)
            case _:
                ids = None
        if ids is None:
            if math.isnan(row.max()):
                raise DecodeFailed("the model gave logits that are not numbers")
            return self._choose(self._candidates.all_ids, row)
        return self._choose(ids, row[ids], is_nucleus=self._by is _By.TOP_P)

    def _choose(self, ids: TokenArray, logits: Row, *, is_nucleus: bool = False) -> int:
        self._candidates.load(ids, logits, is_sorted=is_nucleus)
        return self._chain.choose(self._candidates, filtered=is_nucleus)

    # Among what a grammar allows.

    def _draw_allowed(self, row: Row, grammar: Grammar) -> int:
        likeliest = iter(_LIKELIEST)
        if self._by is _By.BEST:  # one allowed token is enough
            token = self._draw_likely(row, grammar, next(likeliest))
            if token is not None:
                return token
        allowed = grammar.all_allowed()
        if allowed is not None and len(allowed):
            return self._draw_of_all(row, allowed)
        if self._by is not _By.HISTORY:
            for k in likeliest:
                token = self._draw_likely(row, grammar, k)
                if token is not None:
                    return token
        allowed = self._candidates.all_ids[grammar.mask(self._candidates.all_ids)]
        if not len(allowed):
            raise BadGrammar("the grammar allows no token at this point")
        return self._draw_of_all(row, allowed)

    def _draw_of_all(self, row: Row, allowed: TokenArray) -> int:
        """A choice among all allowed tokens, in the order of their ids."""
        logits = row[allowed]
        best = int(logits.argmax())
        # The grammar may allow nothing but what is forbidden otherwise, as ends are by `ignore_eos`.
        if self._by is _By.BEST or logits[best] == -np.inf:
            return int(allowed[best])
        n_ordered = self._params.top_k if self._by is _By.TOP_K else len(allowed)
        if self._by in (_By.TOP_K, _By.TOP_P) and has_ties(logits, n_ordered):
            masked = np.full_like(row, -np.inf)
            masked[allowed] = logits
            return self._choose(self._candidates.all_ids, masked)
        return self._choose(allowed, logits)

    def _draw_likely(self, row: Row, grammar: Grammar, k: int) -> int | None:
        """A choice among the allowed ones of the `k` likeliest; None when others could change it."""
        ids = _likeliest(row, k)
        if ids is None:
            return None
        allowed = ids[grammar.mask(ids)]
        if not len(allowed):
            return None
        logits = row[allowed]
        match self._by:
            case _By.BEST:
                return int(allowed[logits.argmax()])
            case _By.TOP_K:
                n = self._params.top_k
                certain = len(allowed) >= n and not has_ties(logits, n)
            case _By.TOP_P:
                outside = self._mass_outside(row, ids, float(logits.max()))
                nucleus = nucleus_of(allowed, logits, self._params.top_p, outside)
                return None if nucleus is None else self._choose(nucleus, row[nucleus], is_nucleus=True)
            case _By.MIN_P:
                certain = row[ids].min() < logits.max() + math.log(self._params.min_p) - 1e-3
            case _:
                largest, temperature = float(logits.max()), self._params.temperature
                inside = float(np.exp((logits - largest) / temperature).sum())
                certain = self._mass_outside(row, ids, largest, temperature) <= NEGLIGIBLE_MASS * inside
        return self._choose(allowed, logits) if certain else None

    def _mass_outside(self, row: Row, ids: TokenArray, largest: float, temperature: float = 1.0) -> float:
        """Sum of exp((logit - largest) / temperature) over all tokens but these; inf where it overflows."""
        weights = self._candidates.weights(row, temperature)
        weights[ids] = 0.0
        factor = (float(row.max()) - largest) / temperature
        return float(weights.sum()) * math.exp(factor) if factor < 700.0 else math.inf


def known_of_rows(rows: Row, samplers: Sequence[Sampler]) -> list[Known]:
    """What can be found out of all rows at once for their samplers; nothing where these differ.

    `rows`: [n, n_vocab] float32. There may be more rows than samplers, where some have several.
    """
    if all(sampler.is_greedy for sampler in samplers):
        return _best_of_rows(rows)
    k = samplers[0].n_likeliest
    if k and all(sampler.n_likeliest == k for sampler in samplers):
        return list(likeliest_of_rows(rows, k))
    return [None] * len(rows)


def _best_of_rows(rows: Row) -> list[Known]:
    """The first of the largest logits of each row; None where one is not a number: that is the largest."""
    logit = rows.item
    best = enumerate(rows.argmax(1).tolist())
    return [token if logit(row, token) == logit(row, token) else None for row, token in best]


def _bound_of(params: SamplingParams, chain: Chain) -> _By:
    if chain.takes_best:
        return _By.BEST
    if params.mirostat:
        return _By.HISTORY
    if params.top_k > 0:
        return _By.TOP_K
    if params.typical_p < 1.0:
        return _By.HISTORY
    if params.top_p < 1.0:
        return _By.TOP_P
    return _By.MIN_P if 0.0 < params.min_p <= 1.0 else _By.NOTHING


def _likeliest(row: Row, k: int) -> TokenArray | None:
    """Ids of all tokens that reach the logit of the k-th likeliest, ascending; None when that is all."""
    ids = top_ids(row, k)
    if ids is None and k < len(row) // 4:
        bound = np.partition(row, -k)[-k]
        ids = np.flatnonzero(row >= bound).astype(np.int32)
    return ids
