"""The rings of the last day, and what is put down to requests."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from server.services.history import HistoryKeeper, HistoryRings, Sample, power_of
from server.services.requests import RequestLog
from server.types.generation import Origin
from server.types.status import DeviceSnapshot

GPU = DeviceSnapshot(
    name="GPU", kind="gpu", utilization=0.5, memory_used_bytes=10, memory_total_bytes=100, power_w=200.0
)
CPU = DeviceSnapshot(name="CPU", kind="cpu", utilization=0.1, memory_used_bytes=1, memory_total_bytes=8)


def busy(utilization: float) -> DeviceSnapshot:
    return msgspec.structs.replace(GPU, utilization=utilization)


def test_a_slot_keeps_peaks_and_sums() -> None:
    rings = HistoryRings(((10, 6),))
    rings.add(Sample((busy(0.2), CPU), n_active=1, tokens_per_s=5.0, n_ended=1), 100.0)
    rings.add(Sample((busy(0.9), CPU), n_active=3, n_queued=2, n_ended=2, n_failed=1), 105.0)
    rings.add(Sample((busy(0.1), CPU)), 121.0)
    seen = rings.window(40, 129.0)
    assert (seen.period_s, seen.end_s) == (10, 130.0)
    assert seen.n_active == (None, 3, None, 0)
    assert (seen.n_queued[1], seen.tokens_per_s[1], seen.n_ended[1], seen.n_failed[1]) == (2, 5.0, 3, 1)
    gpu, cpu = seen.devices
    assert gpu.utilization == (None, 0.9, None, 0.1) and gpu.power_w[1] == 200.0
    assert cpu.kind == "cpu" and cpu.power_w == (None,) * 4


@given(st.lists(st.tuples(st.floats(0, 1e5), st.integers(0, 9)), max_size=60), st.integers(1, 86_400))
def test_windows_are_whole_and_rings_bounded(steps: list[tuple[float, int]], window_s: int) -> None:
    rings, now_s = HistoryRings(), 1e9
    for wait_s, n_active in steps:
        now_s += wait_s
        rings.add(Sample((GPU,), n_active=n_active), now_s)
    seen = rings.window(window_s, now_s)
    n_slots = len(seen.n_active)
    assert n_slots * seen.period_s >= window_s and n_slots <= 720
    assert now_s < seen.end_s <= now_s + seen.period_s
    assert all(len(track.utilization) == n_slots for track in seen.devices)
    if steps:
        assert seen.n_active[-1] is not None and seen.n_active[-1] >= steps[-1][1]
    assert all(len(slots) <= (slots.maxlen or 0) for _, slots in rings._rings)


def test_time_that_goes_back_is_left_out() -> None:
    rings = HistoryRings(((10, 6),))
    rings.add(Sample((GPU,), n_active=1), 100.0)
    rings.add(Sample((GPU,), n_active=5), 50.0)
    assert rings.window(10, 100.0).n_active == (1,)


class Devices:
    async def sample(self) -> tuple[tuple[DeviceSnapshot, ...], str]:
        return (GPU, CPU), ""


async def test_energy_is_shared_by_those_that_are_worked_on() -> None:
    requests, now = RequestLog(), [1000.0]
    keeper = HistoryKeeper(Devices(), requests, lambda: 7.0, lambda: now[0])  # type: ignore[arg-type]
    origin = Origin(route="/api/chat", client="test")
    async with requests.track("m", origin) as first, requests.track("m", origin) as second:
        first.prefills()
        await keeper.look()
        assert first.snapshot().energy_j == 0.0
        now[0] += 2.0
        await keeper.look()
        second.prefills()
        now[0] += 2.0
        await keeper.look()
        now[0] += 500.0  # the machine slept: that is not put down to anybody
        await keeper.look()
        assert first.snapshot().energy_j == 400.0 + 200.0 + 400.0
        assert second.snapshot().energy_j == 200.0 + 400.0
    now[0] += 2.0
    await keeper.look()
    seen = keeper.window(600)
    assert seen.n_ended[-1] == 2 and seen.tokens_per_s[-1] == 7.0
    assert power_of((GPU, CPU)) == 200.0
    assert requests.take_ended() == (0, 0)
