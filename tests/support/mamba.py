"""A tiny recurrent model with random weights, whose memory cannot forget a part of a sequence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from server.engine.logs import LogSink
from server.engine.model import Model, load_model
from server.types.generation import LoadParams, ModelPaths
from tests.support.tiny_gguf import Typed, gguf_bytes

N_VOCAB = 300

_N_EMBD, _N_INNER, _N_STATE, _N_RANK = 32, 64, 16, 4


def weights(seed: int, *shape: int, scale: float = 0.3) -> np.ndarray[Any, np.dtype[np.float32]]:
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(np.float32)


def write_mamba(path: Path) -> Path:
    """A recurrent model with random weights."""
    metadata: dict[str, Any] = {
        "general.architecture": "mamba",
        "mamba.context_length": 512,
        "mamba.embedding_length": _N_EMBD,
        "mamba.feed_forward_length": 0,
        "mamba.attention.head_count": 0,
        "mamba.block_count": 2,
        "mamba.ssm.conv_kernel": 4,
        "mamba.ssm.inner_size": _N_INNER,
        "mamba.ssm.state_size": _N_STATE,
        "mamba.ssm.time_step_rank": _N_RANK,
        "mamba.attention.layer_norm_rms_epsilon": 1e-5,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": [chr(0x4E00 + index) for index in range(N_VOCAB)],
        "tokenizer.ggml.token_type": Typed("i32", [1] * N_VOCAB),
        "tokenizer.ggml.merges": ["a b"],
        "tokenizer.ggml.eos_token_id": 0,
    }
    tensors = [
        ("token_embd.weight", weights(1, N_VOCAB, _N_EMBD)),
        ("output_norm.weight", np.ones(_N_EMBD, np.float32)),
    ]
    for layer in range(2):
        tensors += [
            (f"blk.{layer}.attn_norm.weight", np.ones(_N_EMBD, np.float32)),
            (f"blk.{layer}.ssm_in.weight", weights(10 + layer, 2 * _N_INNER, _N_EMBD)),
            (f"blk.{layer}.ssm_conv1d.weight", weights(20 + layer, _N_INNER, 4)),
            (f"blk.{layer}.ssm_conv1d.bias", weights(30 + layer, _N_INNER)),
            (f"blk.{layer}.ssm_x.weight", weights(40 + layer, _N_RANK + 2 * _N_STATE, _N_INNER)),
            (f"blk.{layer}.ssm_dt.weight", weights(50 + layer, _N_INNER, _N_RANK)),
            (f"blk.{layer}.ssm_dt.bias", weights(60 + layer, _N_INNER)),
            (f"blk.{layer}.ssm_a", -np.abs(weights(70 + layer, _N_INNER, _N_STATE)) - np.float32(0.1)),
            (f"blk.{layer}.ssm_d", np.ones(_N_INNER, np.float32)),
            (f"blk.{layer}.ssm_out.weight", weights(80 + layer, _N_EMBD, _N_INNER)),
        ]
    path.write_bytes(gguf_bytes(metadata, tensors))
    return path


def load(log: LogSink, model: Path, *adapters: Path) -> Model:
    """A model with adapters, on the processor."""
    paths = ModelPaths(model=str(model), adapters=tuple(map(str, adapters)))
    return load_model(paths, LoadParams(n_ctx=256, n_gpu_layers=0), log, lambda fraction: True)
