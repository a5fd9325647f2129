"""llama.cpp's whole chain over the whole vocabulary, built here anew: what shortcuts are compared with."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from server.engine import native
from server.engine.candidates import Candidates, Row
from server.engine.failures import BadRequest
from server.engine.model import Model
from server.types.generation import SamplingParams


@dataclass(frozen=True, eq=False)
class _Vocabulary:
    """As much of a model as sampling without a grammar needs."""

    n_vocab: int

    def check_token(self, token: int) -> None:
        if not 0 <= token < self.n_vocab:
            raise BadRequest(f"there is no token {token}")


def vocabulary_of(n_vocab: int) -> Model:
    return cast("Model", _Vocabulary(n_vocab))


class WholeChain:
    """llama-server's chain; at temperature 0 with llama.cpp's greedy sampler at its end."""

    def __init__(self, n_vocab: int, params: SamplingParams, n_ctx: int) -> None:
        self._candidates = Candidates(n_vocab)
        self._chain = native.sampler_chain_init(native.sampler_chain_default_params())
        for stage in _stages(n_vocab, params, n_ctx):
            native.sampler_chain_add(self._chain, stage)

    def sample(self, row: Row, allowed: npt.NDArray[np.bool_] | None = None) -> int:
        """The token that the chain chooses; `allowed`: what a grammar leaves of the vocabulary."""
        masked = row if allowed is None else np.where(allowed, row, np.float32(-np.inf))
        self._candidates.load(self._candidates.all_ids, masked)
        self._candidates.apply(self._chain)
        return self._candidates.selected()

    def accept(self, token: int) -> None:
        native.sampler_accept(self._chain, token)

    def close(self) -> None:
        native.sampler_free(self._chain)


def _stages(n_vocab: int, params: SamplingParams, n_ctx: int) -> list[Any]:
    stages: list[Any] = []
    if params.logit_bias:
        summed: dict[int, float] = {}
        for token, bias in params.logit_bias:
            summed[token] = summed.get(token, 0.0) + bias
        biases = (native.LogitBias * len(summed))(*summed.items())
        pointer = ctypes.cast(biases, ctypes.POINTER(native.LogitBias))
        stages.append(native.sampler_init_logit_bias(n_vocab, len(summed), pointer))
    if params.mirostat:
        stages.append(native.sampler_init_temp(params.temperature))
        tau, eta = params.mirostat_tau, params.mirostat_eta
        if params.mirostat == 1:
            stages.append(native.sampler_init_mirostat(n_vocab, params.seed, tau, eta, 100))
        else:
            stages.append(native.sampler_init_mirostat_v2(params.seed, tau, eta))
        return stages
    last_n = n_ctx if params.repeat_last_n < 0 else min(params.repeat_last_n, n_ctx)
    penalties = (params.repeat_penalty, params.frequency_penalty, params.presence_penalty)
    stages.append(native.sampler_init_penalties(n_vocab, last_n, *penalties))
    if params.temperature <= 0.0 and params.typical_p >= 1.0:
        return [*stages, native.sampler_init_greedy()]
    return [
        *stages,
        native.sampler_init_top_k(params.top_k),
        native.sampler_init_typical(params.typical_p, 0),
        native.sampler_init_top_p(params.top_p, 0),
        native.sampler_init_min_p(params.min_p, 0),
        native.sampler_init_temp_ext(params.temperature, 0.0, 1.0),
        native.sampler_init_dist(params.seed),
    ]
