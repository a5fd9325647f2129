"""Real models, loaded once, and engines on them."""

from __future__ import annotations

import os

# As the server sets it for a worker; read when llama.cpp's libraries load, which the imports below do.
os.environ["GOMP_SPINCOUNT"] = "200"

from collections.abc import Callable, Iterator

import pytest

from server.engine import native
from server.engine.inbox import Inbox
from server.engine.loading import Engine, open_engine
from server.engine.logs import LogSink
from server.engine.model import Model, load_model
from server.types.generation import LoadParams, ModelPaths
from tests.support.engine_worker import MINILM, SPARK, SPARK_F16

MakeEngine = Callable[..., Engine]


@pytest.fixture(scope="session")
def log() -> LogSink:
    sink = LogSink()
    sink.install()
    native.backend_init()
    return sink


def _model(path: object, log: LogSink) -> Model:
    params = LoadParams(n_ctx=256, n_gpu_layers=0)
    return load_model(ModelPaths(model=str(path)), params, log, lambda fraction: True)


@pytest.fixture(scope="session")
def spark(log: LogSink) -> Model:
    return _model(SPARK, log)


@pytest.fixture(scope="session")
def spark_f16(log: LogSink) -> Model:
    return _model(SPARK_F16, log)


@pytest.fixture(scope="session")
def minilm(log: LogSink) -> Model:
    return _model(MINILM, log)


@pytest.fixture
def make_engine(log: LogSink) -> Iterator[MakeEngine]:
    """Makes engines whose contexts are freed at the end of the test."""
    engines: list[Engine] = []

    def make(model: Model, **values: object) -> Engine:
        params = LoadParams(**{"n_ctx": 512, "n_slots": 4, "n_gpu_layers": 0, **values})  # type: ignore[arg-type]
        log.install()  # whoever reads grammars in this process has taken llama.cpp's log away
        engine = open_engine(model, params, Inbox(-1), log)
        engines.append(engine)
        return engine

    yield make
    for engine in engines:
        engine.context.close()
