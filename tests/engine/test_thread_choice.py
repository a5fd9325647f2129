"""Threads follow the processors that are really there."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.engine.thread_choice import BUSY_FROM, PROBE_STEPS, ThreadChoice, thread_counts


def play(
    choice: ThreadChoice,
    cost_s: Callable[[int], float],
    seconds: float,
    now_s: float,
    n_others: float | None = None,
) -> list[int]:
    """The numbers of threads of all steps within a time."""
    used = []
    end_s = now_s + seconds
    while now_s < end_s:
        used.append(choice.n_threads)
        step_s = cost_s(choice.n_threads)
        now_s += step_s
        choice.measured("row", step_s, now_s, n_others=n_others)
    return used


def alone(n_max: int) -> Callable[[int], float]:
    """A machine of one's own: more threads are faster, with little noise."""
    noise = random.Random(1)
    return lambda n: 0.01 * (0.3 + 0.7 * n_max / n) * noise.uniform(0.97, 1.06)


def shared(n_free: int) -> Callable[[int], float]:
    """A machine whose other processors are taken: a thread too many makes all wait now and then."""
    noise = random.Random(2)

    def cost_s(n: int) -> float:
        fair = 0.01 * (0.3 + 0.7 * n_free / min(n, n_free))
        return fair * (noise.choice([1.0, 2.5, 4.0]) if n > n_free else noise.uniform(0.97, 1.06))

    return cost_s


@given(n_max=st.integers(1, 300))
def test_numbers_go_down_to_one(n_max: int) -> None:
    counts = thread_counts(n_max)
    assert counts[0] == n_max
    assert counts[-1] == 1
    assert list(counts) == sorted(set(counts), reverse=True)


@pytest.mark.parametrize("n_max", [2, 4, 8, 64])
def test_alone_all_are_used_nearly_always(n_max: int) -> None:
    used = play(ThreadChoice(n_max), alone(n_max), 60.0, 0.0)
    assert used.count(n_max) > 0.99 * len(used)


@pytest.mark.parametrize(("n_max", "n_free"), [(2, 1), (4, 3), (8, 7), (8, 4), (16, 4)])
def test_beside_others_fewer_are_used(n_max: int, n_free: int) -> None:
    used = play(ThreadChoice(n_max), shared(n_free), 30.0, 0.0)
    late = used[len(used) // 2 :]
    assert sum(n <= n_free for n in late) > 0.85 * len(late)


def test_when_the_others_have_gone_all_are_used_again() -> None:
    choice = ThreadChoice(2)
    play(choice, shared(1), 10.0, 0.0)
    assert choice.n_threads == 1
    used = play(choice, alone(2), 10.0, 10.0)
    assert used[len(used) // 2 :].count(2) > 0.95 * len(used) / 2


@pytest.mark.parametrize("n_max", [2, 8])
def test_while_others_take_nothing_uneven_steps_are_no_reason_for_a_trial(n_max: int) -> None:
    used = play(ThreadChoice(n_max), shared(n_max - 1), 60.0, 0.0, n_others=BUSY_FROM / 2)
    assert set(used) == {n_max}


def test_others_that_are_seen_are_met_with_fewer_threads() -> None:
    used = play(ThreadChoice(2), shared(1), 30.0, 0.0, n_others=0.7)
    assert used[len(used) // 2 :].count(1) > 0.85 * len(used) / 2


@pytest.mark.parametrize("n_max", [2, 8])
def test_once_the_others_are_seen_to_have_gone_all_are_used_with_the_next_step(n_max: int) -> None:
    choice = ThreadChoice(n_max)
    play(choice, shared(1), 10.0, 0.0, n_others=n_max / 2)
    assert choice.n_threads < n_max
    assert set(play(choice, shared(n_max), 10.0, 10.0, n_others=0.0)[1:]) == {n_max}


def test_a_trial_of_more_threads_that_is_many_times_slower_ends_at_once() -> None:
    choice = ThreadChoice(2)
    play(choice, shared(1), 10.0, 0.0, n_others=1.0)
    assert choice.n_threads == 1
    used = play(choice, lambda n: 0.01 if n == 1 else 0.1, 60.0, 10.0, n_others=1.0)
    assert 0 < used.count(2) <= 12
    assert "2, 2" not in str(used)


@pytest.mark.parametrize("seed", range(3))
def test_steps_that_are_held_up_now_and_then_are_no_reason_for_fewer_threads(seed: int) -> None:
    noise = random.Random(seed)

    def cost_s(n: int) -> float:
        return (0.07 if n == 2 else 0.13) * (1.0 if noise.random() < 0.8 else noise.uniform(2.0, 5.0))

    used = play(ThreadChoice(2), cost_s, 60.0, 0.0, n_others=2 * BUSY_FROM)
    assert used.count(1) < 0.06 * len(used)


@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from("ab"),
            st.floats(0.0, 10.0),
            st.floats(0.0, 5.0),
            st.none() | st.floats(0.0, 2.0),
        ),
        max_size=200,
    ),
    n_max=st.integers(1, 16),
)
def test_any_history_gives_a_possible_number(
    steps: list[tuple[str, float, float, float | None]], n_max: int
) -> None:
    choice, now_s = ThreadChoice(n_max), 0.0
    for key, cost, pause_s, n_others in steps:
        now_s += pause_s
        choice.measured(key, cost, now_s, n_others=n_others)
        assert choice.n_threads in thread_counts(n_max)


def test_parts_of_a_prompt_that_grow_longer_are_no_reason_for_a_trial() -> None:
    choice = ThreadChoice(2)
    for number in range(200):
        choice.measured("prompt", 1.0 + 0.3 * number, 2.0 * number, is_steady=False)
        assert choice.n_threads == 2


def test_parts_of_a_prompt_that_wait_for_others_are_one() -> None:
    choice, used = ThreadChoice(2), set()
    for number in range(200):
        choice.measured("prompt", 1.0 if number % 2 else 5.0, 2.0 * number, is_steady=False)
        used.add(choice.n_threads)
    assert used == {1, 2}


def test_a_trial_ends_when_steps_of_its_kind_no_longer_come() -> None:
    choice = ThreadChoice(2)
    now_s = 0.0
    while choice.n_threads == 2:
        now_s += 1.0
        choice.measured("prompt", 1.0, now_s)
    for _ in range(PROBE_STEPS):
        choice.measured("row", 1.0, now_s)
    assert choice.n_threads == 2


def test_a_number_that_was_asked_for_is_kept() -> None:
    assert set(play(ThreadChoice(4, is_fixed=True), shared(1), 5.0, 0.0)) == {4}


def test_one_processor_is_never_tried_with_more() -> None:
    assert set(play(ThreadChoice(1), shared(1), 5.0, 0.0)) == {1}
