"""Guesses are what followed before, and are made where they pay."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.engine.draft import (
    FORCED,
    MAX_DRAFT_TOKENS,
    MAX_MATCH_TOKENS,
    Acceptance,
    Asking,
    StepCosts,
    best_draft_length,
    best_match,
    continuation,
    draft_lengths,
    n_expected,
)

TOKENS = st.lists(st.integers(0, 3), max_size=60)


def array(tokens: list[int]) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    return np.array(tokens, np.int32)


def longest_place(text: list[int], suffix: list[int]) -> tuple[int, int]:
    """Tokens matched and index of the last of them, by trying every place; (0, -1) for none."""
    best = (0, -1)
    for end in range(len(text) - 1):
        n = 0
        while n < min(len(suffix), MAX_MATCH_TOKENS) and n <= end and text[end - n] == suffix[-1 - n]:
            n += 1
        if n and n >= best[0]:
            best = (n, end)
    return best


@given(text=TOKENS, n_max=st.integers(1, 12))
def test_a_guess_is_what_followed_the_longest_equal_end(text: list[int], n_max: int) -> None:
    n, end = longest_place(text, text)
    match = continuation(array(text), array(text), n_max, min_match=3, is_own=True)
    if n < 3:
        assert match is None
        return
    assert match is not None
    assert match.n_matched == n
    rest = text[end + 1 :]
    assert match.tokens.tolist() == [rest[index % len(rest)] for index in range(n_max)]


@given(text=TOKENS, suffix=TOKENS, n_max=st.integers(1, 12))
def test_a_guess_from_another_text_ends_with_it(text: list[int], suffix: list[int], n_max: int) -> None:
    n, end = longest_place(text, suffix) if suffix else (0, -1)
    match = continuation(array(text), array(suffix), n_max, min_match=2, is_own=False)
    if n < 2:
        assert match is None
        return
    assert match is not None
    assert match.tokens.tolist() == text[end + 1 : end + 1 + n_max]


def test_another_text_needs_a_longer_match_than_the_own_one() -> None:
    own = array([9, 8, 1, 2, 3, 4, 7, 1, 2, 3, 4])
    other = array([5, 1, 2, 3, 4, 6, 6])
    match = best_match(own, [other], 2)
    assert match is not None
    assert match.tokens.tolist() == [7, 1]
    longer = array([*range(20, 30), 1, 2, 3, 4])
    match = best_match(longer, [array([*range(20, 30), 1, 2, 3, 4, 11, 12])], 2)
    assert match is not None
    assert match.tokens.tolist() == [11, 12]


@given(probability=st.floats(0.0, 1.0), n=st.integers(0, MAX_DRAFT_TOKENS))
def test_expected_tokens_are_the_sum_of_a_geometric_row(probability: float, n: int) -> None:
    assert n_expected(probability, n) == pytest.approx(sum(probability**index for index in range(n + 1)))


@given(n_rows=st.integers(1, 64), n_available=st.integers(0, 64))
def test_lengths_are_possible_ones(n_rows: int, n_available: int) -> None:
    for n in draft_lengths(n_rows, n_available):
        assert 0 < n <= min(n_available, MAX_DRAFT_TOKENS)


def test_no_draft_before_anything_was_measured() -> None:
    assert best_draft_length(StepCosts(), 1.0, n_available=16, n_rows=1, n_others=0) == 0


def costs_of(slope: float) -> StepCosts:
    costs = StepCosts()
    for n_rows in range(1, 65):
        for _ in range(40):
            costs.measured(n_rows, 0.01 * (1.0 + slope * (n_rows - 1)))
    return costs


@given(probability=st.floats(0.0, 1.0), slope=st.floats(0.0, 2.0), n_rows=st.integers(1, 8))
def test_a_draft_never_promises_less_than_none(probability: float, slope: float, n_rows: int) -> None:
    costs = costs_of(slope)
    n = best_draft_length(costs, probability, n_available=16, n_rows=n_rows, n_others=n_rows - 1)
    alone = n_rows / costs.seconds(n_rows)
    assert (n_rows - 1 + n_expected(probability, n)) / costs.seconds(n_rows + n) >= alone


def test_where_rows_cost_as_much_as_steps_nothing_is_drafted() -> None:
    assert best_draft_length(costs_of(1.0), 0.99, n_available=16, n_rows=1, n_others=0) == 0


def test_where_rows_are_free_the_whole_guess_is_drafted() -> None:
    assert best_draft_length(costs_of(0.0), 1.0, n_available=16, n_rows=1, n_others=0) == 16


def test_sizes_that_were_not_measured_are_thought_cheap() -> None:
    costs = StepCosts()
    costs.measured(1, 0.01)
    assert best_draft_length(costs, 0.9, n_available=16, n_rows=1, n_others=0) > 0


def test_a_size_that_was_too_slow_is_looked_at_again() -> None:
    costs = costs_of(1.0)
    assert sum(costs.is_due(16) for _ in range(300)) > 0
    costs.measured(16, 0.01)
    assert not costs.is_due(16)


@given(rounds=st.lists(st.tuples(st.integers(1, 16), st.integers(0, 16)), max_size=50))
def test_acceptance_is_a_probability(rounds: list[tuple[int, int]]) -> None:
    acceptance = Acceptance()
    for n_drafted, n_accepted in rounds:
        acceptance.observed(4, n_drafted, min(n_accepted, n_drafted))
        assert 0.0 <= acceptance.probability(4) <= 1.0


def test_acceptance_follows_what_comes_true() -> None:
    acceptance = Acceptance()
    for _ in range(10):
        acceptance.observed(4, 8, 0)
        acceptance.observed(20, 8, 8)
    assert acceptance.probability(4) < 0.1
    assert acceptance.probability(20) > 0.98


def test_a_grammar_is_asked_where_that_saves_time() -> None:
    asking = Asking()
    for _ in range(100):
        assert asking.is_worth_it(0.01)
        asking.took(0.001)
        asking.brought(1)
    assert not asking.is_worth_it(0.001)
    for _ in range(200):
        asking.brought(0)
    assert not asking.is_worth_it(0.01)
    for _ in range(2000):
        asking.is_worth_it(0.01)
    assert asking.is_worth_it(0.01)


def test_what_is_forced_is_counted_apart() -> None:
    acceptance = Acceptance()
    before = [acceptance.probability(n) for n in (3, 5, 8, 16)]
    for _ in range(30):
        acceptance.observed(FORCED, 2, 0)
    assert acceptance.probability(FORCED) < 0.1
    assert [acceptance.probability(n) for n in (3, 5, 8, 16)] == before
