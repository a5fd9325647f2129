"""The pool in virtual time: who makes room for whom, and the queue."""

from __future__ import annotations

import asyncio

import pytest

from server.errors import QueueFull
from tests.support.pools import Bench, failure, in_virtual_time, start

# Eviction


@in_virtual_time
async def test_least_recently_used_model_makes_room() -> None:
    bench = Bench(max_loaded=2)
    for name in ("a", "b", "a", "c"):
        await bench.use(name, 1.0)
    assert bench.names == ["a", "c"]


@in_virtual_time
async def test_zero_means_three_models_for_each_gpu() -> None:
    for n_gpus, expected in ((0, 3), (1, 3), (2, 6)):
        bench = Bench(max_loaded=0, n_gpus=lambda n=n_gpus: n)  # type: ignore[misc]
        for number in range(8):
            await bench.use(f"m{number}")
        assert len(bench.names) == expected
        await bench.pool.close()


@in_virtual_time
async def test_busy_model_is_not_evicted() -> None:
    bench = Bench(max_loaded=1)
    busy = start(bench.use("a", 5.0))
    await asyncio.sleep(1.0)
    assert (await bench.use("b"))[0] == 9.0
    assert (await busy) == (2.0, 7.0)


@in_virtual_time
async def test_memory_makes_room_too() -> None:
    bench = Bench(max_loaded=10)
    await bench.use("a")
    await bench.use("b")
    bench.free_bytes = 5
    request = start(bench.use("c", needed_bytes=20))
    await asyncio.sleep(0)
    assert {model.name: model.state for model in bench.pool.running()} == {"a": "stopping", "b": "ready"}
    bench.free_bytes += 110  # what a has given back
    await request
    assert bench.names == ["b", "c"]


@in_virtual_time
async def test_memory_that_models_have_not_touched_so_far_is_theirs() -> None:
    bench = Bench(max_loaded=10)
    await bench.use("a")
    await bench.use("b")
    bench.free_bytes, bench.resident_bytes = 100, 30  # of 110 for each
    request = start(bench.use("c", needed_bytes=20))
    await asyncio.sleep(0)
    assert {model.name: model.state for model in bench.pool.running()} == {"a": "stopping", "b": "ready"}
    await request
    assert bench.names == ["b", "c"]


@in_virtual_time
async def test_loads_side_by_side_only_with_memory_for_both() -> None:
    bench = Bench(max_loaded=10)
    bench.free_bytes = 100
    first = start(bench.use("a", 1.0, needed_bytes=60))
    second = start(bench.use("b", 1.0, needed_bytes=60))
    await asyncio.sleep(1.0)
    assert bench.names == ["a"]
    assert (await first)[0] == 2.0
    assert (await second)[0] == 4.0  # a holds less than was promised to it


@in_virtual_time
async def test_model_in_steady_use_gives_way_after_a_while() -> None:
    bench = Bench(max_loaded=1)

    async def steady() -> None:
        while True:
            await bench.use("a", 1.0)

    users = [start(steady()) for _ in range(2)]
    await asyncio.sleep(2.5)
    users.append(start(steady()))  # now the model is never idle
    got_s, _ = await bench.use("b")
    assert got_s < 2.5 + 10.0 + 1.0 + 2.5
    for user in users:
        user.cancel()


# The queue


@in_virtual_time
async def test_queue_is_bounded_with_the_known_text() -> None:
    bench = Bench(max_queue=1)
    loading = start(bench.use("a", 1.0))
    await asyncio.sleep(0)
    waiting = start(bench.use("a"))
    await asyncio.sleep(0)
    with pytest.raises(QueueFull) as caught:
        await bench.use("a")
    assert str(caught.value) == "server busy, please try again.  maximum pending requests exceeded"
    await asyncio.gather(loading, waiting)
    await asyncio.gather(*(bench.use("a", 1.0) for _ in range(20)))  # a loaded model has no queue


@in_virtual_time
async def test_with_no_queue_nobody_waits_but_models_still_change() -> None:
    bench = Bench(max_loaded=1, max_queue=0)
    busy = start(bench.use("a", 1.0))
    await asyncio.sleep(0)
    assert await failure(bench.use("a")) is QueueFull
    assert await failure(bench.use("b")) is QueueFull
    await busy
    await bench.use("b")
    assert bench.names == ["b"]


@in_virtual_time
async def test_waiting_requests_know_position_and_reason() -> None:
    bench = Bench(max_loaded=1)
    busy = start(bench.use("a", 5.0))
    await asyncio.sleep(3.0)
    news: dict[str, list[tuple[int, str]]] = {"b": [], "c": []}
    waiting = [start(bench.use(name, on_wait=lambda *n, name=name: news[name].append(n))) for name in news]
    await asyncio.gather(busy, *waiting)
    assert news["b"] == [
        (1, "waits for a loaded model to become idle: 1 of 1 are loaded"),
        (1, "waits for a to unload"),
        (0, "loading"),
    ]
    assert news["c"][0] == (2, "waits for the requests before it")
    assert (1, "waits for b to unload") in news["c"]
    assert news["c"][-1] == (0, "loading")


@in_virtual_time
async def test_cancelled_waiter_leaves_nothing_behind() -> None:
    bench = Bench(max_loaded=1)
    busy = start(bench.use("a", 5.0))
    await asyncio.sleep(3.0)
    waiting = start(bench.use("b"))
    await asyncio.sleep(1.0)
    assert bench.pool.n_waiting == 1
    waiting.cancel()
    await asyncio.wait([waiting])
    assert bench.pool.n_waiting == 0
    await busy
    await asyncio.sleep(1.0)
    assert bench.names == ["a"]
    assert bench.loads("b") == 0


@in_virtual_time
async def test_requests_behind_a_cancelled_one_move_up() -> None:
    bench = Bench(max_loaded=5)
    bench.free_bytes = 50
    busy = start(bench.use("a", 5.0))
    await asyncio.sleep(3.0)
    large = start(bench.use("large", needed_bytes=100))
    small = start(bench.use("small", needed_bytes=10))
    await asyncio.sleep(1.0)
    assert bench.pool.n_waiting == 2
    large.cancel()
    assert (await small)[0] == 6.0
    await busy


@in_virtual_time
async def test_waiter_cancelled_as_it_is_served_gives_the_model_back() -> None:
    bench = Bench(max_loaded=1, keep_alive_s=1.0)
    busy = start(bench.use("a", 5.0))
    await asyncio.sleep(3.0)
    waiting = start(bench.use("b"))
    await asyncio.sleep(0)
    served = asyncio.Event()

    def on_wait(position: int, reason: str) -> None:
        if reason == "loading":
            served.set()

    late = start(bench.use("b", on_wait=on_wait))
    await served.wait()
    late.cancel()
    waiting.cancel()
    await asyncio.wait([waiting, late, busy])
    await asyncio.sleep(5.0)
    assert bench.names == []


@in_virtual_time
async def test_load_that_nobody_waits_for_is_cancelled() -> None:
    bench = Bench()
    requests = [start(bench.use("a")) for _ in range(2)]
    await asyncio.sleep(1.0)
    requests[0].cancel()
    await asyncio.sleep(0.1)
    assert bench.names == ["a"]
    requests[1].cancel()
    await asyncio.wait(requests)
    await asyncio.sleep(0.1)
    assert bench.names == []
    assert (await bench.use("a"))[0] == pytest.approx(3.2)


@in_virtual_time
async def test_request_for_a_load_being_cancelled_loads_anew() -> None:
    bench = Bench()
    first = start(bench.use("a"))
    await asyncio.sleep(1.0)
    first.cancel()
    await asyncio.gather(bench.use("a"), return_exceptions=False)
    assert bench.loads("a") == 2
