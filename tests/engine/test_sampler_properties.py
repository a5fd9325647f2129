"""What a sampler chooses is what llama.cpp's whole chain chooses, token for token, whatever the options."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from server.engine.candidates import Candidates, Row, has_ties
from server.engine.failures import BadRequest
from server.engine.sampler import Sampler, known_of_rows
from server.types.generation import SamplingParams
from tests.support.whole_chain import WholeChain, vocabulary_of

N_CTX = 300
N_COMMON = 40
"""Tokens that are often likely, in prompts and biases too."""

TOKENS = st.integers(0, N_COMMON - 1) | st.integers(0, 999)
BIASES = st.floats(-15, 15) | st.just(float("-inf"))
PENALTIES = st.just(0.0) | st.floats(-2, 2)

OPTIONS = st.fixed_dictionaries(
    {
        "temperature": st.sampled_from([0.0, 0.8]) | st.floats(0.02, 4),
        "top_k": st.sampled_from([0, 1, 40, 384, 385]) | st.integers(0, 700),
        "top_p": st.sampled_from([1.0, 0.9]) | st.floats(0, 1),
        "min_p": st.sampled_from([0.0, 0.05, 1.0]) | st.floats(0, 1.5),
        "typical_p": st.sampled_from([1.0, 1.0, 0.7]),
        "repeat_penalty": st.just(1.0) | st.floats(0.3, 2),
        "presence_penalty": PENALTIES,
        "frequency_penalty": PENALTIES,
        "repeat_last_n": st.sampled_from([-1, 0, 1, 64]) | st.integers(0, 400),
        "mirostat": st.sampled_from([0] * 12 + [1, 2]),
        "logit_bias": st.lists(st.tuples(TOKENS, BIASES), max_size=12).map(tuple),
    }
)


def rows(n_vocab: int, seed: int, shape: str, n: int) -> list[Row]:
    """A wide floor and some likely tokens, with most of the mass in a sure row; flat; or many equals."""
    rng = np.random.default_rng(seed)
    made: list[Row] = []
    for _ in range(n):
        row = rng.normal(-2.0, 2.5, n_vocab).astype(np.float32)
        if shape != "flat":
            row[rng.integers(0, n_vocab, 60)] += np.linspace(2, 20 if shape == "sure" else 14, 60).astype(
                np.float32
            )
            row[:N_COMMON] += 7.0
        if shape == "equals":
            row = np.round(row * 2) / 2
        made.append(row)
    return made


def compare(n_vocab: int, params: SamplingParams, shape: str, *, n: int = 14) -> None:
    """Choose a sequence both ways; each remembers what it chose."""
    prompt = np.random.default_rng(params.seed + 1).integers(0, N_COMMON, 90).astype(np.int32)
    sampler = Sampler(vocabulary_of(n_vocab), params, N_CTX, Candidates(n_vocab))
    whole = WholeChain(n_vocab, params, N_CTX)
    sampler.accept_prompt(prompt)
    for token in prompt:
        whole.accept(int(token))
    for step, row in enumerate(rows(n_vocab, params.seed, shape, n)):
        before = row.copy()
        chosen, expected = sampler.sample(row), whole.sample(row)
        assert chosen == expected, step
        assert np.array_equal(row, before)
        sampler.accept(chosen)
        whole.accept(chosen)
    sampler.close()
    whole.close()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    options=OPTIONS,
    seed=st.integers(0, 2**31),
    n_vocab=st.integers(1000, 20_000) | st.sampled_from([1535, 1536, 32_000, 128_256, 150_000]),
    shape=st.sampled_from(["peaked", "sure", "flat", "equals"]),
)
def test_any_options_choose_what_the_whole_chain_chooses(
    options: dict[str, Any], seed: int, n_vocab: int, shape: str
) -> None:
    compare(n_vocab, SamplingParams(seed=seed, **options), shape)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    options=OPTIONS,
    top_k=st.integers(-1, 400),
    seed=st.integers(0, 2**31),
    n_vocab=st.sampled_from([1536, 24_575, 24_576, 32_000, 128_256]),
    shape=st.sampled_from(["peaked", "sure", "flat", "equals"]),
    n=st.integers(1, 5),
)
@example(options={"temperature": 0.8}, top_k=40, seed=1, n_vocab=128_256, shape="peaked", n=5)
@example(options={"temperature": 0.8}, top_k=40, seed=1, n_vocab=128_256, shape="equals", n=5)
@example(options={"temperature": 0.0}, top_k=40, seed=1, n_vocab=128_256, shape="equals", n=5)
def test_what_is_found_of_all_rows_at_once_leads_to_the_same_tokens(
    options: dict[str, Any], top_k: int, seed: int, n_vocab: int, shape: str, n: int
) -> None:
    all_params = [SamplingParams(**{**options, "top_k": top_k, "seed": seed + i}) for i in range(n)]
    samplers = [Sampler(vocabulary_of(n_vocab), one, N_CTX, Candidates(n_vocab)) for one in all_params]
    wholes = [WholeChain(n_vocab, one, N_CTX) for one in all_params]
    for step in range(3):
        stacked = np.stack(rows(n_vocab, seed + step, shape, n))
        for known, sampler, whole, row in zip(
            known_of_rows(stacked, samplers), samplers, wholes, stacked, strict=True
        ):
            if known is None:
                chosen = sampler.sample(row)
            else:
                chosen = known if isinstance(known, int) else sampler.sample_of(known)
            assert chosen == whole.sample(row)
            sampler.accept(chosen)
            whole.accept(chosen)
    for sampler, whole in zip(samplers, wholes, strict=True):
        sampler.close()
        whole.close()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    top_p=st.floats(0.01, 0.9999),
    min_p=st.sampled_from([0.0, 0.02]),
    temperature=st.floats(0.1, 2),
    seed=st.integers(0, 2**31),
    shape=st.sampled_from(["sure", "peaked", "flat", "equals"]),
)
@example(top_p=0.9, min_p=0.0, temperature=1.0, seed=3, shape="sure")
def test_top_p_without_top_k_is_exact(
    top_p: float, min_p: float, temperature: float, seed: int, shape: str
) -> None:
    params = SamplingParams(seed=seed, temperature=temperature, top_k=0, top_p=top_p, min_p=min_p)
    compare(40_000, params, shape, n=20)


@pytest.mark.parametrize("top_p", [0.5, 0.9, 0.95])
def test_the_nucleus_of_a_sure_row_is_found_without_the_whole_chain(top_p: float) -> None:
    candidates = Candidates(128_256)
    found = [candidates.nucleus(row, top_p) for row in rows(128_256, 1, "sure", 40)]
    assert sum(ids is not None for ids in found) >= 30


HUGE = st.sampled_from([3e38, -3e38, 1e9, -1e9, 1e-38, -1e-38, 1e6, -1e6, 0.0, 1.0])


@settings(max_examples=150, deadline=None)
@given(
    options=st.fixed_dictionaries(
        {},
        optional={
            "temperature": HUGE,
            "top_k": st.sampled_from([-(2**31), 2**31 - 1, 1]),
            "top_p": HUGE,
            "min_p": HUGE,
            "typical_p": HUGE,
            "repeat_penalty": HUGE,
            "presence_penalty": HUGE,
            "frequency_penalty": HUGE,
            "repeat_last_n": st.sampled_from([-(2**31), 2**31 - 1, 3]),
            "mirostat": st.sampled_from([1, 2]),
            "mirostat_tau": HUGE,
            "mirostat_eta": HUGE,
            "logit_bias": st.lists(st.tuples(TOKENS, HUGE), max_size=3).map(tuple),
        },
    )
)
def test_extreme_options_are_refused_by_name_or_choose_a_token(options: dict[str, Any]) -> None:
    params = SamplingParams(seed=3, **options)
    try:
        sampler = Sampler(vocabulary_of(4000), params, N_CTX, Candidates(4000))
    except BadRequest as refusal:
        assert refusal.message.split()[0] in options
        return
    for row in rows(4000, 3, "peaked", 5):
        token = sampler.sample(row)
        assert 0 <= token < 4000
        sampler.accept(token)
    sampler.close()


def test_a_temperature_next_to_nothing_takes_the_likeliest() -> None:
    sampler = Sampler(vocabulary_of(4000), SamplingParams(temperature=1e-38), N_CTX, Candidates(4000))
    assert all(sampler.sample(row) == row.argmax() for row in rows(4000, 3, "flat", 20))
    sampler.close()


@pytest.mark.parametrize("name", ["temperature", "top_p", "min_p", "typical_p", "repeat_penalty"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_no_number_is_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(BadRequest, match=name):
        Sampler(vocabulary_of(4000), SamplingParams(**{name: value}), N_CTX, Candidates(4000))


def test_a_window_of_the_whole_context_leaves_the_shortcut() -> None:
    params = SamplingParams(seed=1, repeat_penalty=1.2, repeat_last_n=-1)
    compare(20_000, params, "peaked", n=400)


@given(st.lists(st.integers(0, 6), min_size=1, max_size=12), st.integers(1, 12))
def test_ties_are_what_leaves_the_order_open(values: list[int], k: int) -> None:
    logits = np.array(values, np.float32)
    ordered = sorted(values, reverse=True)
    expected = any(ordered[at] == ordered[at + 1] for at in range(min(k, len(ordered) - 1)))
    assert has_ties(logits, k) == expected
