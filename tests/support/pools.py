"""A pool of scripted backends in virtual time, with a record of what it did."""

from __future__ import annotations

import asyncio
import functools
import math
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from server.backends.base import Backend
from server.backends.fake import FakeBackend, FakeScript
from server.errors import OllaError
from server.runners.pool import RunnerPool
from server.runners.runner import LoadTarget
from server.types.generation import LoadParams, ModelPaths
from server.types.models import ModelDetails
from tests.support.clock import run_virtual

UNIX_TIME_AT_START = 1_700_000_000.0


def target(name: str, *, n_ctx: int = 100, digest: str = "", needed_bytes: int = 10) -> LoadTarget:
    """A model to load; its digest is its name unless told."""
    return LoadTarget(
        name=name,
        digest=digest or name,
        details=ModelDetails(),
        paths=ModelPaths(model=f"/{name}"),
        params=LoadParams(n_ctx=n_ctx),
        needed_bytes=needed_bytes,
    )


class Bench:
    """A pool and what it made.

    Attributes:
        made: all backends, in the order of their making.
        scripts: name to the script of its next backends; `script` for all others.
        free_bytes: what the pool is told is free.
        resident_bytes: what it is told that each worker takes now.
        unloads: names that the pool was asked to unload.
    """

    def __init__(
        self,
        *,
        max_loaded: int = 3,
        max_queue: int = 100,
        keep_alive_s: float = 300.0,
        load_timeout_s: float = math.inf,
        load_duration_s: float = 2.0,
        n_gpus: Callable[[], int] = lambda: 0,
    ) -> None:
        self.made: list[tuple[str, FakeBackend]] = []
        self.script = FakeScript(load_duration_s=load_duration_s, weights_bytes=10)
        self.scripts: dict[str, FakeScript] = {}
        self.free_bytes = 1_000_000
        self.resident_bytes: int | None = None
        self.unloads: list[str] = []
        self._loop = asyncio.get_running_loop()
        self._started_s = self._loop.time()
        self.pool = RunnerPool(
            new_backend=self._new_backend,
            max_loaded=max_loaded,
            max_queue=max_queue,
            default_keep_alive_s=keep_alive_s,
            load_timeout_s=load_timeout_s,
            free_bytes=lambda: self.free_bytes,
            resident_bytes=lambda pid: self.resident_bytes,
            n_gpus=n_gpus,
            on_unload=self.unloads.append,
            wall_clock=lambda: UNIX_TIME_AT_START + self.now_s,
        )

    @property
    def now_s(self) -> float:
        """Virtual seconds since the start."""
        return self._loop.time() - self._started_s

    @property
    def names(self) -> list[str]:
        """Names of the models that take memory, in order."""
        return sorted(model.name for model in self.pool.running())

    def loads(self, name: str) -> int:
        """How many backends were made for a name."""
        return sum(made == name for made, _ in self.made)

    async def use(
        self,
        name: str,
        duration_s: float = 0.0,
        *,
        keep_alive_s: float | None = None,
        n_ctx: int = 100,
        digest: str = "",
        needed_bytes: int = 10,
        on_wait: Callable[[int, str], None] = lambda position, reason: None,
    ) -> tuple[float, float]:
        """Hold a model for `duration_s`; returns when it was there and when it was given back."""
        wanted = target(name, n_ctx=n_ctx, digest=digest, needed_bytes=needed_bytes)
        async with self.pool.acquire(wanted, keep_alive_s=keep_alive_s, on_wait=on_wait) as lease:
            assert lease.info.n_ctx == n_ctx
            got_s = self.now_s
            await asyncio.sleep(duration_s)
        return got_s, self.now_s

    def _new_backend(self, name: str) -> Backend:
        backend = FakeBackend(name, self.scripts.get(name, self.script))
        self.made.append((name, backend))
        return backend


def in_virtual_time(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an async test in virtual time."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        run_virtual(test(*args, **kwargs))

    del run.__wrapped__  # else pytest sees a coroutine function
    return run


def start(coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    return asyncio.get_running_loop().create_task(coroutine)


async def failure(awaitable: Awaitable[Any]) -> type[BaseException]:
    """The class of the error that something ends with."""
    try:
        await awaitable
    except (OllaError, asyncio.CancelledError) as error:
        return type(error)
    raise AssertionError("it succeeded")
