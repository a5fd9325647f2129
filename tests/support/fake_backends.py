"""Backends on a fake worker, and what tests do with them."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import aclosing

from server.backends.base import Backend, GenerationDone, GenerationJob, TextDelta
from server.backends.llamacpp import LlamaCppBackend
from server.types.generation import LoadParams, ModelPaths, SamplingParams

FILE = ModelPaths(model=__file__)
PARAMS = LoadParams(n_ctx=1000, n_slots=4)
JOB = GenerationJob(prompt=("abc",), sampling=SamplingParams(n_predict=6))

Make = Callable[..., LlamaCppBackend]


async def load(backend: Backend) -> None:
    await backend.load(FILE, PARAMS, lambda fraction: None)


async def events_of(backend: Backend, job: GenerationJob) -> tuple[list[TextDelta], GenerationDone]:
    async with aclosing(backend.generate(job)) as events:
        *deltas, done = [event async for event in events]
    assert isinstance(done, GenerationDone)
    return [delta for delta in deltas if isinstance(delta, TextDelta)], done


async def text_of(backend: Backend, job: GenerationJob = JOB) -> str:
    return "".join(delta.text for delta in (await events_of(backend, job))[0])


def kill(backend: Backend) -> int:
    """Kill -9 the worker; returns its process id."""
    pid = backend.stats().pid
    assert pid > 0
    os.kill(pid, signal.SIGKILL)
    return pid
