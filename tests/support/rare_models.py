"""Tiny models with random weights whose memory is not a plain KV cache: lfm2 (hybrid), gemma3 (windows)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tests.support.tiny_gguf import Typed, gguf_bytes

N_VOCAB = 300
END = 0
"""Token that ends a message."""

N_WINDOW = 32

_N_EMBD, _N_FF, _N_HEAD, _N_HEAD_KV, _N_LAYER = 64, 96, 2, 1, 4
_HEAD = _N_EMBD // _N_HEAD

Tensor = tuple[str, np.ndarray[Any, np.dtype[np.float32]]]


class _Weights:
    def __init__(self) -> None:
        self._rng = np.random.default_rng(11)

    def random(self, *shape: int) -> np.ndarray[Any, np.dtype[np.float32]]:
        return (self._rng.standard_normal(shape) * 0.25).astype(np.float32)

    def feed_forward(self, layer: str) -> list[Tensor]:
        return [
            (layer + "ffn_norm.weight", np.ones(_N_EMBD, np.float32)),
            (layer + "ffn_gate.weight", self.random(_N_FF, _N_EMBD)),
            (layer + "ffn_up.weight", self.random(_N_FF, _N_EMBD)),
            (layer + "ffn_down.weight", self.random(_N_EMBD, _N_FF)),
        ]

    def attention(self, layer: str) -> list[Tensor]:
        return [
            (layer + "attn_norm.weight", np.ones(_N_EMBD, np.float32)),
            (layer + "attn_q.weight", self.random(_N_EMBD, _N_EMBD)),
            (layer + "attn_k.weight", self.random(_N_HEAD_KV * _HEAD, _N_EMBD)),
            (layer + "attn_v.weight", self.random(_N_HEAD_KV * _HEAD, _N_EMBD)),
            (layer + "attn_output.weight", self.random(_N_EMBD, _N_EMBD)),
            (layer + "attn_q_norm.weight", np.ones(_HEAD, np.float32)),
            (layer + "attn_k_norm.weight", np.ones(_HEAD, np.float32)),
        ]


def _metadata(architecture: str, **keys: Any) -> dict[str, Any]:
    sizes = {
        "context_length": 2048,
        "embedding_length": _N_EMBD,
        "block_count": _N_LAYER,
        "feed_forward_length": _N_FF,
        "attention.head_count": _N_HEAD,
        "attention.head_count_kv": _N_HEAD_KV,
        "attention.key_length": _HEAD,
        "attention.value_length": _HEAD,
        "attention.layer_norm_rms_epsilon": 1e-5,
        "rope.freq_base": 10000.0,
    }
    return {
        "general.architecture": architecture,
        **{f"{architecture}.{key}": value for key, value in {**sizes, **keys}.items()},
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": [chr(0x4E00 + index) for index in range(N_VOCAB)],
        "tokenizer.ggml.token_type": Typed("i32", [1] * N_VOCAB),
        "tokenizer.ggml.merges": ["a b"],
        "tokenizer.ggml.eos_token_id": END,
        "tokenizer.ggml.add_bos_token": False,
    }


def write_lfm2(path: Path) -> Path:
    """Layers with a short convolution, which is recurrent, and with attention, in turn."""
    heads = [0, _N_HEAD_KV] * (_N_LAYER // 2)
    metadata = _metadata(
        "lfm2",
        **{"attention.head_count_kv": Typed("i32", heads), "shortconv.l_cache": 3, "vocab_size": N_VOCAB},
    )
    weights = _Weights()
    tensors: list[Tensor] = [
        ("token_embd.weight", weights.random(N_VOCAB, _N_EMBD)),
        ("token_embd_norm.weight", np.ones(_N_EMBD, np.float32)),
    ]
    for index, n_heads in enumerate(heads):
        layer = f"blk.{index}."
        if n_heads:
            tensors += weights.attention(layer)
        else:
            tensors += [
                (layer + "attn_norm.weight", np.ones(_N_EMBD, np.float32)),
                (layer + "shortconv.conv.weight", weights.random(_N_EMBD, 3)),
                (layer + "shortconv.in_proj.weight", weights.random(3 * _N_EMBD, _N_EMBD)),
                (layer + "shortconv.out_proj.weight", weights.random(_N_EMBD, _N_EMBD)),
            ]
        tensors += weights.feed_forward(layer)
    path.write_bytes(gguf_bytes(metadata, tensors))
    return path


def write_gemma3(path: Path) -> Path:
    """Every other layer sees no more than the last `N_WINDOW` tokens."""
    metadata = _metadata(
        "gemma3", **{"attention.sliding_window": N_WINDOW, "attention.sliding_window_pattern": 2}
    )
    weights = _Weights()
    tensors: list[Tensor] = [
        ("token_embd.weight", weights.random(N_VOCAB, _N_EMBD)),
        ("output_norm.weight", np.ones(_N_EMBD, np.float32)),
    ]
    for index in range(_N_LAYER):
        layer = f"blk.{index}."
        tensors += weights.attention(layer) + weights.feed_forward(layer)
        tensors += [
            (layer + "post_attention_norm.weight", np.ones(_N_EMBD, np.float32)),
            (layer + "post_ffw_norm.weight", np.ones(_N_EMBD, np.float32)),
        ]
    path.write_bytes(gguf_bytes(metadata, tensors))
    return path
