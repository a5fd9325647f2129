"""A real worker process for tests, spoken to over its pipes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from server.ipc.framing import FROM_ENGINE, decode, read_frame, write_frame
from server.ipc.messages import (
    Failed,
    Finished,
    FromEngine,
    Hello,
    Load,
    Loaded,
    LoadFailed,
    LoadProgress,
    Step,
    ToEngine,
)
from server.types.generation import LoadParams, ModelPaths

REPOSITORY = Path(__file__).parents[2]
SPARK = REPOSITORY / "server" / "bundled" / "spark.gguf"
SPARK_F16 = REPOSITORY / "tests" / "models" / "spark-f16.gguf"
MINILM = REPOSITORY / "tests" / "models" / "minilm.gguf"

T = TypeVar("T")


class Worker:
    """The parent's end of a worker, reading and writing in turn."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None and process.stdout is not None
        self.process = process
        self._in_fd = process.stdin.fileno()
        self._out_fd = process.stdout.fileno()
        self.text: dict[int, str] = {}
        self.tokens: dict[int, list[int]] = {}
        self.ends: dict[int, Finished | Failed] = {}
        self.steps: list[Step] = []

    def send(self, message: ToEngine) -> None:
        write_frame(self._in_fd, message)

    def receive(self) -> FromEngine | None:
        """The next message, None at the end of the stream; deltas are added up in `text` and `tokens`."""
        payload = read_frame(self._out_fd)
        if payload is None:
            return None
        message = decode(payload, FROM_ENGINE)
        if isinstance(message, Step):
            self.steps.append(message)
            for delta in message.deltas:
                assert delta.request_id not in self.ends
                self.text[delta.request_id] = self.text.get(delta.request_id, "") + delta.text
                self.tokens.setdefault(delta.request_id, []).extend(delta.tokens)
        elif isinstance(message, Finished | Failed):
            assert message.request_id not in self.ends
            self.ends[message.request_id] = message
        return message

    def wait_for(self, kind: type[T]) -> T:
        """Receive until a message of a kind comes."""
        while True:
            message = self.receive()
            assert message is not None, "the worker ended"
            if isinstance(message, kind):
                return message

    def wait_for_end(self, request_id: int) -> Finished | Failed:
        """Receive until a request has ended."""
        while request_id not in self.ends:
            assert self.receive() is not None, "the worker ended"
        return self.ends[request_id]

    def load(self, model: Path, **params: object) -> Loaded | LoadFailed:
        """Load a model and wait for the outcome."""
        values: dict[str, object] = {"n_ctx": 1024, "n_slots": 4, "n_gpu_layers": 0, **params}
        self.send(Load(ModelPaths(model=str(model)), LoadParams(**values)))  # type: ignore[arg-type]
        while True:
            message = self.receive()
            if isinstance(message, Loaded | LoadFailed):
                return message
            assert isinstance(message, LoadProgress), message


@contextmanager
def worker_process() -> Iterator[Worker]:
    """A worker that has said hello; it is gone at the end."""
    environment = {**os.environ, "GOMP_SPINCOUNT": "200", "GGML_NO_BACKTRACE": "1"}
    environment["PYTHONPATH"] = str(REPOSITORY)
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "server.engine"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
        env=environment,
    )
    try:
        worker = Worker(process)
        worker.wait_for(Hello)
        yield worker
    finally:
        if process.stdin is not None:
            process.stdin.close()
        try:
            process.wait(timeout=10)
        finally:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
