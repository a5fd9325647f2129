"""The pool in virtual time: leases, keep-alive, and what goes wrong."""

from __future__ import annotations

import asyncio
import math

import pytest

from server.backends.fake import FakeScript
from server.errors import LoadFailed, OutOfMemory, ShuttingDown
from tests.support.pools import UNIX_TIME_AT_START, Bench, failure, in_virtual_time, start, target

# Leases


@in_virtual_time
async def test_requests_for_one_model_share_one_load() -> None:
    bench = Bench()
    times = await asyncio.gather(*(bench.use("a", 1.0) for _ in range(5)))
    assert times == [(2.0, 3.0)] * 5
    assert bench.loads("a") == 1
    await bench.use("a")
    assert (bench.loads("a"), bench.now_s) == (1, 3.0)


@in_virtual_time
async def test_different_models_load_side_by_side() -> None:
    bench = Bench()
    times = tuple(await asyncio.gather(bench.use("a"), bench.use("b")))
    assert times == ((2.0, 2.0), (2.0, 2.0))


@in_virtual_time
async def test_one_digest_under_two_names_is_two_models() -> None:
    bench = Bench()
    await asyncio.gather(bench.use("a", digest="same"), bench.use("b", digest="same"))
    assert bench.names == ["a", "b"]


@in_virtual_time
async def test_load_duration_counts_from_the_request() -> None:
    bench = Bench(max_loaded=1)
    first = start(bench.use("a", 5.0))
    await asyncio.sleep(1.0)
    async with bench.pool.acquire(target("b"), keep_alive_s=None, on_wait=lambda *_: None) as lease:
        assert lease.load_duration_ns == pytest.approx(8e9)  # until 7 s for the place, 2 s to load
    await first


@in_virtual_time
async def test_error_in_the_block_gives_the_model_back() -> None:
    bench = Bench(keep_alive_s=0.0)

    async def fail() -> None:
        async with bench.pool.acquire(target("a"), keep_alive_s=None, on_wait=lambda *_: None):
            raise LoadFailed("of another kind")

    assert await failure(fail()) is LoadFailed
    await asyncio.sleep(0.1)
    assert bench.names == []


# Other parameters


@in_virtual_time
async def test_other_parameters_reload_after_the_requests_that_run() -> None:
    bench = Bench()
    old = start(bench.use("a", 10.0, n_ctx=100))
    await asyncio.sleep(3.0)
    reasons: list[tuple[int, str]] = []
    new = start(bench.use("a", n_ctx=50, on_wait=lambda *news: reasons.append(news)))
    await asyncio.sleep(1.0)
    late = start(bench.use("a", n_ctx=100))
    assert (await old)[1] == 12.0
    assert (await new)[0] == 14.0
    assert (await late)[0] == 16.0
    assert bench.loads("a") == 3
    assert reasons[0] == (1, "waits for a to unload")
    assert reasons[-1] == (0, "loading")


@in_virtual_time
async def test_new_digest_of_a_name_reloads() -> None:
    bench = Bench()
    await bench.use("a", digest="1")
    await bench.use("a", digest="2")
    assert bench.loads("a") == 2
    assert [model.digest for model in bench.pool.running()] == ["2"]


# Keep-alive


@in_virtual_time
async def test_timer_starts_when_the_last_request_ends() -> None:
    bench = Bench(keep_alive_s=10.0)
    await asyncio.gather(bench.use("a", 1.0), bench.use("a", 20.0))
    assert bench.pool.running()[0].expires_at == UNIX_TIME_AT_START + 32.0
    await asyncio.sleep(9.9)
    assert bench.names == ["a"]
    await asyncio.sleep(0.2)
    assert bench.names == []


@in_virtual_time
async def test_request_renews_the_timer() -> None:
    bench = Bench(keep_alive_s=10.0)
    for _ in range(5):
        await bench.use("a")
        await asyncio.sleep(9.0)
    assert bench.loads("a") == 1


@in_virtual_time
async def test_timer_does_not_run_while_the_model_is_in_use() -> None:
    bench = Bench(keep_alive_s=5.0)
    await bench.use("a")
    await asyncio.sleep(4.0)
    using = start(bench.use("a", 10.0))
    await asyncio.sleep(3.0)
    await bench.use("a")
    await using
    assert bench.loads("a") == 1


@in_virtual_time
async def test_value_sticks_until_another_is_given() -> None:
    bench = Bench(keep_alive_s=10.0)
    await bench.use("a", keep_alive_s=50.0)
    await asyncio.sleep(40.0)
    await bench.use("a")
    await asyncio.sleep(40.0)
    assert bench.names == ["a"]
    await bench.use("a", keep_alive_s=5.0)
    await asyncio.sleep(5.1)
    assert bench.names == []


@in_virtual_time
async def test_zero_unloads_as_soon_as_idle() -> None:
    bench = Bench()
    other = start(bench.use("a", 5.0))
    await bench.use("a", 1.0, keep_alive_s=0.0)
    await asyncio.sleep(1.0)
    assert bench.names == ["a"]
    await other
    await asyncio.sleep(0.1)
    assert bench.names == []


@in_virtual_time
async def test_for_ever_stays() -> None:
    bench = Bench()
    await bench.use("a", keep_alive_s=math.inf)
    await asyncio.sleep(1e6)
    assert bench.pool.running()[0].expires_at == math.inf


@in_virtual_time
async def test_keep_alive_can_be_set_from_outside() -> None:
    bench = Bench()
    assert not bench.pool.set_keep_alive("a", 1.0)
    await bench.use("a")
    assert bench.pool.set_keep_alive("a", 1.0)
    await asyncio.sleep(1.1)
    assert bench.names == []


# Unload


@in_virtual_time
async def test_unload_of_an_idle_model_returns_when_it_is_gone() -> None:
    bench = Bench()
    await bench.use("a")
    assert await bench.pool.unload("a")
    assert bench.names == []
    assert not await bench.pool.unload("a")
    assert bench.unloads == ["a", "a"]  # a model that does not load is asked to unload, too


@in_virtual_time
async def test_unload_of_a_busy_model_lets_its_requests_end() -> None:
    bench = Bench()
    running = start(bench.use("a", 5.0))
    await asyncio.sleep(3.0)
    assert await bench.pool.unload("a")
    assert bench.names == ["a"]
    assert (await running)[1] == 7.0
    await asyncio.sleep(0.1)
    assert bench.names == []


# What goes wrong


@in_virtual_time
async def test_failed_load_reaches_all_who_wait_for_it() -> None:
    bench = Bench()
    bench.scripts["a"] = FakeScript(load_duration_s=1.0, load_error=LoadFailed("broken"))
    results = await asyncio.gather(*(bench.use("a") for _ in range(4)), return_exceptions=True)
    assert [type(result) for result in results] == [LoadFailed] * 4
    assert len({id(result) for result in results}) == 4
    assert bench.loads("a") == 1
    await asyncio.sleep(0.1)
    assert bench.names == []
    bench.scripts.clear()
    await bench.use("a")


@in_virtual_time
async def test_load_without_progress_fails_in_time() -> None:
    bench = Bench(load_timeout_s=10.0)
    bench.scripts["slow"] = FakeScript(load_duration_s=100.0, n_load_steps=20)  # a step each 5 s
    bench.scripts["stalled"] = FakeScript(load_duration_s=100.0, n_load_steps=2)
    await bench.use("slow")
    started_s = bench.now_s
    with pytest.raises(LoadFailed, match="no progress for 10 s"):
        await bench.use("stalled")
    assert bench.now_s == pytest.approx(started_s + 10.0)


@in_virtual_time
async def test_dead_backend_is_replaced_by_the_next_request() -> None:
    bench = Bench()
    await bench.use("a")
    bench.made[0][1].die()
    await bench.use("a")
    assert bench.loads("a") == 2


@in_virtual_time
async def test_backend_that_dies_in_use_is_unloaded_after_it() -> None:
    bench = Bench()
    running = start(bench.use("a", 3.0))
    await asyncio.sleep(2.5)
    bench.made[0][1].die()
    await running
    await asyncio.sleep(0.1)
    assert bench.names == []


@in_virtual_time
async def test_load_without_memory_is_tried_again_once_others_are_gone() -> None:
    bench = Bench()
    await bench.use("other")
    bench.scripts["a"] = FakeScript(load_error=OutOfMemory("does not fit"))
    request = start(bench.use("a"))
    await asyncio.sleep(0)
    bench.scripts.clear()
    await request
    assert bench.names == ["a"]
    bench.scripts["b"] = FakeScript(load_error=OutOfMemory("does not fit"))
    assert await failure(bench.use("b")) is OutOfMemory
    assert bench.loads("b") == 2


# Status and end


@in_virtual_time
async def test_running_shows_loads_and_the_latest_expiry_first() -> None:
    bench = Bench()
    await bench.use("short", keep_alive_s=10.0)
    await bench.use("long", keep_alive_s=100.0)
    loading = start(bench.use("new", keep_alive_s=50.0))
    await asyncio.sleep(1.1)
    models = bench.pool.running()
    assert [(m.name, m.state) for m in models] == [("long", "ready"), ("new", "loading"), ("short", "ready")]
    assert 0 < models[1].load_fraction < 1
    assert models[1].size_bytes == 10
    assert models[0].size_bytes == 110  # weights, and a KV cache of 100 tokens
    await loading


@in_virtual_time
async def test_close_refuses_new_requests_and_ends_all() -> None:
    bench = Bench(max_loaded=1)
    running = start(bench.use("a", 1.0))
    waiting = start(bench.use("b"))
    await asyncio.sleep(2.5)
    await bench.pool.close()
    assert await failure(waiting) is ShuttingDown
    assert await failure(bench.use("a")) is ShuttingDown
    assert (await running)[1] == 3.0
    assert bench.names == []


@in_virtual_time
async def test_close_ends_a_load() -> None:
    bench = Bench()
    loading = start(bench.use("a"))
    await asyncio.sleep(1.0)
    await bench.pool.close()
    assert await failure(loading) is ShuttingDown
    assert (bench.names, bench.now_s) == ([], 1.0)
