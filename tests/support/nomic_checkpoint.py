"""An embedding model of Nomic's kind in Hugging Face's layout, and what it computes, from numpy alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.support.hugging_face import Floats, rounded, write_safetensors

N_LAYER, N_EMBD, N_HEAD, N_FF, N_VOCAB = 2, 64, 4, 96, 64
ROPE_BASE = 1000.0
EPSILON = 1e-12
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")

CONFIG: dict[str, Any] = {
    "architectures": ["NomicBertModel"],
    "activation_function": "swiglu",
    "n_embd": N_EMBD,
    "n_inner": N_FF,
    "n_layer": N_LAYER,
    "n_head": N_HEAD,
    "n_positions": 8192,
    "max_trained_positions": 2048,
    "layer_norm_epsilon": EPSILON,
    "rotary_emb_base": ROPE_BASE,
    "rotary_emb_fraction": 1.0,
    "qkv_proj_bias": False,
    "type_vocab_size": 2,
    "vocab_size": N_VOCAB,
}


class NomicCheckpoint:
    """Random weights; the names, and the order of the rows of Wqkv, are those of nomic-embed-text."""

    def __init__(self, seed: int = 0) -> None:
        self._random = np.random.default_rng(seed)
        self.tensors: dict[str, Floats] = {}
        self._add("embeddings.word_embeddings.weight", N_VOCAB, N_EMBD, scale=1.0)
        self._add("embeddings.token_type_embeddings.weight", 2, N_EMBD)
        self._add_norm("emb_ln")
        for i in range(N_LAYER):
            at = f"encoder.layers.{i}"
            self._add(f"{at}.attn.Wqkv.weight", 3 * N_EMBD, N_EMBD)
            self._add(f"{at}.attn.out_proj.weight", N_EMBD, N_EMBD)
            self._add_norm(f"{at}.norm1")
            self._add(f"{at}.mlp.fc11.weight", N_FF, N_EMBD)
            self._add(f"{at}.mlp.fc12.weight", N_FF, N_EMBD)
            self._add(f"{at}.mlp.fc2.weight", N_EMBD, N_FF)
            self._add_norm(f"{at}.norm2")

    def write(self, folder: Path) -> dict[str, Path]:
        """Write it; the files by their names."""
        (folder / "1_Pooling").mkdir(parents=True)
        stored = {name: ("F16", values.astype(np.float16)) for name, values in self.tensors.items()}
        write_safetensors(folder / "model.safetensors", stored)
        words = [*SPECIAL, *(f"w{i}" for i in range(N_VOCAB - len(SPECIAL)))]
        tokenizer = {
            "model": {"type": "WordPiece", "vocab": {word: i for i, word in enumerate(words)}},
            "added_tokens": [{"id": i, "content": text, "special": True} for i, text in enumerate(SPECIAL)],
            "normalizer": {"type": "BertNormalizer", "lowercase": True},
        }
        special = {"cls_token": "[CLS]", "sep_token": "[SEP]", "unk_token": "[UNK]", "pad_token": "[PAD]"}
        for name, content in {
            "config.json": CONFIG,
            "tokenizer.json": tokenizer,
            "tokenizer_config.json": special,
            "1_Pooling/config.json": {"pooling_mode_mean_tokens": True},
        }.items():
            (folder / name).write_text(json.dumps(content))
        return {path.relative_to(folder).as_posix(): path for path in folder.rglob("*.*")}

    def vector(self, tokens: Sequence[int]) -> Floats:
        """The mean over the tokens, of length 1."""
        x = self.tensors["embeddings.word_embeddings.weight"][list(tokens)]
        x = self._norm("emb_ln", x + self.tensors["embeddings.token_type_embeddings.weight"][0])
        for i in range(N_LAYER):
            at = f"encoder.layers.{i}"
            x = self._norm(f"{at}.norm1", x + self._attention(at, x))
            gate = self._product(f"{at}.mlp.fc12", x)
            hidden = self._product(f"{at}.mlp.fc11", x) * (gate / (1 + np.exp(-gate)))
            x = self._norm(f"{at}.norm2", x + self._product(f"{at}.mlp.fc2", hidden))
        mean = x.mean(0)
        return (mean / np.linalg.norm(mean)).astype(np.float32)

    def _attention(self, at: str, x: Floats) -> Floats:
        q, k, v = self._product(f"{at}.attn.Wqkv", x).reshape(len(x), 3, N_HEAD, -1).transpose(1, 0, 2, 3)
        scores = np.einsum("qhd,khd->hqk", _rotated(q), _rotated(k)) / np.sqrt(q.shape[-1])
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        mixed = np.einsum("hqk,khd->qhd", weights, v).reshape(len(x), -1)
        return self._product(f"{at}.attn.out_proj", mixed)

    def _product(self, name: str, x: Floats) -> Floats:
        found: Floats = x @ self.tensors[f"{name}.weight"].T
        return found

    def _norm(self, name: str, x: Floats) -> Floats:
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + EPSILON)
        return (x * self.tensors[f"{name}.weight"] + self.tensors[f"{name}.bias"]).astype(np.float32)

    def _add(self, name: str, *shape: int, scale: float = 0.2, centre: float = 0.0) -> None:
        values = centre + scale * self._random.standard_normal(shape)
        self.tensors[name] = rounded(values.astype(np.float32), "F16")

    def _add_norm(self, name: str) -> None:
        self._add(f"{name}.weight", N_EMBD, scale=0.1, centre=1.0)
        self._add(f"{name}.bias", N_EMBD, scale=0.1)


def _rotated(values: Floats) -> Floats:
    """The first half of a head is paired with the second."""
    frequencies = ROPE_BASE ** (-np.arange(0, values.shape[-1], 2) / values.shape[-1])
    angles = np.outer(np.arange(len(values)), frequencies)
    cos, sin = (np.concatenate([f(angles)] * 2, -1)[:, None] for f in (np.cos, np.sin))
    first, second = np.split(values, 2, axis=-1)
    return (values * cos + np.concatenate([-second, first], -1) * sin).astype(np.float32)
