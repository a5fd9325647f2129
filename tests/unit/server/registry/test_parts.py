from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from server.registry.parts import IDLE_S, RAMP_S, Claim, Coverage, PartPlan, Ramp

RANGES = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)).map(lambda pair: tuple(sorted(pair))))


@given(RANGES)
def test_a_coverage_is_the_set_of_its_bytes(ranges: list[tuple[int, int]]) -> None:
    coverage, model = Coverage(60), set[int]()
    for start, end in ranges:
        coverage.add(start, end)
        model |= set(range(start, end))
        assert coverage.n_bytes == len(model)
    intervals = coverage.intervals()
    assert {i for start, end in intervals for i in range(start, end)} == model
    assert all(a[1] < b[0] for a, b in itertools.pairwise(intervals))
    assert coverage.frontier == next(i for i in range(61) if i not in model)
    assert coverage.is_complete == (len(model) == 60)
    assert Coverage(60, intervals).intervals() == intervals


def test_parts_are_handed_out_in_order_and_end_at_multiples_of_their_length() -> None:
    plan = PartPlan(Coverage(100, [(0, 13), (45, 50)]), 20, 1000)
    claims = []
    while (claim := plan.claim(0.0)) is not None:
        claims.append((claim.position, claim.end))
    assert claims == [(13, 20), (20, 40), (40, 45), (50, 60), (60, 80), (80, 100)]


def test_who_has_nothing_to_do_takes_half_of_the_longest_part() -> None:
    plan = PartPlan(Coverage(100), 100, 10)
    slow = plan.claim(0.0)
    assert slow is not None
    plan.advance(slow, 20, 1.0)
    fast = plan.claim(1.0)
    assert fast is not None
    assert (slow.position, slow.end, fast.position, fast.end) == (20, 60, 60, 100)


def test_nobody_takes_half_of_little() -> None:
    plan = PartPlan(Coverage(100), 100, 60)
    assert plan.claim(0.0) is not None
    assert plan.claim(0.0) is None


def test_nobody_takes_what_is_being_read() -> None:
    plan = PartPlan(Coverage(100), 100, 10)
    slow = plan.claim(0.0)
    assert slow is not None
    assert plan.begin(slow, 80) == 80
    fast = plan.claim(0.0)
    assert fast is not None
    assert (slow.end, fast.position) == (80, 80)
    assert plan.begin(fast, 80) == 20
    assert plan.claim(0.0) is None


def test_a_part_whose_stream_brings_nothing_is_taken_as_a_whole() -> None:
    plan = PartPlan(Coverage(100), 100, 60)
    dead = plan.claim(0.0)
    assert dead is not None
    plan.advance(dead, 90, 1.0)
    assert plan.claim(1.0 + IDLE_S - 0.1) is None
    heir = plan.claim(1.0 + IDLE_S)
    assert heir is not None
    assert (heir.position, heir.end) == (90, 100)
    assert dead.left == 0


def test_a_claim_that_is_given_back_is_claimed_again_from_where_it_stood() -> None:
    plan = PartPlan(Coverage(100), 100)
    claim = plan.claim(0.0)
    assert claim is not None
    plan.advance(claim, 30, 0.0)
    plan.release(claim)
    again = plan.claim(0.0)
    assert again is not None
    assert (again.position, again.end) == (30, 100)


def test_a_server_without_ranges_is_read_to_the_end() -> None:
    plan = PartPlan(Coverage(100, [(40, 50)]), 10)
    claim = plan.claim(0.0)
    assert claim is not None
    plan.extend(claim)
    assert plan.advance(claim, 100, 0.0) == 0
    assert plan.coverage.is_complete


@settings(max_examples=200)
@given(st.data())
def test_however_streams_go_every_byte_is_fetched_once_unless_a_stream_fails(data: st.DataObject) -> None:
    total = data.draw(st.integers(1, 200))
    done = data.draw(RANGES)
    coverage = Coverage(total, [(min(a, total), min(b, total)) for a, b in done])
    plan = PartPlan(coverage, data.draw(st.integers(1, 50)), data.draw(st.integers(1, 20)))
    n_fetched, n_missing, now_s = 0, total - coverage.n_bytes, 0.0
    open_claims: list[Claim] = []
    while not coverage.is_complete:
        now_s += data.draw(st.sampled_from([0.1, IDLE_S]))
        if len(open_claims) < 4 and (claim := plan.claim(now_s)) is not None:
            open_claims.append(claim)
        claim = data.draw(st.sampled_from(open_claims))
        n_bytes = min(data.draw(st.integers(1, 60)), claim.left)
        n_fetched += n_bytes
        if plan.advance(claim, n_bytes, now_s) == 0 or data.draw(st.booleans()):
            plan.release(claim)
            open_claims.remove(claim)
    assert n_fetched == n_missing


def test_more_streams_begin_once_those_that_began_were_slow() -> None:
    ramp = Ramp(1000, now_s=5.0, n_bytes=300)
    assert not ramp.look(300, 5.0 + RAMP_S / 2), "too soon to tell"
    assert not ramp.look(300 + 250, 5.25), "1000 a second"
    assert not ramp.look(550 + 1000, 5.5)
    assert ramp.look(1550 + 249, 5.75)
    assert ramp.look(1_000_000, 6.0), "fast again, but they have begun"
