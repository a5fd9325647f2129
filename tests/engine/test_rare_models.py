"""Adapters, and a model whose memory cannot forget a part of a sequence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from server.engine.logs import LogSink
from server.engine.model import Model, _is_repacked, load_model
from server.ipc.messages import Finished, Step, Submit
from server.types.generation import LoadParams, ModelPaths, SamplingParams
from tests.engine.conftest import MakeEngine
from tests.support.engine_worker import SPARK
from tests.support.tiny_gguf import Typed, gguf_bytes

N_EMBD, N_INNER, N_STATE, N_RANK, N_VOCAB = 32, 64, 16, 4, 300


def weights(seed: int, *shape: int, scale: float = 0.3) -> np.ndarray[Any, np.dtype[np.float32]]:
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(np.float32)


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


def write_mamba(path: Path) -> Path:
    """A recurrent model with random weights."""
    metadata: dict[str, Any] = {
        "general.architecture": "mamba",
        "mamba.context_length": 512,
        "mamba.embedding_length": N_EMBD,
        "mamba.feed_forward_length": 0,
        "mamba.attention.head_count": 0,
        "mamba.block_count": 2,
        "mamba.ssm.conv_kernel": 4,
        "mamba.ssm.inner_size": N_INNER,
        "mamba.ssm.state_size": N_STATE,
        "mamba.ssm.time_step_rank": N_RANK,
        "mamba.attention.layer_norm_rms_epsilon": 1e-5,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": [chr(0x4E00 + index) for index in range(N_VOCAB)],
        "tokenizer.ggml.token_type": Typed("i32", [1] * N_VOCAB),
        "tokenizer.ggml.merges": ["a b"],
        "tokenizer.ggml.eos_token_id": 0,
    }
    tensors = [
        ("token_embd.weight", weights(1, N_VOCAB, N_EMBD)),
        ("output_norm.weight", np.ones(N_EMBD, np.float32)),
    ]
    for layer in range(2):
        tensors += [
            (f"blk.{layer}.attn_norm.weight", np.ones(N_EMBD, np.float32)),
            (f"blk.{layer}.ssm_in.weight", weights(10 + layer, 2 * N_INNER, N_EMBD)),
            (f"blk.{layer}.ssm_conv1d.weight", weights(20 + layer, N_INNER, 4)),
            (f"blk.{layer}.ssm_conv1d.bias", weights(30 + layer, N_INNER)),
            (f"blk.{layer}.ssm_x.weight", weights(40 + layer, N_RANK + 2 * N_STATE, N_INNER)),
            (f"blk.{layer}.ssm_dt.weight", weights(50 + layer, N_INNER, N_RANK)),
            (f"blk.{layer}.ssm_dt.bias", weights(60 + layer, N_INNER)),
            (f"blk.{layer}.ssm_a", -np.abs(weights(70 + layer, N_INNER, N_STATE)) - np.float32(0.1)),
            (f"blk.{layer}.ssm_d", np.ones(N_INNER, np.float32)),
            (f"blk.{layer}.ssm_out.weight", weights(80 + layer, N_EMBD, N_INNER)),
        ]
    path.write_bytes(gguf_bytes(metadata, tensors))
    return path


def load(log: LogSink, model: Path, *adapters: Path) -> Model:
    paths = ModelPaths(model=str(model), adapters=tuple(map(str, adapters)))
    return load_model(paths, LoadParams(n_ctx=256, n_gpu_layers=0), log, lambda fraction: True)


def answer(
    make_engine: MakeEngine, model: Model, *prompts: tuple[int, ...], n_predict: int = 12
) -> tuple[list[tuple[int, ...]], list[int]]:
    """Greedy answers to prompts one after the other, and how many tokens each found in memory."""
    generator = make_engine(model, n_slots=1, n_ctx=256).generator
    assert generator is not None
    sampling = SamplingParams(temperature=0.0, n_predict=n_predict, logit_bias=((0, -1e6),))
    answers: list[tuple[int, ...]] = []
    cached: list[int] = []
    for request_id, prompt in enumerate(prompts):
        generator.submit(Submit(request_id=request_id, prompt=(prompt,), sampling=sampling))
        tokens: list[int] = []
        while not generator.is_idle:
            for message in generator.step():
                if isinstance(message, Step):
                    tokens += [token for delta in message.deltas for token in delta.tokens]
                else:
                    assert isinstance(message, Finished), message
                    cached.append(message.timings.n_cached_tokens)
        answers.append(tuple(tokens))
    return answers, cached


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
