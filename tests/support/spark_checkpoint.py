"""spark in F16, written back to Hugging Face's layout: the way back from GGUF, for tests of the way there."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from server.gguf.raw import tensor_places
from server.gguf.reader import read_header
from tests.support.engine_worker import SPARK_F16
from tests.support.hugging_face import write_safetensors

_TYPES = {"F16": np.float16, "F32": np.float32}
_NAMES = {
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_OUTER = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}


def tensors_of(path: Path) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    """Type, shape and bytes of each tensor of a GGUF file."""
    found = {}
    raw = path.read_bytes()
    for info, offset, size in tensor_places(read_header(path)):
        found[info.name] = (info.type, info.shape, raw[offset : offset + size])
    return found


def write_spark(folder: Path) -> dict[str, Path]:
    """Write it; the files by their names."""
    folder.mkdir(parents=True)
    header = read_header(SPARK_F16)
    meta = header.metadata
    n_head, n_head_kv = meta["llama.attention.head_count"], meta["llama.attention.head_count_kv"]
    tensors: dict[str, tuple[str, npt.NDArray[Any]]] = {}
    for name, (kind, shape, raw) in tensors_of(SPARK_F16).items():
        values = np.frombuffer(raw, _TYPES[kind], count=math.prod(shape)).reshape(shape[::-1])
        part = name.split(".")[-2]
        if part in ("attn_q", "attn_k"):
            values = _unpermuted(values, n_head if part == "attn_q" else n_head_kv)
        tensors[_hugging_face_name(name)] = (kind, values)
    write_safetensors(folder / "model.safetensors", tensors)
    config = {
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": meta["llama.embedding_length"],
        "intermediate_size": meta["llama.feed_forward_length"],
        "num_hidden_layers": meta["llama.block_count"],
        "num_attention_heads": n_head,
        "num_key_value_heads": n_head_kv,
        "max_position_embeddings": meta["llama.context_length"],
        "vocab_size": meta["llama.vocab_size"],
        "rms_norm_eps": meta["llama.attention.layer_norm_rms_epsilon"],
        "rope_theta": meta["llama.rope.freq_base"],
    }
    (folder / "config.json").write_text(json.dumps(config))
    tokens = header.read_array("tokenizer.ggml.tokens")
    kinds = header.read_array("tokenizer.ggml.token_type")
    added = [
        {"id": i, "content": token, "special": kind == 3, "normalized": False}
        for i, (token, kind) in enumerate(zip(tokens, kinds, strict=True))
        if kind in (3, 4)
    ]
    tokenizer = {
        "model": {
            "type": "BPE",
            "vocab": {token: i for i, token in enumerate(tokens) if kinds[i] == 1},
            "merges": header.read_array("tokenizer.ggml.merges"),
        },
        "added_tokens": added,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False},
        "post_processor": {"type": "ByteLevel"},
    }
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    names = {"bos": "bos_token_id", "eos": "eos_token_id", "pad": "padding_token_id"}
    special = {f"{role}_token": tokens[meta[f"tokenizer.ggml.{key}"]] for role, key in names.items()}
    (folder / "tokenizer_config.json").write_text(json.dumps(special))
    (folder / "chat_template.jinja").write_text(meta["tokenizer.chat_template"])
    return {path.name: path for path in folder.iterdir()}


def _hugging_face_name(name: str) -> str:
    stem, _, ending = name.rpartition(".")
    if stem in _OUTER:
        return f"{_OUTER[stem]}.{ending}"
    _, number, part = stem.split(".")
    return f"model.layers.{number}.{_NAMES[part]}.{ending}"


def _unpermuted(values: npt.NDArray[Any], n_head: int) -> npt.NDArray[Any]:
    """Rows in Hugging Face's order: the first halves of a head's pairs, then the second ones."""
    rows = values.shape[0]
    return values.reshape(n_head, rows // n_head // 2, 2, -1).swapaxes(1, 2).reshape(values.shape)
