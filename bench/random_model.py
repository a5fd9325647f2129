"""Writes llama models of real shapes with random weights: speed does not depend on the values.

    python bench/random_model.py 60m OUT.gguf
    python bench/random_model.py 1b OUT.gguf
    python bench/random_model.py 1b OUT.gguf q4_0

The weights are Q8_0, or Q4_0, which llama.cpp repacks for many processors.

Needs numpy and nothing else. The vocabulary has 128,256 tokens: the 256 bytes, then made-up words. The row
of the end token is zero, so that greedy decoding never ends by itself.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

ALIGNMENT = 32
N_VOCAB = 128_256
F32, Q4_0, Q8_0 = 0, 2, 8
BLOCK_BYTES = {Q4_0: 18, Q8_0: 34}
FILE_TYPES = {Q4_0: 2, Q8_0: 7}
UINT32, FLOAT32, BOOL, STRING, ARRAY, INT32 = 4, 6, 7, 8, 9, 5


@dataclass(frozen=True)
class Shape:
    """A llama model's dimensions."""

    n_embd: int
    n_layer: int
    n_ff: int
    n_head: int
    n_kv: int


SHAPES = {"60m": Shape(512, 8, 1536, 8, 4), "1b": Shape(2048, 16, 8192, 32, 8)}


def tensors(shape: Shape, kind: int = Q8_0) -> Iterator[tuple[str, tuple[int, ...], int]]:
    """(name, shape as rows x columns, type) of each tensor."""
    kv = shape.n_kv * (shape.n_embd // shape.n_head)
    yield "token_embd.weight", (N_VOCAB, shape.n_embd), kind
    yield "output_norm.weight", (shape.n_embd,), F32
    for layer in range(shape.n_layer):
        prefix = f"blk.{layer}."
        yield prefix + "attn_norm.weight", (shape.n_embd,), F32
        yield prefix + "ffn_norm.weight", (shape.n_embd,), F32
        yield prefix + "attn_q.weight", (shape.n_embd, shape.n_embd), kind
        yield prefix + "attn_k.weight", (kv, shape.n_embd), kind
        yield prefix + "attn_v.weight", (kv, shape.n_embd), kind
        yield prefix + "attn_output.weight", (shape.n_embd, shape.n_embd), kind
        yield prefix + "ffn_gate.weight", (shape.n_ff, shape.n_embd), kind
        yield prefix + "ffn_up.weight", (shape.n_ff, shape.n_embd), kind
        yield prefix + "ffn_down.weight", (shape.n_embd, shape.n_ff), kind


def n_bytes(dims: tuple[int, ...], kind: int) -> int:
    count = int(np.prod(dims))
    return count // 32 * BLOCK_BYTES[kind] if kind in BLOCK_BYTES else count * 4


def text(value: str) -> bytes:
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def byte_tokens() -> list[str]:
    """The 256 bytes as GPT-2's byte-level BPE writes them."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    codes = {byte: byte for byte in plain} | {byte: 256 + n for n, byte in enumerate(others)}
    return [chr(codes[byte]) for byte in range(256)]


def metadata(shape: Shape, kind: int = Q8_0) -> list[tuple[str, int, Any]]:
    words = [f"w{number}\u0120" for number in range(N_VOCAB - 257)]
    tokens = [*byte_tokens(), *words, "<|end|>"]
    return [
        ("general.architecture", STRING, "llama"),
        ("general.name", STRING, "random"),
        ("general.file_type", UINT32, FILE_TYPES[kind]),
        ("llama.context_length", UINT32, 131072),
        ("llama.embedding_length", UINT32, shape.n_embd),
        ("llama.block_count", UINT32, shape.n_layer),
        ("llama.feed_forward_length", UINT32, shape.n_ff),
        ("llama.attention.head_count", UINT32, shape.n_head),
        ("llama.attention.head_count_kv", UINT32, shape.n_kv),
        ("llama.attention.layer_norm_rms_epsilon", FLOAT32, 1e-5),
        ("llama.rope.freq_base", FLOAT32, 500000.0),
        ("llama.rope.dimension_count", UINT32, shape.n_embd // shape.n_head),
        ("llama.vocab_size", UINT32, N_VOCAB),
        ("tokenizer.ggml.model", STRING, "gpt2"),
        ("tokenizer.ggml.pre", STRING, "llama-bpe"),
        ("tokenizer.ggml.tokens", ARRAY, tokens),
        ("tokenizer.ggml.token_type", ARRAY, [1] * (N_VOCAB - 1) + [3]),
        ("tokenizer.ggml.merges", ARRAY, ["w 1"]),
        ("tokenizer.ggml.bos_token_id", UINT32, N_VOCAB - 1),
        ("tokenizer.ggml.eos_token_id", UINT32, N_VOCAB - 1),
        ("tokenizer.ggml.add_bos_token", BOOL, False),
    ]


def field(name: str, kind: int, value: Any) -> bytes:
    head = text(name) + struct.pack("<I", kind)
    if kind == STRING:
        return head + text(value)
    if kind == ARRAY:
        if isinstance(value[0], str):
            return head + struct.pack("<IQ", STRING, len(value)) + b"".join(map(text, value))
        return head + struct.pack("<IQ", INT32, len(value)) + np.asarray(value, "<i4").tobytes()
    return head + struct.pack({UINT32: "<I", FLOAT32: "<f", BOOL: "<?"}[kind], value)


def padded(size: int) -> int:
    return -size % ALIGNMENT


def write_blocks(
    out: BinaryIO, rng: np.random.Generator, dims: tuple[int, ...], kind: int, *, zero_last_row: bool
) -> None:
    rows, columns = dims
    blocks = columns // 32
    spread = 73.0 if kind == Q8_0 else 4.6  # standard deviation of the whole numbers of a block
    scale = np.float16((1.0 if rows == N_VOCAB else 1.0 / np.sqrt(columns)) / spread)
    for start in range(0, rows, 4096):
        n = min(4096, rows - start)
        data = np.empty((n, blocks, BLOCK_BYTES[kind]), np.uint8)
        data[:, :, :2] = np.frombuffer(scale.tobytes(), np.uint8)
        if kind == Q8_0:
            data[:, :, 2:] = rng.integers(-127, 128, (n, blocks, 32), np.int8).view(np.uint8)
        else:
            data[:, :, 2:] = rng.integers(0, 256, (n, blocks, 16), np.uint8)
        if zero_last_row and start + n == rows:
            data[-1] = 0  # a scale of zero: all values are
        out.write(data.tobytes())


def write(shape: Shape, path: Path, kind: int) -> None:
    """Write the model; the header first, then each tensor at its aligned place."""
    rng = np.random.default_rng(1)
    described = list(tensors(shape, kind))
    fields = metadata(shape, kind)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(described), len(fields))
    head += b"".join(field(*one) for one in fields)
    offset = 0
    for name, dims, of in described:
        head += text(name) + struct.pack("<I", len(dims))
        head += struct.pack(f"<{len(dims)}Q", *reversed(dims)) + struct.pack("<IQ", of, offset)
        offset += n_bytes(dims, of) + padded(n_bytes(dims, of))
    with path.open("wb") as out:
        out.write(head + bytes(padded(len(head))))
        for name, dims, of in described:
            if of == F32:
                out.write(np.ones(dims, np.float32).tobytes())
            else:
                write_blocks(out, rng, dims, of, zero_last_row=name.startswith("token_embd"))
            out.write(bytes(padded(n_bytes(dims, of))))


if __name__ == "__main__":
    kinds = {"q4_0": Q4_0, "q8_0": Q8_0}
    write(SHAPES[sys.argv[1]], Path(sys.argv[2]), kinds[sys.argv[3] if len(sys.argv) > 3 else "q8_0"])
