from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from server.runners.policy import Await, Evict, LoadNow, Resident, max_loaded_models, plan_load

LIMITS = st.integers(1, 5)
BYTES = st.integers(0, 100)


@st.composite
def residents(draw: st.DrawFn) -> tuple[Resident, ...]:
    """Up to six models in states that the pool can bring about."""
    made: list[Resident] = []
    for number in range(draw(st.integers(0, 6))):
        is_loading = draw(st.booleans())
        is_leaving = draw(st.booleans())
        n_bytes = draw(BYTES)
        made.append(
            Resident(
                name=f"m{number}",
                n_bytes=n_bytes,
                unused_bytes=0 if is_loading else draw(st.integers(0, n_bytes)),
                is_busy=draw(st.booleans()) or (is_loading and not is_leaving),
                is_loading=is_loading,
                is_leaving=is_leaving,
                is_kept=draw(st.booleans()),
                last_used_s=draw(st.integers(0, 20)),
            )
        )
    return tuple(made)


def promised(models: tuple[Resident, ...]) -> int:
    return sum(r.n_bytes if r.is_loading else r.unused_bytes for r in models)


def without(models: tuple[Resident, ...], names: tuple[str, ...]) -> tuple[Resident, ...]:
    return tuple(r for r in models if r.name not in names and not r.is_leaving)


def free_after(free: int, models: tuple[Resident, ...], names: tuple[str, ...]) -> int:
    """What is free once these models, and those that leave already, are gone."""
    gone = [r for r in models if (r.name in names or r.is_leaving) and not r.is_loading]
    return free + sum(r.n_bytes - r.unused_bytes for r in gone)


@given(residents(), BYTES, LIMITS, BYTES)
def test_nothing_is_loaded_beyond_limit_or_memory(
    models: tuple[Resident, ...], needed: int, limit: int, free: int
) -> None:
    plan = plan_load(needed, models, max_loaded=limit, free_bytes=free)
    if isinstance(plan, LoadNow):
        assert len(models) < limit
        assert not models or needed <= free - promised(models)


@given(residents(), BYTES, LIMITS, BYTES)
def test_only_idle_models_are_evicted(
    models: tuple[Resident, ...], needed: int, limit: int, free: int
) -> None:
    plan = plan_load(needed, models, max_loaded=limit, free_bytes=free)
    if isinstance(plan, Evict):
        chosen = [r for r in models if r.name in plan.names]
        assert len(chosen) == len(plan.names) == len(set(plan.names))
        assert not any(r.is_busy or r.is_loading or r.is_leaving for r in chosen)


@given(residents(), BYTES, LIMITS, BYTES, st.booleans())
def test_eviction_makes_room_and_spares_whom_it_can(
    models: tuple[Resident, ...], needed: int, limit: int, free: int, may_drain: bool
) -> None:
    def plan_without(names: tuple[str, ...]) -> bool:
        plan = plan_load(
            needed, without(models, names), max_loaded=limit, free_bytes=free_after(free, models, names)
        )
        return isinstance(plan, LoadNow)

    plan = plan_load(needed, models, max_loaded=limit, free_bytes=free, may_drain=may_drain)
    if isinstance(plan, Evict):
        assert plan_without(plan.names)
        for name in plan.names:
            assert not plan_without(tuple(other for other in plan.names if other != name))


@given(residents(), BYTES, LIMITS, BYTES)
def test_whoever_waits_waits_for_somebody(
    models: tuple[Resident, ...], needed: int, limit: int, free: int
) -> None:
    plan = plan_load(needed, models, max_loaded=limit, free_bytes=free)
    if isinstance(plan, Await):
        assert plan.reason
        assert any(r.is_busy or r.is_leaving for r in models)
        if plan.is_unloading:
            assert any(r.is_leaving and not r.is_busy for r in models)


@given(residents(), BYTES, BYTES)
def test_without_others_a_model_is_always_loaded(
    models: tuple[Resident, ...], needed: int, free: int
) -> None:
    assert plan_load(needed, (), max_loaded=1, free_bytes=free) == LoadNow()


def idle(name: str, last_used_s: float, n_bytes: int = 10, *, is_kept: bool = False) -> Resident:
    return Resident(name=name, n_bytes=n_bytes, last_used_s=last_used_s, is_kept=is_kept)


def busy(name: str, n_bytes: int = 10) -> Resident:
    return Resident(name=name, n_bytes=n_bytes, is_busy=True)


def test_least_recently_used_goes_first() -> None:
    models = (idle("new", 9), idle("old", 1), idle("middle", 5))
    assert plan_load(5, models, max_loaded=3, free_bytes=100) == Evict(("old",))


def test_models_kept_for_ever_go_last() -> None:
    models = (idle("old", 1, is_kept=True), idle("new", 9))
    assert plan_load(5, models, max_loaded=2, free_bytes=100) == Evict(("new",))
    assert plan_load(5, models[:1], max_loaded=1, free_bytes=100) == Evict(("old",))


def test_small_model_is_spared_when_a_larger_one_has_to_go_anyway() -> None:
    models = (idle("small", 1, n_bytes=10), idle("large", 2, n_bytes=50))
    assert plan_load(55, models, max_loaded=5, free_bytes=10) == Evict(("large",))


def test_idle_models_stay_while_a_busy_one_has_to_end_first() -> None:
    models = (idle("idle", 1, n_bytes=10), busy("busy", n_bytes=50))
    plan = plan_load(40, models, max_loaded=5, free_bytes=0)
    assert plan == Await("waits for memory: needs 0.0 GiB, 0.0 GiB are free")
    assert plan_load(40, models, max_loaded=5, free_bytes=0, may_drain=True) == Evict(("busy",))


def test_memory_promised_to_a_load_is_not_free() -> None:
    loading = Resident(name="loading", n_bytes=60, is_busy=True, is_loading=True)
    assert plan_load(30, (loading,), max_loaded=5, free_bytes=100) == LoadNow()
    assert isinstance(plan_load(50, (loading,), max_loaded=5, free_bytes=100), Await)


def test_memory_that_is_not_used_yet_is_not_free() -> None:
    half = Resident(name="a", n_bytes=50, unused_bytes=25)
    assert plan_load(60, (half,), max_loaded=3, free_bytes=80) == Evict(("a",))
    assert plan_load(55, (half,), max_loaded=3, free_bytes=80) == LoadNow()


def test_unload_under_way_is_waited_for_instead_of_evicting_more() -> None:
    leaving = Resident(name="leaving", n_bytes=50, is_leaving=True)
    plan = plan_load(40, (leaving, idle("idle", 1)), max_loaded=5, free_bytes=0)
    assert plan == Await("waits for leaving to unload", is_unloading=True)


def test_full_house_says_how_full() -> None:
    plan = plan_load(1, (busy("a"), busy("b")), max_loaded=2, free_bytes=100)
    assert plan == Await("waits for a loaded model to become idle: 2 of 2 are loaded")


def test_three_models_per_gpu_and_three_without_one() -> None:
    assert [max_loaded_models(n) for n in (0, 1, 2)] == [3, 3, 6]
