"""Chooses the next token of one generation.

The stages and their order are llama-server's, so the same seed gives the same text: logit bias, penalties,
top-k, typical, top-p, min-p, temperature, random choice; or, with mirostat, logit bias, temperature,
mirostat.

Three shortcuts give the same tokens faster. Temperature 0 without anything that moves logits is the largest
logit. Top-k, with penalties that only lower logits, needs only the tokens that can be among the k
likeliest. And a grammar is asked about the chosen token alone first; only when it says no, about the
likeliest tokens, and about all of them only when too few of those are left for the result to be certain.
"""

from __future__ import annotations

import collections
import ctypes
import math
import secrets
from typing import Final

import numpy as np

from server.engine import native
from server.engine.batch import TokenArray
from server.engine.candidates import Candidates, Row, best_id, top_ids
from server.engine.failures import BadGrammar, BadRequest, NoMemory
from server.engine.grammar import Grammar
from server.engine.model import Model
from server.types.generation import SamplingParams

_MIROSTAT_M: Final = 100
_GRAMMAR_STAGES: Final = (128, 320)
_NEGLIGIBLE_MASS: Final = 1e-4
"""Share of probability that a constrained choice may leave out."""


class Sampler:
    """The sampler of one generation.

    Attributes:
        is_greedy: `best_id` of the row is the answer, so all such rows can be done at once.
    """

    def __init__(self, model: Model, params: SamplingParams, n_ctx: int, candidates: Candidates) -> None:
        check_params(params, model)
        self._params = params
        self._candidates = candidates
        self._last_n = n_ctx if params.repeat_last_n < 0 else min(params.repeat_last_n, n_ctx)
        self._penalises = self._last_n > 0 and (
            params.repeat_penalty != 1.0 or params.presence_penalty != 0.0 or params.frequency_penalty != 0.0
        )
        lowest = min(params.presence_penalty, params.frequency_penalty)
        self._raises = params.repeat_penalty < 1.0 or lowest < 0.0
        self._window: collections.deque[int] = collections.deque(maxlen=self._last_n)
        self._biases_up = [token for token, bias in params.logit_bias if bias > 0.0]
        self._n_biased_down = len(params.logit_bias) - len(self._biases_up)
        self._takes_best = params.temperature <= 0.0 and params.mirostat == 0 and params.typical_p >= 1.0
        self._is_argmax = self._takes_best and not self._penalises and not params.logit_bias
        self._grammar: Grammar | None = None
        self._chain = _build_chain(model, params, self._last_n if self._penalises else 0)
        if params.grammar:
            try:
                self._grammar = Grammar(model, params.grammar, params.grammar_triggers, candidates)
            except BadGrammar:
                self.close()
                raise
        self.is_greedy = self._is_argmax and self._grammar is None

    def sample(self, row: Row) -> int:
        """The next token. Raises: BadGrammar when the grammar allows no token at all."""
        token = self._draw(row)
        if self._grammar is None or self._grammar.allows(token):
            return token
        return self._draw_constrained(row, self._grammar)

    def accept(self, token: int) -> None:
        """The token was chosen, by this sampler or by an earlier worker's."""
        if self._grammar is not None:
            self._grammar.accept(token)
        if self._penalises:
            native.sampler_accept(self._chain, token)
            self._window.append(token)

    def accept_prompt(self, tokens: TokenArray) -> None:
        """The prompt counts for the penalties, not for the grammar."""
        if self._penalises:
            for token in tokens[-self._last_n :]:
                native.sampler_accept(self._chain, int(token))
                self._window.append(int(token))

    def skip_draws(self, n_tokens: int) -> None:
        """Another sampler chose `n_tokens` tokens: go on with the random numbers after those of its draws.

        A draw takes one number, whatever it is made from. Where a grammar refused what was drawn first, the
        other one took two, which is not known here: then the numbers are others of the same seed.
        """
        if self._takes_best or self._params.mirostat or self._params.seed == -1:
            return
        one = np.zeros(1, np.int32)
        for _ in range(n_tokens):
            self._candidates.load(one, np.zeros(1, np.float32))
            self._candidates.apply(self._chain)

    def close(self) -> None:
        """Free the chain and the grammar."""
        if self._chain:
            native.sampler_free(self._chain)
        if self._grammar is not None:
            self._grammar.close()

    def _draw(self, row: Row) -> int:
        if self._is_argmax:
            return best_id(row)
        ids = None
        if self._takes_best:
            ids = self._top(row, 1)
        elif self._params.top_k > 0 and self._params.mirostat == 0:
            ids = self._top(row, self._params.top_k)
        return self._choose(row, ids)

    def _choose(self, row: Row, ids: TokenArray | None) -> int:
        """Run the chain over some tokens, or all."""
        if ids is None:
            self._candidates.load(self._candidates.all_ids, row)
        else:
            self._candidates.load(ids, row[ids])
        self._candidates.apply(self._chain)
        return self._candidates.selected()

    def _top(self, row: Row, k: int) -> TokenArray | None:
        """Tokens that can be among the `k` likeliest once biases and penalties are applied; None: any can."""
        ids = top_ids(row, k + self._n_lowered())
        raised = [*self._biases_up, *(self._window if self._raises else ())]
        if ids is None or not raised:
            return ids
        return np.union1d(ids, np.array(raised, np.int32))

    def _n_lowered(self) -> int:
        """Tokens that may fall out of the likeliest, at most."""
        return self._n_biased_down + (len(self._window) if self._penalises else 0)

    def _draw_constrained(self, row: Row, grammar: Grammar) -> int:
        """A token that the grammar allows."""
        for k in _GRAMMAR_STAGES:
            ids = self._top(row, k)
            if ids is None:
                break
            allowed = ids[grammar.mask(ids)]
            if self._is_enough(row, ids, allowed):
                return self._choose_allowed(row, allowed)
        allowed = self._candidates.all_ids[grammar.mask(self._candidates.all_ids)]
        if not len(allowed):
            raise BadGrammar("the grammar allows no token at this point")
        return self._choose_allowed(row, allowed)

    def _choose_allowed(self, row: Row, allowed: TokenArray) -> int:
        if self._is_argmax:
            return int(allowed[row[allowed].argmax()])
        return self._choose(row, allowed)

    def _is_enough(self, row: Row, ids: TokenArray, allowed: TokenArray) -> bool:
        """Whether tokens outside of `ids` cannot change the choice, or only with negligible probability."""
        n_certain = len(allowed) - self._n_lowered()
        if self._takes_best:
            return n_certain >= 1
        if self._params.mirostat == 0 and 0 < self._params.top_k <= n_certain:
            return True
        if not len(allowed) or self._n_lowered() or self._biases_up or self._params.mirostat:
            return False
        best = row[allowed].max()
        temperature = max(self._params.temperature, 1e-3)
        weights = np.exp((row - best) / temperature)
        outside = float(weights.sum() - weights[ids].sum())
        return math.isfinite(outside) and outside <= _NEGLIGIBLE_MASS * float(weights[allowed].sum())


def check_params(params: SamplingParams, model: Model) -> None:
    """Raises `BadRequest` for values that llama.cpp cannot take."""
    floats = {
        "temperature": params.temperature,
        "top_p": params.top_p,
        "min_p": params.min_p,
        "typical_p": params.typical_p,
        "repeat_penalty": params.repeat_penalty,
        "presence_penalty": params.presence_penalty,
        "frequency_penalty": params.frequency_penalty,
        "mirostat_tau": params.mirostat_tau,
        "mirostat_eta": params.mirostat_eta,
    }
    for name, value in floats.items():
        if not math.isfinite(value):
            raise BadRequest(f"{name} must be a finite number")
    if params.repeat_penalty <= 0.0:
        raise BadRequest("repeat_penalty must be greater than 0")
    if params.mirostat not in (0, 1, 2):
        raise BadRequest("mirostat must be 0, 1 or 2")
    if not 0 <= params.n_top_logprobs <= 20:
        raise BadRequest("the number of top log probabilities must be between 0 and 20")
    for token, bias in params.logit_bias:
        model.check_token(token)
        if math.isnan(bias) or bias == math.inf:
            raise BadRequest("a logit bias must be a number")


def _build_chain(model: Model, params: SamplingParams, penalty_last_n: int) -> native.SamplerPointer:
    chain = native.sampler_chain_init(native.sampler_chain_default_params())
    if not chain:
        raise NoMemory("there is not enough memory for a sampler")
    for stage in _stages(model, params, penalty_last_n):
        if not stage:
            native.sampler_free(chain)
            raise BadRequest("llama.cpp refused one of the sampling options")
        native.sampler_chain_add(chain, stage)
    return chain


def _stages(model: Model, params: SamplingParams, penalty_last_n: int) -> list[native.SamplerPointer]:
    seed = secrets.randbits(32) if params.seed == -1 else params.seed & 0xFFFFFFFF
    stages: list[native.SamplerPointer] = []
    if params.logit_bias:
        biases = (native.LogitBias * len(params.logit_bias))(*params.logit_bias)
        pointer = ctypes.cast(biases, ctypes.POINTER(native.LogitBias))
        stages.append(native.sampler_init_logit_bias(model.n_vocab, len(params.logit_bias), pointer))
    if params.mirostat:
        stages.append(native.sampler_init_temp(params.temperature))
        tau, eta = params.mirostat_tau, params.mirostat_eta
        if params.mirostat == 1:
            stages.append(native.sampler_init_mirostat(model.n_vocab, seed, tau, eta, _MIROSTAT_M))
        else:
            stages.append(native.sampler_init_mirostat_v2(seed, tau, eta))
        return stages
    if penalty_last_n:
        stages.append(
            native.sampler_init_penalties(
                model.n_vocab,
                penalty_last_n,
                params.repeat_penalty,
                params.frequency_penalty,
                params.presence_penalty,
            )
        )
    stages.append(native.sampler_init_top_k(params.top_k))
    stages.append(native.sampler_init_typical(params.typical_p, 0))
    stages.append(native.sampler_init_top_p(params.top_p, 0))
    stages.append(native.sampler_init_min_p(params.min_p, 0))
    stages.append(native.sampler_init_temp_ext(params.temperature, 0.0, 1.0))
    stages.append(native.sampler_init_dist(seed))
    return stages
