from __future__ import annotations

import asyncio
import math

import pytest
from msgspec.structs import replace

from server.backends.base import LoadedInfo
from server.backends.fake import FakeBackend, FakeScript
from server.errors import LoadFailed, ShuttingDown
from server.runners.runner import Runner, State
from tests.support.clock import run_virtual
from tests.support.pools import target


class Watched:
    """A runner and the states that it went through."""

    def __init__(self, script: FakeScript, *, load_timeout_s: float = math.inf) -> None:
        self.states: list[State] = []
        self.backend = FakeBackend("a", script)
        self.runner = Runner(
            target("a"),
            self.backend,
            load_timeout_s=load_timeout_s,
            on_change=lambda runner: self.states.append(runner.state),
        )


def test_life_of_a_runner() -> None:
    async def scenario() -> None:
        watched = Watched(FakeScript(load_duration_s=4.0))
        runner = watched.runner
        assert (runner.state, runner.can_serve, runner.is_loading) == ("starting", True, True)
        infos = await asyncio.gather(runner.ensure_ready(), runner.ensure_ready())
        assert isinstance(infos[0], LoadedInfo)
        assert infos[0] is infos[1] is runner.info
        assert (runner.state, runner.load_fraction) == ("ready", 1.0)
        runner.stop()
        assert not runner.can_serve
        await runner.wait_ended()
        assert runner.has_ended
        assert not watched.backend.is_usable
        assert watched.states == ["loading", "ready", "stopping", "stopped"]

    run_virtual(scenario())


def test_stop_cancels_a_load() -> None:
    async def scenario() -> None:
        started_s = asyncio.get_running_loop().time()
        watched = Watched(FakeScript(load_duration_s=1000.0))
        waiter = asyncio.create_task(watched.runner.ensure_ready())
        await asyncio.sleep(1.0)
        watched.runner.stop()
        with pytest.raises(ShuttingDown):
            await waiter
        await watched.runner.wait_ended()
        assert watched.states == ["loading", "stopping", "stopped"]
        assert asyncio.get_running_loop().time() < started_s + 2.0

    run_virtual(scenario())


def test_failed_load_closes_the_backend() -> None:
    async def scenario() -> None:
        watched = Watched(FakeScript(load_error=LoadFailed("broken")))
        with pytest.raises(LoadFailed, match="broken"):
            await watched.runner.ensure_ready()
        await watched.runner.wait_ended()
        assert not watched.backend.is_usable
        assert watched.states == ["loading", "failed", "failed"]

    run_virtual(scenario())


def test_cancelled_waiter_does_not_end_the_load() -> None:
    async def scenario() -> None:
        runner = Watched(FakeScript(load_duration_s=4.0)).runner
        waiter = asyncio.create_task(runner.ensure_ready())
        await asyncio.sleep(1.0)
        waiter.cancel()
        await asyncio.wait([waiter])
        assert isinstance(await runner.ensure_ready(), LoadedInfo)
        runner.stop()
        await runner.wait_ended()

    run_virtual(scenario())


def test_error_that_is_none_of_ours_reaches_the_waiters_too() -> None:
    async def scenario() -> None:
        def explode(fraction: float) -> None:
            raise ZeroDivisionError

        backend = FakeBackend("a")
        backend.load = lambda paths, params, on_progress: FakeBackend.load(  # type: ignore[method-assign]
            backend, paths, params, explode
        )
        runner = Runner(target("a"), backend, load_timeout_s=0.0, on_change=lambda runner: None)
        with pytest.raises(ZeroDivisionError):
            await runner.ensure_ready()
        await runner.wait_ended()

    run_virtual(scenario())


def test_targets_differ_by_files_and_parameters_but_not_by_slots() -> None:
    loaded = target("a")
    more_slots = replace(loaded, params=replace(loaded.params, n_slots=7), needed_bytes=1)
    assert more_slots.is_same_load(loaded)
    assert not target("a", n_ctx=7).is_same_load(loaded)
    assert not target("a", digest="other").is_same_load(loaded)
