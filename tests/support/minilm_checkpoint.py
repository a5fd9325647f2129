"""The embedding model of the tests, written back to Hugging Face's layout, with its weights dequantised."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from server.gguf.raw import tensor_places
from server.gguf.reader import read_header
from tests.support.engine_worker import MINILM
from tests.support.hugging_face import write_safetensors

_LAYER = {
    "attn_q": "attention.self.query",
    "attn_k": "attention.self.key",
    "attn_v": "attention.self.value",
    "attn_output": "attention.output.dense",
    "attn_output_norm": "attention.output.LayerNorm",
    "ffn_up": "intermediate.dense",
    "ffn_down": "output.dense",
    "layer_output_norm": "output.LayerNorm",
}
_OUTER = {
    "token_embd": "word_embeddings",
    "position_embd": "position_embeddings",
    "token_types": "token_type_embeddings",
    "token_embd_norm": "LayerNorm",
}
_CONTROL = 3


def write_minilm(folder: Path) -> dict[str, Path]:
    """Write it; the files by their names."""
    (folder / "1_Pooling").mkdir(parents=True)
    header = read_header(MINILM)
    meta = header.metadata
    raw = MINILM.read_bytes()
    tensors = {
        _name(info.name): ("F32", _floats(raw[offset : offset + size], info.type, info.shape))
        for info, offset, size in tensor_places(header)
    }
    write_safetensors(folder / "model.safetensors", tensors)
    config = {
        "architectures": ["BertModel"],
        "hidden_size": meta["bert.embedding_length"],
        "intermediate_size": meta["bert.feed_forward_length"],
        "num_hidden_layers": meta["bert.block_count"],
        "num_attention_heads": meta["bert.attention.head_count"],
        "max_position_embeddings": meta["bert.context_length"],
        "layer_norm_eps": 1e-12,
        "type_vocab_size": 2,
    }
    (folder / "config.json").write_text(json.dumps(config))
    tokens = header.read_array("tokenizer.ggml.tokens")
    kinds = header.read_array("tokenizer.ggml.token_type")
    texts = [_piece(token, kind) for token, kind in zip(tokens, kinds, strict=True)]
    tokenizer = {
        "model": {"type": "WordPiece", "vocab": {text: i for i, text in enumerate(texts)}},
        "added_tokens": [
            {"id": i, "content": text, "special": True}
            for i, text in enumerate(texts)
            if kinds[i] == _CONTROL
        ],
        "normalizer": {"type": "BertNormalizer", "lowercase": True},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {}}, {"Sequence": {}}, {"SpecialToken": {}}],
        },
    }
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    special = {"cls_token": "[CLS]", "sep_token": "[SEP]", "unk_token": "[UNK]", "pad_token": "[PAD]"}
    (folder / "tokenizer_config.json").write_text(json.dumps(special))
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_mean_tokens": True}))
    return {path.relative_to(folder).as_posix(): path for path in folder.rglob("*.*")}


def _name(name: str) -> str:
    stem, _, ending = name.rpartition(".")
    if stem in _OUTER:
        return f"bert.embeddings.{_OUTER[stem]}.{ending}"
    _, number, part = stem.split(".")
    return f"bert.encoder.layer.{number}.{_LAYER[part]}.{ending}"


def _piece(token: str, kind: int) -> str:
    if kind == _CONTROL:
        return token
    return token.removeprefix("▁") if token.startswith("▁") else f"##{token}"


def _floats(raw: bytes, kind: str, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    if kind == "F32":
        return np.frombuffer(raw, np.float32, count=math.prod(shape)).reshape(shape[::-1])
    assert kind == "Q8_0"
    blocks: npt.NDArray[Any] = np.frombuffer(raw, np.dtype([("scale", "<f2"), ("values", "i1", 32)]))
    found = blocks["scale"].astype(np.float32)[:, None] * blocks["values"].astype(np.float32)
    return found.reshape(shape[::-1])
