from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from server.backends.circuit import MAX_MODELS, CrashCircuit, CrashCircuits
from server.types.generation import LoadParams, ModelPaths

STEPS = st.lists(st.tuples(st.integers(0, 400), st.booleans()), max_size=40)
"""Seconds that pass, and whether the worker crashes then if it runs."""


def test_three_crashes_within_five_minutes_open_it_for_five_minutes() -> None:
    circuit = CrashCircuit()
    for now_s in (0.0, 10.0):
        circuit.record(now_s)
        assert circuit.closes_in_s(now_s) == 0.0
    circuit.record(300.0)
    assert circuit.closes_in_s(300.0) == 300.0
    assert circuit.closes_in_s(599.0) == 1.0
    assert circuit.closes_in_s(600.0) == 0.0


def test_crashes_further_apart_do_not_open_it() -> None:
    circuit = CrashCircuit()
    for now_s in range(0, 2000, 151):
        circuit.record(float(now_s))
        assert circuit.closes_in_s(float(now_s)) == 0.0


def test_after_it_has_closed_it_takes_three_crashes_again() -> None:
    circuit = CrashCircuit()
    for now_s in (0.0, 1.0, 2.0, 302.0, 303.0):
        circuit.record(now_s)
    assert circuit.closes_in_s(303.0) == 0.0
    circuit.record(304.0)
    assert circuit.closes_in_s(304.0) == 300.0


def test_a_model_keeps_its_circuit_until_it_is_forgotten_or_loaded_otherwise() -> None:
    circuits = CrashCircuits()
    paths, params = ModelPaths(model="/a"), LoadParams(n_ctx=10)
    circuit = circuits.of("a", paths, params)
    assert circuits.of("a", paths, LoadParams(n_ctx=10)) is circuit
    assert circuits.of("b", paths, params) is not circuit
    circuits.forget("b")
    assert circuits.of("a", paths, params) is circuit
    circuits.forget("a")
    renewed = circuits.of("a", paths, params)
    assert renewed is not circuit
    assert circuits.of("a", paths, LoadParams(n_ctx=20)) is not renewed


def test_the_models_that_are_remembered_are_bounded() -> None:
    circuits = CrashCircuits()
    paths, params = ModelPaths(model="/a"), LoadParams(n_ctx=10)
    first, second = circuits.of("0", paths, params), circuits.of("1", paths, params)
    for number in range(2, MAX_MODELS):
        circuits.of(str(number), paths, params)
    assert circuits.of("0", paths, params) is first
    circuits.of("one more", paths, params)
    assert circuits.of("0", paths, params) is first
    assert circuits.of("1", paths, params) is not second


@given(steps=STEPS, max_crashes=st.integers(1, 4), window_s=st.integers(0, 500), open_s=st.integers(1, 500))
def test_it_agrees_with_its_definition(
    steps: list[tuple[int, bool]], max_crashes: int, window_s: int, open_s: int
) -> None:
    """Open: within `open_s` after the last of `max_crashes` crashes that count once each."""
    circuit = CrashCircuit(max_crashes, window_s, open_s)
    counted: list[int] = []
    opened: list[int] = []
    now_s = 0
    for pause_s, crashes in steps:
        now_s += pause_s
        is_open = bool(opened) and now_s < opened[-1] + open_s
        assert (circuit.closes_in_s(now_s) > 0) == is_open
        if crashes and not is_open:
            circuit.record(now_s)
            counted.append(now_s)
            if sum(now_s - window_s <= crash_s for crash_s in counted) >= max_crashes:
                opened.append(now_s)
                counted.clear()
                assert circuit.closes_in_s(now_s) == open_s


def test_crashes_that_have_opened_it_do_not_open_it_again() -> None:
    circuit = CrashCircuit(max_crashes=3, window_s=300.0, open_s=10.0)
    for now_s in (0.0, 1.0, 2.0):
        circuit.record(now_s)
    assert circuit.closes_in_s(2.0) == 10.0
    circuit.record(13.0)
    assert circuit.closes_in_s(13.0) == 0.0
