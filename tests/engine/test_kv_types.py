"""Keys and values of every type: in slots of their own, in a pool, with windows, beside recurrent layers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from server.engine.failures import LoadRefused
from server.engine.logs import LogSink
from server.engine.model import Model
from server.ipc.messages import Finished
from tests.engine.conftest import MakeEngine
from tests.support.generator_player import EOG, FRANCE, Player
from tests.support.mamba import load, write_mamba
from tests.support.rare_models import write_gemma3, write_lfm2
from tests.support.tiny_gguf import write_tiny_llama

TYPES = ("f16", "q8_0", "q4_0")


@pytest.mark.parametrize("kv_cache_type", TYPES)
@pytest.mark.parametrize("n_pool_cells", [0, 640])
def test_requests_that_share_copy_and_make_way(
    make_engine: MakeEngine, spark: Model, kv_cache_type: str, n_pool_cells: int
) -> None:
    """The same prompts at once and one after the other, which copies, shares, evicts and preempts."""
    values = {"n_slots": 3, "n_ctx": 512, "n_pool_cells": n_pool_cells, "kv_cache_type": kv_cache_type}
    player = Player(make_engine(spark, **values))
    filler = "The quick brown fox jumps over the lazy dog. " * 8
    prompts = [FRANCE.replace("What", filler + f"{number}. What") for number in range(5)]
    for _ in range(2):
        ids = [player.submit(prompt, n_predict=150, logit_bias=EOG) for prompt in prompts]
        while not all(request_id in player.ends for request_id in ids):
            player.step()
        for request_id in ids:
            end = player.ends[request_id]
            assert isinstance(end, Finished)
            assert len(player.tokens(request_id)) == 150
    text, _ = player.run(FRANCE)
    assert text.startswith("The capital of")


@pytest.mark.parametrize("kv_cache_type", TYPES)
@pytest.mark.parametrize(
    ("write", "values"),
    [
        (write_gemma3, {}),
        (write_gemma3, {"swa_full": False}),
        (write_gemma3, {"swa_full": False, "n_pool_cells": 768}),
        (write_lfm2, {"n_checkpoints": 4, "n_pool_cells": 1024}),
        (write_mamba, {"n_checkpoints": 4}),
    ],
)
def test_rare_memories(
    make_engine: MakeEngine,
    log: LogSink,
    tmp_path: Path,
    kv_cache_type: str,
    write: Callable[[Path], Path],
    values: dict[str, object],
) -> None:
    """Reuse answers as a cold run does, whatever the type."""
    model = load(log, write(tmp_path / "model.gguf"))

    def player() -> Player:
        return Player(make_engine(model, n_slots=2, kv_cache_type=kv_cache_type, **values))

    first = tuple(range(10, 110))
    warm = player()
    bias = ((0, -float("inf")),)
    warm.run(first, n_predict=5, logit_bias=bias)
    text, end = warm.run(first, n_predict=5, logit_bias=bias)
    assert end.timings.n_cached_tokens in (0, len(first) - 1)
    assert text == player().run(first, n_predict=5, logit_bias=bias)[0]


@pytest.mark.parametrize("kv_cache_type", ["q8_0", "q4_0"])
def test_quantised_values_need_flash_attention(
    make_engine: MakeEngine, spark: Model, kv_cache_type: str
) -> None:
    with pytest.raises(
        LoadRefused, match=f"type {kv_cache_type} needs flash attention, which is switched off"
    ):
        make_engine(spark, kv_cache_type=kv_cache_type, flash_attention=False)


def test_a_type_whose_blocks_do_not_fit_the_heads(
    make_engine: MakeEngine, log: LogSink, tmp_path: Path
) -> None:
    model = load(log, write_tiny_llama(tmp_path / "model.gguf"))
    with pytest.raises(LoadRefused, match=r"type q8_0 does not fit: .*; try f16"):
        make_engine(model, n_ctx=256, kv_cache_type="q8_0")


def test_a_type_that_nobody_knows(make_engine: MakeEngine, spark: Model) -> None:
    with pytest.raises(LoadRefused, match="'q3_9' is none of f32, f16"):
        make_engine(spark, kv_cache_type="q3_9")
