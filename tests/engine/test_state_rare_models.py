"""States of models that cannot forget a part of a sequence, or see only a window of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from server.engine.loading import Engine
from server.engine.logs import LogSink
from server.engine.model import Model
from server.types.generation import StateCacheParams
from tests.engine.conftest import MakeEngine
from tests.support.generator_player import greedy_answers
from tests.support.mamba import load, write_mamba
from tests.support.rare_models import write_gemma3

FIRST = tuple(5 + index % 200 for index in range(300))
OTHER = tuple(204 - index % 199 for index in range(300))


@pytest.fixture(scope="module", params=["recurrent", "windowed"])
def rare(request: pytest.FixtureRequest, log: LogSink, tmp_path_factory: pytest.TempPathFactory) -> Model:
    path = tmp_path_factory.mktemp("rare") / "model.gguf"
    return load(log, (write_mamba if request.param == "recurrent" else write_gemma3)(path))


def open_one(make_engine: MakeEngine, model: Model, folder: Path) -> Engine:
    cache = StateCacheParams(
        host_bytes=1 << 26, disk_bytes=1 << 26, disk_folder=str(folder), model_key="rare"
    )
    # Such small models decode so fast that nothing would pay: let them seem slow.
    engine = make_engine(model, n_slots=1, n_ctx=512, state_cache=cache)
    assert engine.generator is not None
    engine.generator._pace.tokens_per_s = 10.0
    engine.generator._pace.measured = lambda *_, **__: None  # type: ignore[method-assign]
    return engine


@pytest.fixture
def cold(make_engine: MakeEngine, rare: Model) -> Any:
    def run(prompt: tuple[int, ...]) -> tuple[int, ...]:
        ((tokens, n_cached),) = greedy_answers(make_engine(rare, n_slots=1, n_ctx=512), prompt)
        assert n_cached == 0
        return tokens

    return run


def test_only_what_goes_on_where_a_state_ends_is_restored(
    make_engine: MakeEngine, rare: Model, tmp_path: Path, cold: Any
) -> None:
    engine = open_one(make_engine, rare, tmp_path / "kv")
    assert engine.context.restores_whole
    ((said, _),) = greedy_answers(engine, FIRST)
    goes_on = FIRST + said[:-1] + (7, 8, 9)
    cut = (*FIRST[:290], 7, 8, 9)
    (other, restored, cut_again) = greedy_answers(engine, OTHER, goes_on, (*OTHER, 9, 9))[:3]
    assert other[0] == cold(OTHER)
    assert restored == (cold(goes_on), len(FIRST) + len(said) - 1)
    assert cut_again[0] == cold((*OTHER, 9, 9))
    assert greedy_answers(engine, cut)[0][0] == cold(cut)


def test_the_next_worker_goes_on(make_engine: MakeEngine, rare: Model, tmp_path: Path, cold: Any) -> None:
    first = open_one(make_engine, rare, tmp_path / "kv")
    ((said, _),) = greedy_answers(first, FIRST)
    assert first.generator is not None
    first.generator.saver.finish()
    goes_on = FIRST + said[:-1] + tuple(range(7, 30))
    longer = goes_on + tuple(range(30, 60))
    second = open_one(make_engine, rare, tmp_path / "kv")
    (one, two) = greedy_answers(second, goes_on, (*goes_on[:-3], 99, 98))
    assert one == (cold(goes_on), len(FIRST) + len(said) - 1)
    assert two[0] == cold((*goes_on[:-3], 99, 98))
    third = open_one(make_engine, rare, tmp_path / "kv")
    (below, above) = greedy_answers(third, (*FIRST[:200], 1, 2), longer)
    assert below == (cold((*FIRST[:200], 1, 2)), 0), "within the state nothing can be restored"
    assert above == (cold(longer), len(FIRST) + len(said) - 1)


def test_what_was_restored_is_not_cut_below_its_end(
    make_engine: MakeEngine, rare: Model, tmp_path: Path, cold: Any
) -> None:
    first = open_one(make_engine, rare, tmp_path / "kv")
    ((said, _),) = greedy_answers(first, FIRST)
    assert first.generator is not None
    first.generator.saver.finish()
    engine = open_one(make_engine, rare, tmp_path / "kv")
    goes_on = FIRST + said[:-1] + (7, 8, 9)
    back = (*FIRST[:-30], 3, 2, 1)
    (_, cut) = greedy_answers(engine, goes_on, back)
    assert cut == (cold(back), 0)
