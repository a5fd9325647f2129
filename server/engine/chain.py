"""llama.cpp's samplers for one generation, cut into parts that can be run on their own.

Run one after the other over the whole vocabulary they are llama-server's chain, so that the same seed gives
the same text: logit bias, penalties | top-k, typical, top-p | min-p, temperature, random choice. With
mirostat the chain is logit bias | temperature, mirostat; at temperature 0 it is logit bias, penalties |
largest logit, of equals the first.
"""

from __future__ import annotations

import collections
import math
import secrets
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from server.engine import native
from server.engine.batch import TokenArray
from server.engine.candidates import Candidates, Row
from server.engine.failures import BadRequest, NoMemory
from server.engine.model import Model
from server.types.generation import SamplingParams

_MIROSTAT_M: Final = 100
_MAX_MOVE: Final = 1e6
"""How far a bias or a penalty may move a logit; llama.cpp's sorting takes those beyond some 10^8 for the
smallest, and infinite ones make no probabilities."""

_COLDEST: Final = 1e-6
"""Temperatures below are 0: logits divided by them can be infinite, and the choice is the largest anyway."""

_NO_IDS: Final = np.empty(0, np.int32)


class Chain:
    """The parts of one generation's chain, and the tokens that penalties count.

    Attributes:
        takes_best: the largest logit is the answer, once biases and penalties are applied.
    """

    def __init__(self, model: Model, params: SamplingParams, n_ctx: int) -> None:
        check_params(params, model)
        last_n = n_ctx if params.repeat_last_n < 0 else min(params.repeat_last_n, n_ctx)
        penalises = last_n > 0 and params.mirostat == 0 and _has_penalties(params)
        if params.temperature < _COLDEST:
            params = msgspec.structs.replace(params, temperature=0.0)
        self.takes_best = params.temperature == 0.0 and params.mirostat == 0 and params.typical_p >= 1.0
        self._bias_ids, self._biases = _biases(params)
        self._window: collections.deque[int] = collections.deque(maxlen=last_n)
        self._counts: dict[int, int] = {}
        self._parts: list[native.SamplerPointer] = []
        self._penalties: native.SamplerPointer | None = None
        try:
            if penalises:
                self._penalties = self._part(_penalties(model, params, last_n))
            filters = None if self.takes_best or params.mirostat else self._part(*_filters(params))
            self._choice = self._part(*_choice(model, params, takes_best=self.takes_best))
            self._rest = self._choice if filters is None else self._joined(filters, self._choice)
        except (BadRequest, NoMemory):
            self.close()
            raise

    @property
    def penalises(self) -> bool:
        """Whether tokens that were chosen change logits."""
        return self._penalties is not None

    @property
    def moves_logits(self) -> bool:
        """Whether biases or penalties change logits."""
        return self._penalties is not None or len(self._bias_ids) > 0

    def accept(self, token: int) -> None:
        """The penalties count this token from now on, and no longer the one that leaves their window."""
        if self._penalties is None:
            return
        native.sampler_accept(self._penalties, token)
        self._counts[token] = self._counts.get(token, 0) + 1
        if len(self._window) == self._window.maxlen:
            oldest = self._window[0]
            self._counts[oldest] -= 1
            if not self._counts[oldest]:
                del self._counts[oldest]
        self._window.append(token)

    def accept_prompt(self, tokens: TokenArray) -> None:
        """As `accept` of each token of a prompt."""
        if self._penalties is not None and self._window.maxlen:
            for token in tokens[-self._window.maxlen :]:
                self.accept(int(token))

    def move_logits(self, row: Row, candidates: Candidates) -> tuple[TokenArray, Row]:
        """Apply biases and penalties to a row in place; returns the ids and their logits before.

        Only tokens that are biased or counted are touched, so the rest of the chain can be given few tokens
        without regard to them.
        """
        counted = np.fromiter(self._counts, np.int32, len(self._counts)) if self._counts else _NO_IDS
        ids = np.concatenate([self._bias_ids, counted])
        before = row[ids]
        if len(self._bias_ids):
            row[self._bias_ids] += self._biases
        if len(counted) and self._penalties is not None:
            candidates.load(counted, row[counted])
            candidates.apply(self._penalties)
            row[counted] = candidates.logits(len(counted))
        return ids, before

    def choose(self, candidates: Candidates, *, filtered: bool = False) -> int:
        """Run the rest of the chain over the tokens that are loaded; `filtered`: without top-k to top-p."""
        candidates.apply(self._choice if filtered else self._rest)
        return candidates.selected()

    def skip_draws(self, n_draws: int, candidates: Candidates) -> None:
        """Leave out the next random numbers; not for mirostat. A draw takes one, whatever it is made from."""
        for _ in range(n_draws):
            candidates.load(np.zeros(1, np.int32), np.zeros(1, np.float32))
            candidates.apply(self._choice)

    def close(self) -> None:
        """Free the samplers."""
        while self._parts:
            native.sampler_free(self._parts.pop())

    def _joined(self, *parts: native.SamplerPointer) -> native.SamplerPointer:
        """A part of parts, which it frees with itself."""
        joined = self._part(*parts)
        self._parts = [part for part in self._parts if part not in parts]
        return joined

    def _part(self, *stages: native.SamplerPointer) -> native.SamplerPointer:
        part = native.sampler_chain_init(native.sampler_chain_default_params())
        if not part:
            raise NoMemory("there is not enough memory for a sampler")
        self._parts.append(part)
        for stage in stages:
            if not stage:
                raise BadRequest("llama.cpp refused one of the sampling options")
            native.sampler_chain_add(part, stage)
        return part


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
    if not 1.0 / _MAX_MOVE <= params.repeat_penalty <= _MAX_MOVE:
        raise BadRequest("repeat_penalty must be greater than 0, and between 1e-6 and 1e6")
    for name in ("presence_penalty", "frequency_penalty"):
        if abs(floats[name]) > _MAX_MOVE:
            raise BadRequest(f"{name} must be between -1e6 and 1e6")
    if params.mirostat not in (0, 1, 2):
        raise BadRequest("mirostat must be 0, 1 or 2")
    if not 0 <= params.n_top_logprobs <= 20:
        raise BadRequest("the number of top log probabilities must be between 0 and 20")
    for token, bias in params.logit_bias:
        model.check_token(token)
        if math.isnan(bias) or bias > _MAX_MOVE or (bias < -_MAX_MOVE and bias != -math.inf):
            raise BadRequest(f"logit_bias of token {token} must be between -1e6 and 1e6, or minus infinity")


def _has_penalties(params: SamplingParams) -> bool:
    return (params.repeat_penalty, params.presence_penalty, params.frequency_penalty) != (1.0, 0.0, 0.0)


def _biases(params: SamplingParams) -> tuple[TokenArray, npt.NDArray[np.float32]]:
    """Ids and biases; a token that is given twice gets the sum."""
    summed: dict[int, float] = {}
    for token, bias in params.logit_bias:
        summed[token] = summed.get(token, 0.0) + bias
    return np.array(list(summed), np.int32), np.array(list(summed.values()), np.float32)


def _penalties(model: Model, params: SamplingParams, last_n: int) -> native.SamplerPointer:
    return native.sampler_init_penalties(
        model.n_vocab, last_n, params.repeat_penalty, params.frequency_penalty, params.presence_penalty
    )


def _filters(params: SamplingParams) -> list[native.SamplerPointer]:
    return [
        native.sampler_init_top_k(params.top_k),
        native.sampler_init_typical(params.typical_p, 0),
        native.sampler_init_top_p(params.top_p, 0),
    ]


def _choice(model: Model, params: SamplingParams, *, takes_best: bool) -> list[native.SamplerPointer]:
    if takes_best:
        return [native.sampler_init_greedy()]
    seed = secrets.randbits(32) if params.seed == -1 else params.seed & 0xFFFFFFFF
    tau, eta = params.mirostat_tau, params.mirostat_eta
    if params.mirostat == 1:
        chooser = native.sampler_init_mirostat(model.n_vocab, seed, tau, eta, _MIROSTAT_M)
    elif params.mirostat == 2:
        chooser = native.sampler_init_mirostat_v2(seed, tau, eta)
    else:
        temperature = native.sampler_init_temp_ext(params.temperature, 0.0, 1.0)
        return [native.sampler_init_min_p(params.min_p, 0), temperature, native.sampler_init_dist(seed)]
    return [native.sampler_init_temp(params.temperature), chooser]
