"""Log probabilities are those of the softmax over the whole row."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.engine.logprobs import token_logprob
from server.engine.model import Model


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n_top=st.integers(0, 20), scale=st.floats(0.01, 60))
def test_they_are_the_softmax_and_the_likeliest_come_first(
    spark: Model, seed: int, n_top: int, scale: float
) -> None:
    rng = np.random.default_rng(seed)
    row = rng.normal(0, scale, spark.n_vocab).astype(np.float32)
    token = int(rng.integers(0, spark.n_vocab))
    exact = row.astype(np.float64) - np.logaddexp.reduce(row.astype(np.float64))
    made = token_logprob(spark, row, token, n_top)
    assert made.logprob == pytest.approx(exact[token], abs=1e-4, rel=1e-6)
    likeliest = np.argsort(-row, kind="stable")[:n_top]
    assert [top.logprob for top in made.top] == pytest.approx(exact[likeliest].tolist(), abs=1e-4, rel=1e-6)
    assert [top.token_bytes for top in made.top] == [spark.piece(int(t), special=True) for t in likeliest]
