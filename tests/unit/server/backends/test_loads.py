"""Loads that fail or crash, the circuit against crash loops, and the spare worker."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from server.backends.circuit import CrashCircuits
from server.backends.llamacpp import LlamaCppBackend
from server.backends.spare import SpareWorker
from server.errors import BadModelFile, CrashLoop, LoadFailed, OutOfMemory
from server.types.generation import LoadParams, ModelPaths
from tests.support.fake_backends import FILE, PARAMS, Make, kill, load, text_of
from tests.support.fake_engine import Script, command
from tests.support.until import until


async def test_three_crashes_open_the_circuit_until_the_model_is_unloaded(make: Make) -> None:
    circuits = CrashCircuits()
    backend = make(circuits=circuits)
    await load(backend)
    for _ in range(3):
        assert await text_of(backend) == "abcabc"
        kill(backend)
    await until(lambda: not backend.stats().pid)
    for _ in range(2):
        with pytest.raises(CrashLoop, match=r"3 times within 5 minutes.*'olla stop fake:1'") as caught:
            await text_of(backend)
        assert "fake engine: started" in caught.value.message
        assert backend.is_usable
    with pytest.raises(CrashLoop):
        await load(make(circuits=circuits))
    circuits.forget("fake:1")
    other = make(circuits=circuits)
    await load(other)
    assert await text_of(other) == "abcabc"


async def test_a_draft_model_that_fails_later_is_told_of(make: Make) -> None:
    backend = make(Script(draft_failure="it has failed: no reason"))
    assert backend.stats().loaded is None
    await load(backend)
    loaded = backend.stats().loaded
    assert loaded is not None and loaded.has_draft_model
    await backend.tokenize(("a",))
    loaded = backend.stats().loaded
    assert loaded is not None and not loaded.has_draft_model
    assert loaded.draft_refusal == "it has failed: no reason"


async def test_crashes_in_the_load_count_over_backends(make: Make, tmp_path: Path) -> None:
    """A backend ends with a load that fails; the next request makes another one."""
    circuits = CrashCircuits()
    lines: list[str] = []
    script = Script(crash_on="Load")

    def build() -> LlamaCppBackend:
        return make(script, circuits=circuits, on_log=lambda level, text: lines.append(text))

    for _ in range(3):
        with pytest.raises(LoadFailed, match="SIGKILL"):
            await load(build())
    n_started = lines.count("fake engine: started")
    for _ in range(2):
        with pytest.raises(CrashLoop, match=r"'fake:1' has stopped unexpectedly 3 times.*'olla stop fake:1'"):
            await load(build())
    assert lines.count("fake engine: started") == n_started == 3
    assert "the engine stopped unexpectedly (killed by SIGKILL) while it loaded the model" in lines
    with pytest.raises(LoadFailed, match="SIGKILL"):  # loaded otherwise, it may do better
        await build().load(FILE, LoadParams(n_ctx=500), lambda fraction: None)


async def test_a_load_that_is_refused_is_no_crash(make: Make) -> None:
    circuits = CrashCircuits()
    script = Script(load_failure=("load_failed", "no"))
    for _ in range(4):
        with pytest.raises(LoadFailed, match="no"):
            await load(make(script, circuits=circuits))


async def test_a_load_that_is_cancelled_is_no_crash(make: Make) -> None:
    circuits = CrashCircuits()
    fractions: list[float] = []
    for n_loads in range(3):
        backend = make(Script(load_step_s=0.05), circuits=circuits)
        task = asyncio.create_task(backend.load(FILE, PARAMS, fractions.append))
        await until(lambda n=n_loads: len(fractions) > n)
        task.cancel()
        await asyncio.wait([task])
    backend = make(circuits=circuits)
    await load(backend)
    assert await text_of(backend) == "abcabc"


async def test_replacement_that_does_not_load_ends_the_backend(make: Make, tmp_path: Path) -> None:
    model = tmp_path / "model.gguf"
    model.touch()
    backend = make()
    await backend.load(ModelPaths(model=str(model)), PARAMS, lambda fraction: None)
    model.unlink()
    kill(backend)
    for _ in range(2):
        with pytest.raises(LoadFailed, match="no such file"):
            await text_of(backend)
        assert not backend.is_usable


@pytest.mark.parametrize(
    ("kind", "error"),
    [("out_of_memory", OutOfMemory), ("bad_model_file", BadModelFile), ("load_failed", LoadFailed)],
)
async def test_load_failure_has_its_class(make: Make, kind: str, error: type[Exception]) -> None:
    backend = make(Script(load_failure=(kind, "it does not work")))  # type: ignore[arg-type]
    with pytest.raises(error, match="it does not work"):
        await load(backend)
    assert not backend.is_usable


async def test_worker_that_dies_in_the_load_is_a_failed_load(make: Make) -> None:
    with pytest.raises(LoadFailed, match="SIGKILL") as caught:
        await load(make(Script(crash_on="Load")))
    assert "crashing as scripted" in caught.value.hint


async def test_other_version_of_the_protocol_is_refused(make: Make) -> None:
    with pytest.raises(LoadFailed, match="version 999"):
        await load(make(Script(version=999)))


async def test_command_that_does_not_exist_is_a_failed_load() -> None:
    backend = LlamaCppBackend("x", command=("/does/not/exist",), on_log=lambda level, text: None)
    with pytest.raises(LoadFailed, match="cannot be started"):
        await load(backend)


async def test_spare_is_taken_and_followed_by_another(make: Make) -> None:
    spare = SpareWorker(command(), ready_after_s=0.0)
    spare.prepare()
    first, second = make(spare=spare), make(spare=spare)
    await load(first)
    await load(second)
    assert first.stats().pid != second.stats().pid
    assert await text_of(second) == "abcabc"
    await spare.close()


async def test_the_next_spare_starts_when_the_first_answer_has_ended(make: Make) -> None:
    spare = SpareWorker(command(), ready_after_s=1e6)
    backend = make(spare=spare)
    await load(backend)
    assert await text_of(backend) == "abcabc"
    await until(lambda: spare.pid > 0)
    await spare.close()
