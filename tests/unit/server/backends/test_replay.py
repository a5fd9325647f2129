"""What is kept of a call for the next worker, and which call is not given another one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from server.backends.base import GenerationJob
from server.backends.mailbox import Mailbox, SessionEnd
from server.backends.replay import MAX_REPLAYS, OpenGeneration, Retries
from server.ipc.messages import EngineTimings, Finished, TokenDelta
from server.types.generation import SamplingParams

JOB = GenerationJob(prompt=("abc", (1, 2)), sampling=SamplingParams(seed=3))
CRASH = SessionEnd(cause="crashed", n_open=1)


def received(*deltas: tuple[tuple[int, ...], str], begun: EngineTimings | None = None) -> Mailbox:
    mailbox = Mailbox(7)
    for index, (tokens, text) in enumerate(deltas):
        mailbox.put(
            TokenDelta(
                request_id=7,
                tokens=tokens,
                text=text,
                begun=None if index else begun,
                n_refused=len(tokens),
            )
        )
    return mailbox


@given(st.lists(st.lists(st.tuples(st.lists(st.integers(0, 2**31 - 1), max_size=3).map(tuple), st.text()))))
def test_the_next_worker_gets_all_tokens_and_the_length_of_their_text(
    workers: list[list[tuple[tuple[int, ...], str]]],
) -> None:
    generation = OpenGeneration(7, JOB, 0.0)
    tokens: tuple[int, ...] = ()
    text = ""
    for deltas in workers:
        submit = generation.submit(0.0)
        assert (submit.request_id, submit.prompt, submit.sampling) == (7, JOB.prompt, JOB.sampling)
        assert (submit.emitted, submit.n_emitted_characters) == (tokens, len(text))
        assert submit.n_refused == len(tokens)
        generation.lost(CRASH, received(*deltas))
        tokens += tuple(token for ids, _ in deltas for token in ids)
        text += "".join(part for _, part in deltas)


def finished(**timings: int) -> Finished:
    return Finished(request_id=7, reason="stop", timings=EngineTimings(**timings), stop_text="x")


def test_an_unbroken_generation_has_the_timings_of_its_worker() -> None:
    generation = OpenGeneration(7, JOB, 10.0)
    generation.submit(10.0)
    done = generation.done(
        finished(n_prompt_tokens=9, n_cached_tokens=4, n_output_tokens=5, queue_duration_ns=1), 99.0
    )
    assert (done.reason, done.stop_text) == ("stop", "x")
    assert (done.n_prompt_tokens, done.n_cached_tokens, done.n_output_tokens) == (9, 4, 5)
    assert (done.queue_duration_ns, done.prompt_duration_ns, done.output_duration_ns) == (1, 0, 0)


def test_time_that_was_lost_before_the_first_token_is_time_in_the_queue() -> None:
    generation = OpenGeneration(7, JOB, 10.0)
    generation.submit(10.0)
    generation.lost(CRASH, received())
    generation.submit(12.5)
    done = generation.done(finished(queue_duration_ns=1, prompt_duration_ns=2, output_duration_ns=3), 14.0)
    assert (done.queue_duration_ns, done.prompt_duration_ns, done.output_duration_ns) == (2_500_000_001, 2, 3)


def test_time_that_was_lost_after_the_first_token_is_output() -> None:
    generation = OpenGeneration(7, JOB, 10.0)
    generation.submit(10.0)
    generation.lost(CRASH, received())
    generation.submit(11.0)
    first = EngineTimings(
        n_prompt_tokens=9, n_cached_tokens=8, queue_duration_ns=500_000_000, prompt_duration_ns=250_000_000
    )
    generation.lost(CRASH, received(((1,), "a"), begun=first))
    generation.submit(14.0)
    late = finished(
        n_prompt_tokens=9, n_cached_tokens=3, n_output_tokens=5, queue_duration_ns=77, prompt_duration_ns=88
    )
    done = generation.done(late, 15.0)
    assert done.queue_duration_ns == 1_500_000_000
    assert done.prompt_duration_ns == 250_000_000
    assert done.output_duration_ns == 15_000_000_000 - 10_000_000_000 - 1_750_000_000
    assert (done.n_prompt_tokens, done.n_cached_tokens, done.n_output_tokens) == (9, 3, 5)


def test_a_call_is_given_to_two_more_workers() -> None:
    retries = Retries(7)
    for cause in ("crashed", "hung"):
        assert retries.may_go_on(SessionEnd(cause=cause, n_open=3))  # type: ignore[arg-type]
    assert not retries.may_go_on(CRASH)


def test_a_model_that_is_unloaded_is_not_started_again() -> None:
    assert not Retries(7).may_go_on(SessionEnd(cause="closed"))


def crash(*suspects: int, n_open: int = 5) -> SessionEnd:
    return SessionEnd(cause="crashed", n_open=n_open, suspects=frozenset(suspects))


def test_the_one_call_without_a_token_in_two_crashes_ends_with_the_second() -> None:
    poison, bystander = Retries(1), Retries(2)
    for calls_go_on, end in (((True, True), crash(1)), ((False, True), crash(1, 2))):
        assert (poison.may_go_on(end), bystander.may_go_on(end)) == calls_go_on


def test_a_call_that_is_alone_has_all_its_replays() -> None:
    retries = Retries(1)
    assert [retries.may_go_on(crash(1, n_open=1)) for _ in range(3)] == [True, True, False]


@given(
    ends=st.lists(st.frozensets(st.integers(0, 4)), min_size=1, max_size=5),
    request_id=st.integers(0, 4),
)
def test_of_several_calls_at_most_one_is_the_cause(ends: list[frozenset[int]], request_id: int) -> None:
    calls = {number: Retries(number) for number in range(5)}
    for n_crashes, suspects in enumerate(ends, start=1):
        going_on = {number for number, call in calls.items() if call.may_go_on(crash(*suspects))}
        if n_crashes <= MAX_REPLAYS:
            assert len(calls) - len(going_on) <= 1
            assert calls.keys() - going_on <= suspects
        else:
            assert not going_on
