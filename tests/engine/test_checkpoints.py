"""Memory that cannot be cut anywhere is used again where it is exact, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.engine.checkpoints import MIN_CHECKPOINT_TOKENS, checkpoint_lengths
from server.engine.loading import Engine
from server.engine.logs import LogSink
from server.engine.model import Model
from server.hardware.memory_plan import MemoryPlan
from server.ipc.messages import Finished
from server.types.generation import StateCacheParams
from tests.engine.conftest import MakeEngine
from tests.engine.test_memory_estimates import check, shape_of
from tests.support.generator_player import Player
from tests.support.mamba import load, write_mamba
from tests.support.rare_models import END, N_WINDOW, write_gemma3, write_lfm2

Prompt = tuple[int, ...]
NEVER_END = ((END, -float("inf")),)
WRITERS: dict[str, Callable[[Path], Path]] = {
    "mamba": write_mamba,
    "lfm2": write_lfm2,
    "gemma3": write_gemma3,
}

SYSTEM: Prompt = (*range(10, 60), END)
QUESTION: Prompt = (*range(100, 140), END)
OTHER_QUESTION: Prompt = (*range(150, 180), END)
HEADER: Prompt = (5, 6)


@given(prompt=st.lists(st.integers(0, 5), min_size=1, max_size=200))
def test_states_are_kept_before_the_last_message_and_before_the_last_token(prompt: list[int]) -> None:
    tokens = np.array(prompt, np.int32)
    lengths = checkpoint_lengths(tokens, np.array([0], np.int32))
    assert list(lengths) == sorted(set(lengths))
    assert all(MIN_CHECKPOINT_TOKENS <= length < len(prompt) for length in lengths)
    if len(prompt) > MIN_CHECKPOINT_TOKENS:
        assert len(prompt) - 1 in lengths
    for length in lengths[:-1]:
        assert prompt[length - 1] == 0
        assert 0 in prompt[length:]


def make(make_engine: MakeEngine, model: Model, **values: object) -> Engine:
    options = {"n_slots": 2, "n_ctx": 512, "n_checkpoints": 4, "n_batch": 128, **values}
    if model.is_recurrent and not values:
        options["n_pool_cells"] = 1024
    return make_engine(model, **options)


def say(player: Player, prompt: Prompt, n_predict: int = 10) -> tuple[Prompt, int]:
    """The answer to a prompt and how many of its tokens were found in memory."""
    request_id = player.submit(prompt, n_predict=n_predict, logit_bias=NEVER_END, n_draft=0)
    while request_id not in player.ends:
        player.step()
    end = player.ends[request_id]
    assert isinstance(end, Finished), end
    return player.tokens(request_id), end.timings.n_cached_tokens


def conversation(turns: list[Prompt]) -> Prompt:
    return tuple(token for turn in turns for token in turn) + HEADER


@pytest.fixture(scope="module", params=["mamba", "lfm2"])
def recurrent(
    request: pytest.FixtureRequest, log: LogSink, tmp_path_factory: pytest.TempPathFactory
) -> Model:
    return load(log, WRITERS[request.param](tmp_path_factory.mktemp("models") / "model.gguf"))


@pytest.fixture(scope="module")
def gemma3(log: LogSink, tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load(log, write_gemma3(tmp_path_factory.mktemp("models") / "model.gguf"))


def test_the_turns_of_a_conversation_go_on_where_they_can(make_engine: MakeEngine, recurrent: Model) -> None:
    player = Player(make(make_engine, recurrent))
    first = conversation([SYSTEM, QUESTION])
    said, _ = say(player, first)
    goes_on = (*first, *said, END, *OTHER_QUESTION, *HEADER)
    rewritten = (*first, *said[:3], END, *OTHER_QUESTION, *HEADER)
    edited = conversation([SYSTEM, OTHER_QUESTION])
    expected = {
        first: len(first) - 1,
        goes_on: len(first) + len(said) - 1,
        rewritten: len(first) - 1,
        edited: len(SYSTEM),
    }
    for prompt in (goes_on, first, rewritten, edited):
        answer, n_cached = say(player, prompt)
        assert n_cached == expected[prompt]
        cold, found = say(Player(make(make_engine, recurrent)), prompt)
        assert found == 0
        assert answer == cold


def test_a_message_that_is_edited_late_starts_after_the_turn_before(
    make_engine: MakeEngine, recurrent: Model
) -> None:
    player = Player(make(make_engine, recurrent))
    turns = [SYSTEM, QUESTION, (*HEADER, 7, 8, 9, END)]
    say(player, conversation([*turns, OTHER_QUESTION]))
    edited = conversation([*turns, (*OTHER_QUESTION[3:], 3, END)])
    answer, n_cached = say(player, edited)
    assert n_cached == sum(map(len, turns))
    assert answer == say(Player(make(make_engine, recurrent)), edited)[0]


def test_requests_at_once_share_what_was_kept(make_engine: MakeEngine, recurrent: Model) -> None:
    player = Player(make(make_engine, recurrent, n_slots=4, n_checkpoints=8, n_pool_cells=2048))
    say(player, conversation([SYSTEM, QUESTION]))
    prompts = [conversation([SYSTEM, (number, *OTHER_QUESTION)]) for number in range(200, 204)]
    ids = [player.submit(prompt, n_predict=12, logit_bias=NEVER_END) for prompt in prompts]
    while len(player.ends) < 5:
        player.step()
    assert max(step.stats.n_busy_slots for step in player.steps) == 4
    for request_id, prompt in zip(ids, prompts, strict=True):
        end = player.ends[request_id]
        assert isinstance(end, Finished)
        assert end.timings.n_cached_tokens == len(SYSTEM)
        assert player.tokens(request_id) == say(Player(make(make_engine, recurrent)), prompt, 12)[0]


@pytest.mark.parametrize("host_bytes", [0, 1 << 26])
def test_checkpoints_make_way_for_requests(
    make_engine: MakeEngine, recurrent: Model, host_bytes: int
) -> None:
    """Many conversations in a pool of one context: what is kept never keeps a request from finishing."""
    values = {"n_slots": 4, "n_checkpoints": 8, "n_pool_cells": 512}
    cache = StateCacheParams(host_bytes=host_bytes)
    player = Player(make(make_engine, recurrent, state_cache=cache, **values))
    prompts = [conversation([SYSTEM, (number, *QUESTION * 3)]) for number in range(200, 212)]
    ids = [player.submit(prompt, n_predict=100, logit_bias=NEVER_END) for prompt in prompts]
    while len(player.ends) < len(ids):
        player.step()
    for request_id, prompt in zip(ids, prompts, strict=True):
        assert isinstance(player.ends[request_id], Finished)
        cold, _ = say(Player(make(make_engine, recurrent)), prompt, 100)
        # Cells in another order, and others in the batch, round differently in the end.
        assert player.tokens(request_id)[:60] == cold[:60]


@pytest.mark.parametrize("swa_full", [True, False])
@pytest.mark.parametrize("n_pool_cells", [0, 768])
def test_windows_are_used_again_where_they_are_whole(
    make_engine: MakeEngine, gemma3: Model, swa_full: bool, n_pool_cells: int
) -> None:
    assert gemma3.n_swa == N_WINDOW
    values = {"swa_full": swa_full, "n_pool_cells": n_pool_cells, "n_batch": 64}
    player = Player(make(make_engine, gemma3, **values))
    first = conversation([SYSTEM, SYSTEM, QUESTION * 8])
    said, _ = say(player, first)
    goes_on = (*first, *said, END, *OTHER_QUESTION, *HEADER)
    edited_early = conversation([SYSTEM, SYSTEM, OTHER_QUESTION * 8])
    regenerated = goes_on
    found = []
    for prompt in (goes_on, regenerated, edited_early, first):
        answer, n_cached = say(player, prompt)
        found.append(n_cached)
        cold, n_cold = say(Player(make(make_engine, gemma3, n_batch=64)), prompt)
        assert n_cold == 0
        assert answer == cold, (prompt, n_cached)
    assert found[0] == len(first) + len(said) - 1
    assert found[1] == len(goes_on) - 1
    assert found[2] == (2 * len(SYSTEM) if swa_full else 0)


def test_estimates_of_rare_memories(make_engine: MakeEngine, log: LogSink, tmp_path: Path) -> None:
    cases = [
        ("mamba", MemoryPlan(n_slots=4, n_checkpoints=8), {"n_checkpoints": 8}),
        (
            "lfm2",
            MemoryPlan(n_slots=4, n_pool_cells=2048, n_checkpoints=8),
            {"n_checkpoints": 8, "n_pool_cells": 2048},
        ),
        ("gemma3", MemoryPlan(n_slots=4), {}),
        ("gemma3", MemoryPlan(n_slots=4, swa_full=False), {"swa_full": False}),
        (
            "gemma3",
            MemoryPlan(n_slots=4, n_pool_cells=1024, swa_full=False),
            {"swa_full": False, "n_pool_cells": 1024},
        ),
    ]
    for name, plan, values in cases:
        path = WRITERS[name](tmp_path / "model.gguf")
        log.forget_buffers("KV", "RS", "compute")
        model = load(log, path)
        engine = make_engine(model, n_slots=4, n_ctx=512, n_batch=128, **values)
        check(shape_of(path), plan, engine.loaded, n_batch=128, flash=None)
