"""Conversations outlive the worker: its end, its death, and another worker beside it."""

from __future__ import annotations

import signal
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from server.ipc.messages import Bye, Finished, Shutdown, Submit, Tokenize, Tokens
from server.types.generation import SamplingParams, StateCacheParams
from tests.support.engine_worker import SPARK, SPARK_F16, Worker, worker_process
from tests.support.generator_player import EOG
from tests.support.states import TOPICS, conversation

SAMPLING = SamplingParams(temperature=0.0, n_predict=24, logit_bias=EOG)


def load(worker: Worker, folder: Path, model: Path = SPARK_F16, **params: object) -> None:
    cache = StateCacheParams(
        host_bytes=1 << 26, disk_bytes=1 << 28, disk_folder=str(folder), model_key=model.name
    )
    worker.load(model, **{"n_ctx": 1024, "n_slots": 1, "state_cache": cache, **params})


def run(worker: Worker, request_id: int, prompt: str, sampling: SamplingParams = SAMPLING) -> Finished:
    worker.send(Submit(request_id=request_id, prompt=(prompt,), sampling=sampling))
    end = worker.wait_for_end(request_id)
    assert isinstance(end, Finished)
    return end


def wait_until_saved(worker: Worker, folder: Path, n_files: int = 1) -> None:
    """Talk to the worker until so many conversations are on disk and none is half written."""
    deadline_s = time.monotonic() + 20.0
    while [path.suffix for path in files(folder)] != [".kv"] * n_files:
        assert time.monotonic() < deadline_s
        worker.send(Tokenize(request_id=1000, texts=("a",)))
        assert worker.wait_for(Tokens).request_id == 1000


def leave(worker: Worker) -> None:
    worker.send(Shutdown())
    assert worker.process.stdin is not None
    worker.process.stdin.close()  # as the server does, at once
    worker.wait_for(Bye)
    assert worker.process.wait(timeout=5) == 0


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and path.name != "lock"]


@pytest.fixture
def unbroken(tmp_path: Path) -> Callable[..., str]:
    """The answer of a worker that has seen nothing else."""

    def answer(prompt: str) -> str:
        with worker_process() as worker:
            load(worker, tmp_path / "elsewhere")
            run(worker, 1, prompt)
            return worker.text[1]

    return answer


def test_a_conversation_goes_on_in_the_next_worker(tmp_path: Path, unbroken: Callable[..., str]) -> None:
    with worker_process() as worker:
        load(worker, tmp_path / "kv")
        run(worker, 1, conversation(TOPICS[0], 4))
        leave(worker)
    assert [stat.S_IMODE(path.stat().st_mode) for path in files(tmp_path / "kv")] == [0o600]
    with worker_process() as worker:
        load(worker, tmp_path / "kv")
        end = run(worker, 1, conversation(TOPICS[0], 5))
        assert end.timings.n_cached_tokens > 256
        assert worker.text[1] == unbroken(conversation(TOPICS[0], 5))


def test_a_conversation_goes_on_after_the_worker_was_killed(
    tmp_path: Path, unbroken: Callable[..., str]
) -> None:
    with worker_process() as worker:
        load(worker, tmp_path / "kv")
        run(worker, 1, conversation(TOPICS[0], 4))
        wait_until_saved(worker, tmp_path / "kv")
        worker.process.send_signal(signal.SIGKILL)
        worker.process.wait(timeout=5)
    with worker_process() as worker:
        load(worker, tmp_path / "kv")
        end = run(worker, 1, conversation(TOPICS[0], 5))
        assert end.timings.n_cached_tokens > 256
        assert worker.text[1] == unbroken(conversation(TOPICS[0], 5))


def test_what_the_worker_was_doing_when_told_to_leave_is_saved(tmp_path: Path) -> None:
    endless = SamplingParams(temperature=0.0, n_predict=100_000, logit_bias=EOG, context_shift=False)
    with worker_process() as worker:
        load(worker, tmp_path / "kv")
        worker.send(Submit(request_id=1, prompt=(conversation(TOPICS[0], 4),), sampling=endless))
        while len(worker.tokens.get(1, ())) < 20:
            worker.receive()
        leave(worker)
    with worker_process() as worker:
        load(worker, tmp_path / "kv")
        end = run(worker, 1, conversation(TOPICS[0], 4))
        assert end.timings.n_cached_tokens == end.timings.n_prompt_tokens - 1


def test_two_workers_share_what_they_save(tmp_path: Path) -> None:
    with worker_process() as first, worker_process() as second:
        load(first, tmp_path / "kv")
        load(second, tmp_path / "kv")
        run(first, 1, conversation(TOPICS[0], 4))
        run(second, 1, conversation(TOPICS[1], 4))
        for worker in (first, second):
            wait_until_saved(worker, tmp_path / "kv", n_files=2)
        for worker, topic in ((first, TOPICS[1]), (second, TOPICS[0])):
            end = run(worker, 2, conversation(topic, 4))
            assert end.timings.n_cached_tokens == end.timings.n_prompt_tokens - 1


def test_another_model_does_not_meet_them(tmp_path: Path) -> None:
    with worker_process() as worker:
        load(worker, tmp_path / "kv")
        run(worker, 1, conversation(TOPICS[0], 4))
        leave(worker)
    with worker_process() as worker:
        load(worker, tmp_path / "kv", SPARK)
        assert run(worker, 1, conversation(TOPICS[0], 4)).timings.n_cached_tokens == 0


def test_nothing_is_written_where_it_is_switched_off(tmp_path: Path) -> None:
    with worker_process() as worker:
        cache = StateCacheParams(host_bytes=1 << 26, disk_folder=str(tmp_path / "kv"), model_key="spark")
        load(worker, tmp_path / "kv", state_cache=cache)
        run(worker, 1, conversation(TOPICS[0], 4))
        leave(worker)
    assert not (tmp_path / "kv").exists()
