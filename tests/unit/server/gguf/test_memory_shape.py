"""What a context costs, layer by layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from server.gguf.memory_shape import memory_shape
from server.gguf.metadata import GgufMetadata
from server.gguf.reader import read_header
from tests.support.tiny_gguf import Typed, gguf_bytes

BASE = {"block_count": 6, "embedding_length": 64, "attention.head_count": 8, "attention.head_count_kv": 2}
LAYER = 2 * (8 + 8) * 2


def view(tmp_path: Path, architecture: str, **keys: Any) -> GgufMetadata:
    metadata = {"general.architecture": architecture} | {
        f"{architecture}.{key}": value for key, value in {**BASE, **keys}.items()
    }
    path = tmp_path / "model.gguf"
    path.write_bytes(gguf_bytes(metadata))
    return GgufMetadata(read_header(path))


def test_layers_that_see_everything(tmp_path: Path) -> None:
    metadata = view(tmp_path, "llama")
    shape = memory_shape(metadata, "f16")
    assert (shape.full_bytes_per_token, shape.window_bytes_per_token, shape.state_bytes) == (6 * LAYER, 0, 0)
    assert shape.kv_bytes_per_token == metadata.kv_bytes_per_token("f16")
    assert not shape.is_recurrent
    with pytest.raises(KeyError):
        memory_shape(metadata, "f8")


@pytest.mark.parametrize(
    ("architecture", "keys", "n_window_layers", "n_window"),
    [
        ("gemma3", {"attention.sliding_window": 64}, 5, 64),
        ("gemma3", {}, 0, 0),
        ("gemma2", {}, 3, 4096),
        ("smallthinker", {"attention.sliding_window": 64}, 4, 64),
        ("gemma3", {"attention.sliding_window": 64, "attention.sliding_window_pattern": 2}, 3, 64),
        ("gemma4", {"attention.sliding_window": 8, "attention.sliding_window_pattern": [True] * 4}, 4, 8),
        ("llama", {"attention.sliding_window": 64}, 0, 0),
    ],
)
def test_layers_with_a_window(
    tmp_path: Path, architecture: str, keys: dict[str, Any], n_window_layers: int, n_window: int
) -> None:
    shape = memory_shape(view(tmp_path, architecture, **keys), "f16")
    assert shape.window_bytes_per_token == n_window_layers * LAYER
    assert shape.full_bytes_per_token == (6 - n_window_layers) * LAYER
    assert shape.n_window == n_window


def test_windows_may_have_keys_of_another_length(tmp_path: Path) -> None:
    pattern = {"attention.sliding_window": 8, "attention.sliding_window_pattern": [True] * 3 + [False] * 3}
    lengths = {"attention.key_length_swa": 4, "attention.value_length_swa": 4}
    shape = memory_shape(view(tmp_path, "gemma4", **pattern, **lengths), "f16")
    assert (shape.full_bytes_per_token, shape.window_bytes_per_token) == (3 * LAYER, 3 * LAYER // 2)


@pytest.mark.parametrize(
    ("architecture", "keys", "n_layers", "n_elements"),
    [
        ("mamba", {"ssm.conv_kernel": 4, "ssm.inner_size": 128, "ssm.state_size": 16}, 6, 3 * 128 + 16 * 128),
        ("lfm2", {"shortconv.l_cache": 3}, 4, 2 * 64),
        ("rwkv7", {"wkv.head_size": 16}, 6, 2 * 64 + 64 * 16),
        ("kimi-linear", {"kda.head_dim": 8, "ssm.conv_kernel": 4}, 4, 3 * 3 * 64 + 8 * 8 * 8),
    ],
)
def test_states(
    tmp_path: Path, architecture: str, keys: dict[str, Any], n_layers: int, n_elements: int
) -> None:
    if n_layers == 4:
        keys = keys | {"attention.head_count_kv": Typed("u32", [0, 0, 2, 0, 2, 0])}
    shape = memory_shape(view(tmp_path, architecture, **keys), "f16")
    assert shape.state_bytes == n_layers * n_elements * 4
    assert shape.is_recurrent


def test_three_of_four_layers_are_recurrent_where_the_fourth_sees_everything(tmp_path: Path) -> None:
    keys = {"ssm.conv_kernel": 4, "ssm.inner_size": 64, "ssm.state_size": 16, "ssm.group_count": 2}
    shape = memory_shape(view(tmp_path, "qwen3next", **keys, full_attention_interval=3), "f16")
    assert shape.full_bytes_per_token == 2 * LAYER
    assert shape.state_bytes == 4 * (3 * (64 + 2 * 2 * 16) + 16 * 64) * 4
    assert memory_shape(view(tmp_path, "qwen35", **keys), "f16").full_bytes_per_token == LAYER


def test_an_encoder_keeps_nothing(tmp_path: Path) -> None:
    assert memory_shape(view(tmp_path, "bert"), "f16").kv_bytes_per_token == 0


def test_experts_that_work_together_are_one_wide_layer(tmp_path: Path) -> None:
    keys = {"feed_forward_length": 100, "expert_feed_forward_length": 30, "expert_used_count": 8}
    assert memory_shape(view(tmp_path, "llama", **keys), "f16").n_ff == 240


def test_an_empty_header_costs_nothing(tmp_path: Path) -> None:
    path = tmp_path / "empty.gguf"
    path.write_bytes(gguf_bytes({}))
    shape = memory_shape(GgufMetadata(read_header(path)), "f16")
    assert (shape.kv_bytes_per_token, shape.state_bytes, shape.n_ff) == (0, 0, 0)
