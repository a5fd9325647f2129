"""Models converted from Hugging Face's layout answer as the reference computes from the same weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from server.backends.quantizer import Base, convert
from server.engine.loading import Engine
from server.engine.logs import LogSink
from server.engine.model import Model, load_model
from server.gguf.reader import read_header
from server.types.generation import LoadParams, ModelPaths
from tests.engine.conftest import MakeEngine
from tests.engine.test_embedder import REFERENCE, TEXTS, embedder_of, run, vector
from tests.support.engine_worker import SPARK_F16
from tests.support.generator_player import FRANCE, Player
from tests.support.hugging_face import N_HEAD, N_HEAD_KV, Checkpoint, SeeingCheckpoint
from tests.support.minilm_checkpoint import write_minilm
from tests.support.nomic_checkpoint import NomicCheckpoint
from tests.support.spark_checkpoint import tensors_of, write_spark

PROMPT = (72, 101, 108, 108, 111, 250, 3, 17)
N_TOKENS = 12

LLAMA3_ROPE = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
GEMMA2 = {"attn_logit_softcapping": 5.0, "final_logit_softcapping": 30.0}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaForCausalLM", {}),
    "llama with biases": ("LlamaForCausalLM", {"attention_bias": True}),
    "llama 3.1": ("LlamaForCausalLM", {"rope_scaling": LLAMA3_ROPE, "rope_theta": 500.0}),
    "llama, tied": ("LlamaForCausalLM", {"tie_word_embeddings": True}),
    "llama, own length of heads": ("LlamaForCausalLM", {"head_dim": 32}),
    "llama in BF16": ("LlamaForCausalLM", {"kind": "BF16"}),
    "llama in F32": ("LlamaForCausalLM", {"kind": "F32"}),
    "mistral": ("MistralForCausalLM", {"rope_theta": 1e6}),
    "qwen2": ("Qwen2ForCausalLM", {}),
    "qwen3": ("Qwen3ForCausalLM", {"head_dim": 32}),
    "gemma": ("GemmaForCausalLM", {"head_dim": 32}),
    "gemma2": ("Gemma2ForCausalLM", {"head_dim": 32, "sliding_window": 128, **GEMMA2}),
    "gemma3": ("Gemma3ForCausalLM", {"head_dim": 32, "sliding_window": 128, "rope_theta": 1e6}),
    "phi3": ("Phi3ForCausalLM", {}),
}


def loaded(path: Path, log: LogSink, *adapters: Path) -> Model:
    params = LoadParams(n_ctx=256, n_gpu_layers=0)
    paths = ModelPaths(model=str(path), adapters=tuple(map(str, adapters)))
    return load_model(paths, params, log, lambda fraction: True)


def check_answer(checkpoint: Checkpoint, engine: Engine) -> None:
    """The engine's tokens are the reference's, but for a near-tie that the rounding of kernels decides."""
    player = Player(engine)
    request_id = player.submit(PROMPT, n_predict=N_TOKENS, repeat_penalty=1.0, ignore_eos=True)
    while request_id not in player.ends:
        player.step()
    found = list(player.tokens(request_id))
    expected = checkpoint.greedy(PROMPT, N_TOKENS)
    if found != expected:
        same = next(i for i, (a, b) in enumerate(zip(found, expected, strict=True)) if a != b)
        logits = checkpoint.logits([*PROMPT, *expected[:same]])
        assert same >= 3
        assert logits[expected[same]] - logits[found[same]] < 0.02 * np.ptp(logits)


@pytest.mark.parametrize("case", CASES)
def test_the_answer_is_the_references(
    tmp_path: Path, make_engine: MakeEngine, log: LogSink, case: str
) -> None:
    architecture, config = CASES[case]
    checkpoint = Checkpoint(architecture, **config)
    target = tmp_path / "model.gguf"
    shares = list(convert(checkpoint.write(tmp_path / "hf", n_files=2), target))
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    check_answer(checkpoint, make_engine(loaded(target, log), n_ctx=128, n_slots=1))


@pytest.mark.parametrize(("at", "beside"), [("language_model.model", ""), ("model.language_model", "model.")])
def test_the_text_part_of_a_model_that_sees_answers_as_the_reference(
    tmp_path: Path, make_engine: MakeEngine, log: LogSink, at: str, beside: str
) -> None:
    checkpoint = SeeingCheckpoint(at, beside, head_dim=32, sliding_window=128, rope_theta=1e6)
    target = tmp_path / "model.gguf"
    list(convert(checkpoint.write(tmp_path / "hf", n_files=2), target))
    check_answer(checkpoint, make_engine(loaded(target, log), n_ctx=128, n_slots=1))


@pytest.mark.parametrize("is_rslora", [False, True])
@pytest.mark.parametrize("architecture", ["LlamaForCausalLM", "Qwen2ForCausalLM"])
def test_an_adapter_changes_the_answer_as_the_reference_says(
    tmp_path: Path, make_engine: MakeEngine, log: LogSink, architecture: str, is_rslora: bool
) -> None:
    checkpoint = Checkpoint(architecture)
    model, adapter = tmp_path / "model.gguf", tmp_path / "adapter.gguf"
    list(convert(checkpoint.write(tmp_path / "hf"), model))
    plain = checkpoint.greedy(PROMPT, N_TOKENS)
    files = checkpoint.write_adapter(tmp_path / "lora", use_rslora=is_rslora)
    assert checkpoint.greedy(PROMPT, N_TOKENS) != plain
    name = read_header(model).metadata["general.architecture"]
    list(convert(files, adapter, Base(name, N_HEAD, N_HEAD_KV)))
    check_answer(checkpoint, make_engine(loaded(model, log, adapter), n_ctx=128, n_slots=1))


def test_spark_there_and_back_is_the_same_to_the_byte(
    tmp_path: Path, make_engine: MakeEngine, log: LogSink, spark_f16: Model
) -> None:
    target = tmp_path / "model.gguf"
    list(convert(write_spark(tmp_path / "hf"), target))
    assert tensors_of(target) == tensors_of(SPARK_F16)
    mine, original = read_header(target), read_header(SPARK_F16)
    for key, value in original.metadata.items():
        if key.startswith(("llama.", "tokenizer.", "general.file_type")) and key in mine.metadata:
            if not hasattr(value, "count") or isinstance(value, str):
                assert mine.metadata[key] == value, key
    for key in ("tokens", "token_type", "merges"):
        assert mine.read_array(f"tokenizer.ggml.{key}") == original.read_array(f"tokenizer.ggml.{key}")
    answers = [
        Player(make_engine(model, n_ctx=256, n_slots=1)).run(FRANCE, n_predict=40)[0]
        for model in (loaded(target, log), spark_f16)
    ]
    assert answers[0] == answers[1] != ""


def test_vectors_of_an_embedding_model_there_and_back(
    tmp_path: Path, make_engine: MakeEngine, log: LogSink
) -> None:
    target = tmp_path / "model.gguf"
    list(convert(write_minilm(tmp_path / "hf"), target))
    engine = make_engine(loaded(target, log), embedding=True)
    answer = run(embedder_of(engine), *TEXTS)
    for text, data in zip(TEXTS, answer.vectors, strict=True):
        wanted = np.array(REFERENCE[text]["vector"], np.float32)
        assert float(vector(data) @ wanted) > 0.999, text
    assert answer.n_tokens == tuple(REFERENCE[text]["tokens"] for text in TEXTS)


def test_vectors_of_nomics_architecture_are_the_references(
    tmp_path: Path, make_engine: MakeEngine, log: LogSink
) -> None:
    checkpoint = NomicCheckpoint()
    target = tmp_path / "model.gguf"
    list(convert(checkpoint.write(tmp_path / "hf"), target))
    inputs = ((2, 9, 3), (2, *range(5, 45), 3))
    answer = run(embedder_of(make_engine(loaded(target, log), embedding=True)), *inputs)
    for tokens, data in zip(inputs, answer.vectors, strict=True):
        assert float(vector(data) @ checkpoint.vector(tokens)) > 0.9999
