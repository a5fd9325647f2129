"""Models with one result for each input: minilm with a head that ranks, and tiny ones of qwen3's shape."""

from __future__ import annotations

import os
import struct
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from server.gguf.reader import GgufArray, read_header
from tests.support.tiny_gguf import ALIGNMENT, Typed, byte_tokens, gguf_bytes

MINILM = Path(__file__).parents[1] / "models" / "minilm.gguf"

RERANK_TEMPLATE = "<|im_start|>Query: {query}\nDocument: {document}<|im_end|>yes?"

Floats = np.ndarray[Any, np.dtype[np.float32]]


def ranking_minilm() -> Path:
    """Path of minilm with pooling "rank" and a classification head of random weights, made once per user."""
    status = MINILM.stat()
    folder = Path(tempfile.gettempdir()) / f"olla-tests-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / f"ranking-minilm-{status.st_size}-{status.st_mtime_ns}.gguf"
    if not path.exists():
        rng = np.random.default_rng(7)

        def random(*shape: int) -> Floats:
            return (rng.standard_normal(shape) * 0.1).astype(np.float32)

        head = [
            ("cls.weight", random(384, 384)),
            ("cls.bias", random(384)),
            ("cls.output.weight", random(1, 384)),
            ("cls.output.bias", random(1)),
        ]
        descriptor, temporary = tempfile.mkstemp(dir=folder)
        with os.fdopen(descriptor, "wb") as file:
            file.write(_with_tensors(_with_pooling(MINILM.read_bytes(), 4), MINILM, head))
        os.replace(temporary, path)
    return path


def _with_pooling(raw: bytes, pooling: int) -> bytes:
    """A GGUF file with another value of `bert.pooling_type`, a u32."""
    key = b"bert.pooling_type" + struct.pack("<I", 4)
    at = raw.index(key) + len(key)
    return raw[:at] + struct.pack("<I", pooling) + raw[at + 4 :]


def _with_tensors(raw: bytes, path: Path, tensors: list[tuple[str, Floats]]) -> bytes:
    """A GGUF file with float32 tensors added behind the others; `path`: one with the same header's extent."""
    header = read_header(path)
    version, n_tensors, n_keys = struct.unpack_from("<IQQ", raw, 4)
    arrays = [value.offset for value in header.metadata.values() if isinstance(value, GgufArray)]
    last = header.tensors[-1]
    entry = struct.pack("<Q", len(last.name)) + last.name.encode()
    table_end = raw.index(entry, max(arrays)) + len(entry) + 4 + 8 * len(last.shape) + 12
    head = b"GGUF" + struct.pack("<IQQ", version, n_tensors + len(tensors), n_keys) + raw[24:table_end]
    data = raw[header.data_offset :]
    data += bytes(-len(data) % ALIGNMENT)
    for name, array in tensors:
        shape = array.shape[::-1]
        head += struct.pack("<Q", len(name)) + name.encode()
        head += struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, 0, len(data))
        data += array.astype("<f4").tobytes()
        data += bytes(-len(data) % ALIGNMENT)
    return head + bytes(-len(head) % ALIGNMENT) + data


def tiny_qwen3(path: Path, *, pooling: int, **extra: Any) -> Path:
    """A causal model of about 100 KB that pools like qwen3-embedding (3) or qwen3-reranker (4)."""
    n_embd, n_ff, n_head, n_kv_head, n_layer, n_rot = 64, 96, 4, 2, 2, 16
    tokens = [*byte_tokens(), "<|im_start|>", "<|im_end|>"]
    metadata: dict[str, Any] = {
        "general.architecture": "qwen3",
        "general.type": "model",
        "qwen3.block_count": n_layer,
        "qwen3.context_length": 1024,
        "qwen3.embedding_length": n_embd,
        "qwen3.feed_forward_length": n_ff,
        "qwen3.attention.head_count": n_head,
        "qwen3.attention.head_count_kv": n_kv_head,
        "qwen3.attention.key_length": n_rot,
        "qwen3.attention.value_length": n_rot,
        "qwen3.attention.layer_norm_rms_epsilon": 1e-6,
        "qwen3.rope.freq_base": 10000.0,
        "qwen3.pooling_type": pooling,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "qwen2",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": Typed("i32", [1] * 256 + [3] * 2),
        "tokenizer.ggml.merges": ["h e"],
        "tokenizer.ggml.eos_token_id": 257,
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.ggml.add_eos_token": True,
        **extra,
    }
    rng = np.random.default_rng(3)

    def random(*shape: int) -> Floats:
        return (rng.standard_normal(shape) * 0.2).astype(np.float32)

    tensors = [
        ("token_embd.weight", random(len(tokens), n_embd)),
        ("output_norm.weight", np.ones(n_embd, np.float32)),
    ]
    if pooling == 4:
        metadata["qwen3.classifier.output_labels"] = ["yes", "no"]
        metadata["tokenizer.chat_template.rerank"] = RERANK_TEMPLATE
        tensors.append(("cls.output.weight", random(2, n_embd)))
    for i in range(n_layer):
        tensors += [
            (f"blk.{i}.attn_norm.weight", np.ones(n_embd, np.float32)),
            (f"blk.{i}.attn_q.weight", random(n_head * n_rot, n_embd)),
            (f"blk.{i}.attn_k.weight", random(n_kv_head * n_rot, n_embd)),
            (f"blk.{i}.attn_v.weight", random(n_kv_head * n_rot, n_embd)),
            (f"blk.{i}.attn_output.weight", random(n_embd, n_head * n_rot)),
            (f"blk.{i}.attn_q_norm.weight", np.ones(n_rot, np.float32)),
            (f"blk.{i}.attn_k_norm.weight", np.ones(n_rot, np.float32)),
            (f"blk.{i}.ffn_norm.weight", np.ones(n_embd, np.float32)),
            (f"blk.{i}.ffn_gate.weight", random(n_ff, n_embd)),
            (f"blk.{i}.ffn_up.weight", random(n_ff, n_embd)),
            (f"blk.{i}.ffn_down.weight", random(n_embd, n_ff)),
        ]
    path.write_bytes(gguf_bytes(metadata, tensors))
    return path
