"""The pool against what must always hold, under random requests, cancellations, deaths and passing time."""

from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from server.backends.fake import FakeScript
from server.errors import LoadFailed, OllaError, QueueFull
from tests.support.clock import run_virtual
from tests.support.pools import Bench, target

MAX_LOADED = 2
MAX_QUEUE = 4

NAMES = st.sampled_from(["a", "b", "c"])
STEPS = st.one_of(
    st.tuples(
        st.just("acquire"),
        NAMES,
        st.sampled_from([50, 100]),  # n_ctx
        st.sampled_from([0.0, 1.0, 7.0]),  # time in use
        st.sampled_from([None, 0.0, 5.0, float("inf")]),  # keep-alive
        st.sampled_from([10, 400_000]),  # bytes
    ),
    st.tuples(st.just("cancel"), st.integers(0, 30)),
    st.tuples(st.just("advance"), st.sampled_from([0.0, 0.4, 2.0, 30.0])),
    st.tuples(st.just("unload"), NAMES),
    st.tuples(st.just("die"), st.integers(0, 30)),
    st.tuples(st.just("fail"), NAMES, st.booleans()),
)


class World:
    """A pool, the requests that were made of it, and what is in use by their own account."""

    def __init__(self) -> None:
        self.bench = Bench(max_loaded=MAX_LOADED, max_queue=MAX_QUEUE, keep_alive_s=20.0)
        self.requests: list[asyncio.Task[str]] = []
        self.in_use: dict[str, int] = {}

    async def request(
        self, name: str, n_ctx: int, use_s: float, keep_alive_s: float | None, n_bytes: int
    ) -> str:
        """One request; returns its one end."""

        def on_wait(position: int, reason: str) -> None:
            assert reason
            assert 0 <= position <= MAX_QUEUE + 1

        wanted = target(name, n_ctx=n_ctx, needed_bytes=n_bytes)
        try:
            async with self.bench.pool.acquire(wanted, keep_alive_s=keep_alive_s, on_wait=on_wait) as lease:
                assert lease.info.n_ctx == n_ctx
                self.in_use[name] = self.in_use.get(name, 0) + 1
                try:
                    await asyncio.sleep(use_s)
                finally:
                    self.in_use[name] -= 1
        except QueueFull:
            return "refused"
        except OllaError:
            return "failed"
        return "served"

    def check(self) -> None:
        """What holds at every moment."""
        running = self.bench.pool.running()
        assert len(running) <= MAX_LOADED
        assert len({model.name for model in running}) == len(running)
        assert 0 <= self.bench.pool.n_waiting <= MAX_QUEUE
        loaded = {model.name for model in running}
        for name, n_users in self.in_use.items():
            assert n_users >= 0
            if n_users:
                assert name in loaded, "a model in use is not there"
        expiries = [model.expires_at for model in running]
        assert expiries == sorted(expiries, reverse=True)

    async def do(self, step: tuple[object, ...]) -> None:
        match step:
            case ("acquire", str(name), int(n_ctx), float(use_s), keep_alive_s, int(n_bytes)):
                assert keep_alive_s is None or isinstance(keep_alive_s, float)
                task = asyncio.create_task(self.request(name, n_ctx, use_s, keep_alive_s, n_bytes))
                self.requests.append(task)
                await asyncio.sleep(0)
            case ("cancel", int(index)) if self.requests:
                self.requests[index % len(self.requests)].cancel()
            case ("advance", float(duration_s)):
                await asyncio.sleep(duration_s)
            case ("unload", str(name)):
                await self.bench.pool.unload(name)
            case ("die", int(index)) if self.bench.made:
                self.bench.made[index % len(self.bench.made)][1].die()
            case ("fail", str(name), bool(fails)):
                error = LoadFailed("as told") if fails else None
                self.bench.scripts[name] = FakeScript(load_duration_s=2.0, load_error=error)


@settings(max_examples=150, deadline=None)
@given(st.lists(STEPS, max_size=30))
def test_limits_hold_and_every_request_ends_once(steps: list[tuple[object, ...]]) -> None:
    async def scenario() -> None:
        world = World()
        world.bench.free_bytes = 500_000
        for step in steps:
            await world.do(step)
            world.check()
        await asyncio.sleep(10_000.0)
        world.check()
        assert all(request.done() for request in world.requests), "a request never ended"
        ends = [request.result() for request in world.requests if not request.cancelled()]
        assert set(ends) <= {"served", "refused", "failed"}
        assert world.bench.pool.n_waiting == 0
        assert not any(world.in_use.values())
        assert all(model.expires_at == float("inf") for model in world.bench.pool.running())
        await world.bench.pool.close()
        assert world.bench.pool.running() == ()
        assert all(not backend.is_usable for _, backend in world.bench.made)
        assert len(asyncio.all_tasks()) == 1, "the pool left tasks behind"

    run_virtual(scenario())
