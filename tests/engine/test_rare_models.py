"""Adapters, and a model whose memory cannot forget a part of a sequence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from server.engine.logs import LogSink
from server.engine.model import Model, _is_repacked
from tests.engine.conftest import MakeEngine
from tests.support.engine_worker import SPARK
from tests.support.generator_player import greedy_answers
from tests.support.mamba import load, weights, write_mamba
from tests.support.tiny_gguf import gguf_bytes


def write_adapter(path: Path, scale: float) -> Path:
    """A LoRA of rank 2 on one matrix of the demo model; a scale of 0 changes nothing."""
    metadata = {
        "general.type": "adapter",
        "general.architecture": "llama",
        "adapter.type": "lora",
        "adapter.lora.alpha": 2.0,
    }
    tensors = [
        ("blk.0.attn_q.weight.lora_a", weights(1, 2, 256)),
        ("blk.0.attn_q.weight.lora_b", weights(2, 256, 2) * np.float32(scale)),
        ("blk.3.ffn_down.weight.lora_a", weights(3, 2, 768)),
        ("blk.3.ffn_down.weight.lora_b", weights(4, 256, 2) * np.float32(scale)),
    ]
    path.write_bytes(gguf_bytes(metadata, tensors))
    return path


def answer(
    make_engine: MakeEngine, model: Model, *prompts: tuple[int, ...], n_predict: int = 12
) -> tuple[list[tuple[int, ...]], list[int]]:
    """Greedy answers to prompts one after the other, and how many tokens each found in memory."""
    engine = make_engine(model, n_slots=1, n_ctx=256)
    answers = greedy_answers(engine, *prompts, n_predict=n_predict)
    return [tokens for tokens, _ in answers], [n_cached for _, n_cached in answers]


def test_an_adapter_changes_the_answer_and_an_empty_one_does_not(
    make_engine: MakeEngine, log: LogSink, spark: Model, tmp_path: Path
) -> None:
    prompt = tuple(int(token) for token in spark.tokenize("Once upon a time"))
    plain, _ = answer(make_engine, spark, prompt)
    empty = load(log, SPARK, write_adapter(tmp_path / "empty.gguf", 0.0))
    strong = load(log, SPARK, write_adapter(tmp_path / "strong.gguf", 3.0))
    assert answer(make_engine, empty, prompt)[0] == plain
    assert answer(make_engine, strong, prompt)[0] != plain
    both = load(log, SPARK, tmp_path / "empty.gguf", tmp_path / "strong.gguf")
    assert answer(make_engine, both, prompt)[0] == answer(make_engine, strong, prompt)[0]


def test_a_recurrent_model_reuses_only_whole_sequences(
    make_engine: MakeEngine, log: LogSink, tmp_path: Path
) -> None:
    mamba = load(log, write_mamba(tmp_path / "mamba.gguf"))
    assert mamba.is_recurrent
    engine = make_engine(mamba, n_slots=2)
    assert not engine.loaded.can_shift
    first = tuple(range(5, 25))
    (said,), _ = answer(make_engine, mamba, first)
    assert len(said) == 12
    goes_on = first + said[:-1] + (7, 8, 9)
    differs = (*first[:10], 99, 98, 97)
    answers, cached = answer(make_engine, mamba, first, goes_on, first, differs, first)
    assert cached == [0, len(first) + len(said) - 1, 0, 0, 0]
    for prompt, found in zip((first, goes_on, first, differs, first), answers, strict=True):
        (fresh,), _ = answer(make_engine, mamba, prompt)
        assert found == fresh


def test_a_recurrent_model_ends_when_its_context_is_full(
    make_engine: MakeEngine, log: LogSink, tmp_path: Path
) -> None:
    mamba = load(log, write_mamba(tmp_path / "mamba.gguf"))
    (tokens,), _ = answer(make_engine, mamba, tuple(range(5, 25)), n_predict=1000)
    assert len(tokens) == 256 - 20 + 1


@pytest.mark.parametrize(("file_type", "expected"), [(2, True), (15, True), (7, False), (1, False)])
def test_weights_that_are_repacked_are_told_from_the_header(
    tmp_path: Path, file_type: int, expected: bool
) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(gguf_bytes({"general.architecture": "llama", "general.file_type": file_type}))
    assert _is_repacked(path) == expected
