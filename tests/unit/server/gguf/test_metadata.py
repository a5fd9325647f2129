"""The typed view of GGUF metadata."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from server.gguf.kinds import KV_CACHE_BYTES
from server.gguf.metadata import GgufMetadata, human_number
from server.gguf.reader import read_header
from tests.support.tiny_gguf import Typed, gguf_bytes, tiny_llama_bytes


def view(tmp_path: Path, metadata: dict[str, Any]) -> GgufMetadata:
    path = tmp_path / "model.gguf"
    path.write_bytes(gguf_bytes(metadata))
    return GgufMetadata(read_header(path))


def llama(**keys: Any) -> dict[str, Any]:
    return {"general.architecture": "llama"} | {f"llama.{key}": value for key, value in keys.items()}


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1K"),
        (12_345, "12K"),
        (5_770_496, "5.77M"),
        (22_565_376, "22.57M"),
        (137_000_000, "137M"),
        (7_000_000_000, "7B"),
        (7_241_732_096, "7.2B"),
        (671_000_000_000, "671B"),
    ],
)
def test_human_number(count: int, text: str) -> None:
    assert human_number(count) == text


def test_bundled_model() -> None:
    spark = GgufMetadata(read_header(Path(__file__).parents[4] / "server" / "bundled" / "spark.gguf"))
    assert spark.architecture == "llama"
    assert (spark.context_length, spark.embedding_length, spark.block_count) == (2048, 256, 6)
    assert (spark.head_count, spark.head_count_kv) == (4, 2)
    assert (spark.parameter_size, spark.file_type, spark.n_vocab) == ("5.77M", "Q8_0", 4096)
    assert (spark.bos_text, spark.eos_text) == ("<|endoftext|>", "<|im_end|>")
    assert spark.pooling_type is None
    assert spark.adds_bos is False
    assert "tool_call" in spark.chat_template
    assert spark.capabilities() == ("completion",)
    # 6 layers, 2 heads, keys and values of 64 each, 2 bytes.
    assert spark.kv_bytes_per_token("f16") == 6 * 2 * 128 * 2
    assert spark.kv_bytes_per_token("q8_0") == 6 * 2 * 128 * 34 // 32
    assert spark.kv_bytes_per_token("q4_0") == 6 * 2 * 128 * 18 // 32


def test_embedding_model() -> None:
    minilm = GgufMetadata(read_header(Path(__file__).parents[3] / "models" / "minilm.gguf"))
    assert minilm.architecture == "bert"
    assert minilm.capabilities() == ("embedding",)
    assert minilm.pooling_type == 1
    assert minilm.parameter_size == "22.57M"


def test_a_model_that_ranks_does_not_embed(tmp_path: Path) -> None:
    assert view(tmp_path, llama(pooling_type=4)).capabilities() == ("rerank",)
    assert view(tmp_path, llama(pooling_type=3)).capabilities() == ("embedding",)


def test_keys_are_below_the_architecture(tmp_path: Path) -> None:
    metadata = view(tmp_path, llama(block_count=3) | {"qwen2.block_count": 9, "stray": 4})
    assert metadata.block_count == 3
    assert metadata.integer("stray") == 4
    assert metadata.integer("missing", 7) == 7


def test_values_of_a_wrong_type_count_as_absent(tmp_path: Path) -> None:
    metadata = view(
        tmp_path,
        llama(block_count="three", context_length=True, pooling_type="mean")
        | {"tokenizer.chat_template": 5, "general.type": 1, "general.file_type": "Q8_0"},
    )
    assert (metadata.block_count, metadata.context_length, metadata.pooling_type) == (0, 0, None)
    assert (metadata.chat_template, metadata.kind, metadata.file_type) == ("", "", "unknown")
    assert metadata.kv_bytes_per_token("f16") == 0


def test_an_empty_header(tmp_path: Path) -> None:
    metadata = view(tmp_path, {})
    assert metadata.architecture == "unknown"
    assert (metadata.bos_text, metadata.eos_text, metadata.n_vocab) == ("", "", 0)
    assert metadata.model_info(arrays=False) == {"general.parameter_count": 0}


def test_kv_bytes_of_layers_that_differ(tmp_path: Path) -> None:
    keys = {"block_count": 4, "embedding_length": 64, "attention.head_count": 8}
    per_layer = view(tmp_path, llama(**keys, **{"attention.head_count_kv": Typed("u32", [2, 0, 0, 4])}))
    assert per_layer.kv_bytes_per_token("f16") == (2 + 4) * (8 + 8) * 2
    lengths = {"attention.head_count_kv": 1, "attention.key_length": 24, "attention.value_length": 16}
    assert view(tmp_path, llama(**keys, **lengths)).kv_bytes_per_token("f16") == 4 * 40 * 2
    hybrid = view(tmp_path, llama(**keys, **lengths, full_attention_interval=2))
    assert hybrid.kv_bytes_per_token("f16") == 2 * 40 * 2
    latent = view(tmp_path, llama(**keys, **lengths, **{"attention.key_length_mla": 8}))
    assert latent.kv_bytes_per_token("f16") == 4 * 24 * 2
    no_kv_heads = view(tmp_path, llama(**keys))
    assert no_kv_heads.kv_bytes_per_token("f16") == 4 * 8 * 16 * 2


def test_a_wider_cache_never_costs_less(tmp_path: Path) -> None:
    metadata = GgufMetadata(read_header(Path(__file__).parents[4] / "server" / "bundled" / "spark.gguf"))
    by_width = sorted(KV_CACHE_BYTES, key=lambda kind: KV_CACHE_BYTES[kind])
    costs = [metadata.kv_bytes_per_token(kind) for kind in by_width]
    assert costs == sorted(costs)
    with pytest.raises(KeyError):
        metadata.kv_bytes_per_token("f8")


def test_an_absurd_block_count_stays_bounded(tmp_path: Path) -> None:
    metadata = view(tmp_path, llama(block_count=(1 << 32) - 1) | {"llama.attention.head_count_kv": 1})
    assert len(metadata.per_layer("attention.head_count_kv", 1)) == 1 << 16


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({"general.architecture": "llama", "llama.block_count": 2}, False),
        ({"general.architecture": "llama", "general.type": "mmproj"}, True),
        ({"general.architecture": "clip", "general.type": "projector"}, True),
        ({"general.architecture": "clip", "clip.has_vision_encoder": True}, True),
        ({"general.architecture": "clip", "clip.vision.block_count": 5}, True),
        ({"general.architecture": "clip"}, False),
        ({"general.architecture": "gemma3", "gemma3.block_count": 2, "gemma3.vision.block_count": 2}, False),
    ],
)
def test_projectors(tmp_path: Path, metadata: dict[str, Any], expected: bool) -> None:
    assert view(tmp_path, metadata).is_projector is expected


def test_audio_of_projectors(tmp_path: Path) -> None:
    clip = {"general.architecture": "clip", "clip.has_audio_encoder": True}
    assert view(tmp_path, clip).has_audio_encoder
    assert not view(tmp_path, clip | {"clip.vision.projector_type": "gemma3nv"}).has_audio_encoder
    assert not view(tmp_path, {"general.architecture": "clip"}).has_audio_encoder


def test_media_capabilities(tmp_path: Path) -> None:
    metadata = view(tmp_path, llama(**{"vision.block_count": 1, "audio.block_count": 1}))
    assert metadata.capabilities() == ("completion", "vision", "audio")


def test_model_info(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(tiny_llama_bytes(llama__rope__freq_base=10000.0))
    metadata = GgufMetadata(read_header(path))
    short = metadata.model_info(arrays=False)
    full = metadata.model_info(arrays=True)
    assert list(short) == sorted(short) == list(full)
    assert short["tokenizer.ggml.tokens"] is None
    assert len(full["tokenizer.ggml.tokens"]) == 288
    assert short["llama.attention.layer_norm_rms_epsilon"] == 1e-5
    assert isinstance(short["llama.rope.freq_base"], int)
    assert short["general.parameter_count"] == metadata.parameter_count


@pytest.mark.parametrize(
    ("tokenizer", "expected"),
    [
        ({"model": "llama"}, True),
        ({"model": "llama", "add_bos_token": False}, False),
        ({"model": "bert"}, True),
        ({"model": "gpt2", "pre": "llama-bpe"}, True),
        ({"model": "gpt2", "pre": "qwen2"}, False),
        ({"model": "gpt2", "pre": "qwen2", "add_bos_token": True}, True),
        ({}, False),
    ],
)
def test_adds_bos_by_llamas_rule(tmp_path: Path, tokenizer: dict[str, Any], expected: bool) -> None:
    metadata = {f"tokenizer.ggml.{key}": value for key, value in tokenizer.items()}
    assert view(tmp_path, metadata).adds_bos is expected


@pytest.mark.parametrize("token_id", [7, 2**31, -1])
def test_a_token_id_outside_the_vocabulary_has_no_text(tmp_path: Path, token_id: int) -> None:
    tokens = {"tokenizer.ggml.tokens": ["a", "b"], "tokenizer.ggml.bos_token_id": Typed("i64", token_id)}
    assert view(tmp_path, tokens).bos_text == ""
