"""A draft model is asked where its guesses pay for its time."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.engine.draft import StepCosts
from server.engine.draft_choice import (
    MAX_ASKED_TOKENS,
    USUAL_PROBABILITY,
    Option,
    Trust,
    choose,
    is_worth_reading,
    paying_length,
)

OPTIONS = st.lists(
    st.builds(
        Option,
        n_max=st.integers(0, MAX_ASKED_TOKENS),
        probability=st.floats(0.0, 1.0),
        n_found=st.integers(0, 8),
        expected=st.floats(1.0, 9.0),
    ),
    min_size=1,
    max_size=8,
)


def costs_of(slope: float, *, n_rows: int = 200) -> StepCosts:
    costs = StepCosts()
    for n in range(1, n_rows):
        costs.measured(n, 0.01)
    for n in range(1, n_rows):
        for _ in range(60):
            costs.measured(n, 0.01 * (1.0 + slope * (n - 1)))
    return costs


FREE, STEEP = costs_of(0.0), costs_of(1.0)


def asking(seconds: float) -> Callable[[int], float]:
    return lambda n: seconds if n else 0.0


@given(options=OPTIONS, cost_s=st.floats(0.0, 0.02), n_rows_max=st.integers(1, 40))
def test_a_choice_is_possible_and_promises_no_less(
    options: list[Option], cost_s: float, n_rows_max: int
) -> None:
    for costs in (FREE, STEEP):
        choice = choose(costs, asking(cost_s), options, n_rows_max=n_rows_max)
        assert len(choice.asks) == len(options)
        assert (choice.n_tokens > 0) == any(choice.asks)
        for option, asks in zip(options, choice.asks, strict=True):
            assert option.n_max > 0 or not asks
        n_rows = len(options) + sum(
            min(choice.n_tokens, option.n_max) if asks else option.n_found
            for option, asks in zip(options, choice.asks, strict=True)
        )
        assert n_rows <= n_rows_max or not any(choice.asks)
        plain = sum(option.expected for option in options) / costs.seconds(
            len(options) + sum(option.n_found for option in options)
        )
        assert choice.tokens_per_s >= plain * (1 - 1e-9)
        assert choice.gain >= 1.0


def test_a_fast_model_that_is_right_is_asked_for_much() -> None:
    choice = choose(FREE, asking(0.0001), [Option(MAX_ASKED_TOKENS, 0.99)], n_rows_max=32)
    assert choice.n_tokens == MAX_ASKED_TOKENS
    assert choice.gain > 10


def test_a_model_as_slow_as_the_other_is_not_asked() -> None:
    choice = choose(FREE, asking(0.01), [Option(MAX_ASKED_TOKENS, 0.99)], n_rows_max=32)
    assert choice.n_tokens == 0


def test_nobody_is_asked_where_rows_cost_as_much_as_steps() -> None:
    choice = choose(STEEP, asking(0.0001), [Option(MAX_ASKED_TOKENS, 0.9)], n_rows_max=32)
    assert choice.n_tokens == 0


def test_nobody_is_asked_before_a_step_was_measured() -> None:
    assert not choose(StepCosts(), asking(0.0), [Option(8, 1.0)], n_rows_max=32).n_tokens


def test_what_was_found_wins_where_it_promises_more() -> None:
    found = Option(8, 0.5, n_found=8, expected=8.0)
    choice = choose(FREE, asking(0.0001), [found, Option(8, 0.9)], n_rows_max=32)
    assert choice.asks == (False, True)


def test_requests_share_the_steps_of_the_draft_model() -> None:
    """A step that is too dear for one pays for four."""
    one = choose(FREE, asking(0.009), [Option(8, 0.9)], n_rows_max=64)
    four = choose(FREE, asking(0.009), [Option(8, 0.9)] * 4, n_rows_max=64)
    assert four.gain == pytest.approx(one.gain)
    assert four.tokens_per_s == pytest.approx(4 * one.tokens_per_s)


@given(
    probabilities=st.lists(st.floats(0.0, 1.0), max_size=16),
    n_rows=st.integers(1, 8),
    n_others=st.integers(0, 7),
)
def test_what_is_verified_promises_no_less_than_nothing(
    probabilities: list[float], n_rows: int, n_others: int
) -> None:
    for costs in (FREE, STEEP):
        n = paying_length(costs, probabilities, n_rows=n_rows, n_others=n_others)
        assert 0 <= n <= len(probabilities)
        expected, together = 1.0, 1.0
        for probability in probabilities[:n]:
            together *= probability
            expected += together
        plain = (n_others + 1) / costs.seconds(n_rows)
        assert (n_others + expected) / costs.seconds(n_rows + n) >= plain * (1 - 1e-9)


def test_unlikely_ends_of_a_draft_are_not_verified() -> None:
    costs = costs_of(0.2)
    assert paying_length(costs, [0.99, 0.99, 0.01, 0.99], n_rows=1, n_others=0) == 2


def test_a_text_is_read_when_the_answer_is_long_enough() -> None:
    choice = choose(FREE, asking(0.001), [Option(8, 0.9)], n_rows_max=32)
    long = is_worth_reading(choice, 0.01, n_missing=1000, tokens_per_s=1000.0, n_left=256)
    short = is_worth_reading(choice, 0.01, n_missing=1000, tokens_per_s=1000.0, n_left=64)
    assert (long, short) == (True, False)


@given(rounds=st.lists(st.tuples(st.lists(st.floats(0.0, 1.0), max_size=8), st.integers(0, 8)), max_size=30))
def test_trust_is_a_probability(rounds: list[tuple[list[float], int]]) -> None:
    trust = Trust()
    for confidences, n_accepted in rounds:
        trust.observed(confidences, min(n_accepted, len(confidences)))
        trust.given_up(0.4)
        trust.not_asked()
        assert 0.0 <= trust.mean <= 1.0
        assert all(0.0 <= trust.probability(confidence) <= 1.0 for confidence in (0.0, 0.5, 0.8, 0.99, 1.0))


def test_trust_follows_what_comes_true() -> None:
    trust = Trust()
    for _ in range(60):
        trust.observed([0.99, 0.6], 1)
    assert trust.probability(0.99) > 0.95
    assert trust.probability(0.6) < 0.1
    assert 0.3 < trust.mean < 0.7


def test_a_size_that_is_forgotten_is_measured_anew() -> None:
    costs = costs_of(1.0)
    slow = costs.seconds(3)
    costs.forget(more_than=2)
    assert costs.seconds(2) < costs.seconds(3) < slow
    costs.measured(3, slow / 2)
    assert costs.seconds(3) == slow / 2


def test_a_failure_is_forgotten_in_time() -> None:
    trust = Trust()
    for _ in range(60):
        trust.observed([0.99], 0)
    assert trust.mean < 0.05
    for _ in range(1000):
        trust.not_asked()
    assert trust.mean == pytest.approx(USUAL_PROBABILITY, abs=0.05)
