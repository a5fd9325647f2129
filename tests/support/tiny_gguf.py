"""GGUF files for tests: any header, and a small llama model that llama.cpp loads."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

ALIGNMENT = 32

_F32 = 0
_CODES = {"u8": (0, "B"), "i8": (1, "b"), "u16": (2, "H"), "i16": (3, "h"), "u32": (4, "I"), "i32": (5, "i")}
_CODES |= {"f32": (6, "f"), "bool": (7, "?"), "u64": (10, "Q"), "i64": (11, "q"), "f64": (12, "d")}


class Typed:
    """A metadata value with a type of its own: Typed("u64", 5), Typed("f32", [1.0, 2.0])."""

    def __init__(self, kind: str, value: Any) -> None:
        self.kind = kind
        self.value = value


def string(text: str | bytes) -> bytes:
    """A GGUF string."""
    raw = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(raw)) + raw


def value_bytes(value: Any) -> bytes:
    """Type and value; a plain int is u32, a float f32, a list an array of what its first element is."""
    if isinstance(value, Typed):
        number, code = _CODES[value.kind]
        if isinstance(value.value, list):
            head = struct.pack("<IIQ", 9, number, len(value.value))
            return head + struct.pack(f"<{len(value.value)}{code}", *value.value)
        return struct.pack("<I", number) + struct.pack(f"<{code}", value.value)
    if isinstance(value, str):
        return struct.pack("<I", 8) + string(value)
    if isinstance(value, list):
        if not value or isinstance(value[0], str):
            return struct.pack("<IIQ", 9, 8, len(value)) + b"".join(string(item) for item in value)
        return value_bytes(Typed(_kind_of(value[0]), value))
    return value_bytes(Typed(_kind_of(value), value))


def _kind_of(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    return "u32" if isinstance(value, int) else "f32"


def gguf_bytes(
    metadata: Mapping[str, Any],
    tensors: Sequence[tuple[str, np.ndarray[Any, np.dtype[np.float32]]]] = (),
    *,
    version: int = 3,
) -> bytes:
    """A whole file. Arrays are [rows, columns] float32; a GGUF shape is that reversed."""
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(metadata))
    head += b"".join(string(key) + value_bytes(value) for key, value in metadata.items())
    data = b""
    for name, array in tensors:
        shape = array.shape[::-1]
        head += string(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, _F32, len(data))
        raw = array.astype("<f4").tobytes()
        data += raw + bytes(-len(raw) % ALIGNMENT)
    return head + bytes(-len(head) % ALIGNMENT) + data


Tensors = list[tuple[str, np.ndarray[Any, np.dtype[np.float32]]]]


def tiny_llama_bytes(*, seed: int = 0, chat_template: str = "", **extra: Any) -> bytes:
    """The file of `tiny_llama`."""
    return gguf_bytes(*tiny_llama(seed=seed, chat_template=chat_template, **extra))


def split_gguf(metadata: Mapping[str, Any], tensors: Tensors, sizes: Sequence[int]) -> list[bytes]:
    """The parts of a split file as llama.cpp's gguf-split writes them, each with so many tensors."""
    parts = []
    left = list(tensors)
    for number, size in enumerate(sizes):
        keys = {
            "split.no": Typed("u16", number),
            "split.count": Typed("u16", len(sizes)),
            "split.tensors.count": Typed("i32", len(tensors)),
        }
        parts.append(gguf_bytes({**metadata, **keys} if number == 0 else keys, left[:size]))
        left = left[size:]
    return parts


def tiny_llama(*, seed: int = 0, chat_template: str = "", **extra: Any) -> tuple[dict[str, Any], Tensors]:
    """A llama model of about 100 KB with random weights and a vocabulary of 288 byte-level tokens.

    Args:
        extra: further metadata; dots of a key are written as two underscores.
    """
    n_embd, n_ff, n_head, n_layer = 32, 64, 4, 1
    tokens = [*byte_tokens(), "<|im_start|>", "<|im_end|>", *[f"<|spare{i}|>" for i in range(30)]]
    metadata: dict[str, Any] = {
        "general.architecture": "llama",
        "general.name": "tiny",
        "general.type": "model",
        "general.file_type": 0,
        "llama.block_count": n_layer,
        "llama.context_length": 256,
        "llama.embedding_length": n_embd,
        "llama.feed_forward_length": n_ff,
        "llama.attention.head_count": n_head,
        "llama.attention.head_count_kv": 2,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "llama.rope.dimension_count": n_embd // n_head,
        "llama.vocab_size": len(tokens),
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": Typed("i32", [1] * 256 + [3] * (len(tokens) - 256)),
        "tokenizer.ggml.merges": ["h e"],
        "tokenizer.ggml.bos_token_id": 256,
        "tokenizer.ggml.eos_token_id": 257,
        "tokenizer.ggml.add_bos_token": False,
    }
    if chat_template:
        metadata["tokenizer.chat_template"] = chat_template
    metadata |= {key.replace("__", "."): value for key, value in extra.items()}
    rng = np.random.default_rng(seed)

    def random(*shape: int) -> np.ndarray[Any, np.dtype[np.float32]]:
        return (rng.standard_normal(shape) * 0.05).astype(np.float32)

    tensors: Tensors = [
        ("token_embd.weight", random(len(tokens), n_embd)),
        ("output_norm.weight", np.ones(n_embd, np.float32)),
    ]
    n_kv = 2 * n_embd // n_head
    for i in range(n_layer):
        tensors += [
            (f"blk.{i}.attn_norm.weight", np.ones(n_embd, np.float32)),
            (f"blk.{i}.attn_q.weight", random(n_embd, n_embd)),
            (f"blk.{i}.attn_k.weight", random(n_kv, n_embd)),
            (f"blk.{i}.attn_v.weight", random(n_kv, n_embd)),
            (f"blk.{i}.attn_output.weight", random(n_embd, n_embd)),
            (f"blk.{i}.ffn_norm.weight", np.ones(n_embd, np.float32)),
            (f"blk.{i}.ffn_gate.weight", random(n_ff, n_embd)),
            (f"blk.{i}.ffn_up.weight", random(n_ff, n_embd)),
            (f"blk.{i}.ffn_down.weight", random(n_embd, n_ff)),
        ]
    return metadata, tensors


def write_tiny_llama(path: Path, **options: Any) -> Path:
    """Write `tiny_llama_bytes` to a path and return it."""
    path.write_bytes(tiny_llama_bytes(**options))
    return path


def byte_tokens() -> list[str]:
    """GPT-2's printable stand-ins for the 256 bytes, in its order."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + i) for i in range(len(rest))]
