"""Writes a llama model of a real shape whose greedy answers are known: each word is followed by the next one.

    python bench/chain_model.py 60m OUT.gguf
    python bench/chain_model.py 1b OUT.gguf
    python bench/chain_model.py 60m OUT.gguf 0.3

Shapes, vocabulary and speed are those of `random_model.py`. The embeddings are random, and the row of a word
in the output layer is the embedding of the word before it; the layers add too little to what comes out of the
embedding to change that. A byte begins a chain of its own, of `CHAIN_TOKENS` words that are all different and
lead into the chain of the next byte. So what such a model writes repeats nothing, unless the prompt has it.

The last number makes a draft model that is often wrong: after this share of all words it expects another one.

The words of the chains of "a" to "d" are tokens of a prompt too; those of the others are letters there.
"""

from __future__ import annotations

import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from random_model import (
    F32,
    N_VOCAB,
    Q8_0,
    SHAPES,
    Shape,
    field,
    metadata,
    n_bytes,
    padded,
    tensors,
    text,
)

N_BYTES = 256
CHAIN_TOKENS = (N_VOCAB - 1 - N_BYTES) // N_BYTES
SPOKEN = "abcd"
LAYER_SCALE = 0.1
NORMAL, USER_DEFINED = 1, 4

Quants = npt.NDArray[np.int8]


def chain(letter: str, n_tokens: int = CHAIN_TOKENS) -> list[str]:
    """The words that follow a letter."""
    first = ord(letter) * CHAIN_TOKENS
    return [f"w{number} " for number in range(first, first + n_tokens)]


def fields(shape: Shape) -> list[tuple[str, int, Any]]:
    """The random model's, with the words of the spoken chains as they stand in a text."""
    made = {name: (kind, value) for name, kind, value in metadata(shape)}
    tokens, types = (list(made[f"tokenizer.ggml.{name}"][1]) for name in ("tokens", "token_type"))
    for letter in SPOKEN:
        first = N_BYTES + ord(letter) * CHAIN_TOKENS
        tokens[first : first + CHAIN_TOKENS] = chain(letter)
        types[first : first + CHAIN_TOKENS] = [USER_DEFINED] * CHAIN_TOKENS
    made["tokenizer.ggml.tokens"] = (made["tokenizer.ggml.tokens"][0], tokens)
    made["tokenizer.ggml.token_type"] = (made["tokenizer.ggml.token_type"][0], types)
    return [(name, kind, value) for name, (kind, value) in made.items()]


def output_rows(embeddings: Quants) -> Quants:
    """The output layer: of each token the embedding of the one before it. [n_vocab, n_embd]"""
    rows = np.roll(embeddings, 1, axis=0)
    rows[:N_BYTES] = 0
    for byte in range(N_BYTES):
        first = N_BYTES + byte * CHAIN_TOKENS
        before = embeddings[first - 1].astype(np.int16) if byte else 0
        rows[first] = ((embeddings[byte].astype(np.int16) + before) // 2).astype(np.int8)
    return rows


def with_errors(rows: Quants, share: float) -> Quants:
    """Output rows of which a share is that of other words."""
    rng = np.random.default_rng(2)
    wrong = N_BYTES + np.flatnonzero(rng.random(len(rows) - N_BYTES - 1) < share)
    rows[wrong] = rows[np.roll(wrong, 1)]
    return rows


def q8_0(quants: Quants, scale: float) -> bytes:
    """Blocks of 32 numbers behind one scale."""
    rows, columns = quants.shape
    data = np.empty((rows, columns // 32, 34), np.uint8)
    data[:, :, :2] = np.frombuffer(np.float16(scale / 73.0).tobytes(), np.uint8)
    data[:, :, 2:] = quants.reshape(rows, columns // 32, 32).view(np.uint8)
    return data.tobytes()


def write(shape: Shape, path: Path, share_of_errors: float = 0.0) -> None:
    rng = np.random.default_rng(1)
    embeddings: Quants = rng.integers(-127, 128, (N_VOCAB, shape.n_embd), np.int8)
    embeddings[-1] = 0
    described = [*tensors(shape), ("output.weight", (N_VOCAB, shape.n_embd), Q8_0)]
    described_fields = fields(shape)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(described), len(described_fields))
    head += b"".join(field(*one) for one in described_fields)
    offset = 0
    for name, dims, kind in described:
        head += text(name) + struct.pack("<I", len(dims))
        head += struct.pack(f"<{len(dims)}Q", *reversed(dims)) + struct.pack("<IQ", kind, offset)
        offset += n_bytes(dims, kind) + padded(n_bytes(dims, kind))
    with path.open("wb") as out:
        out.write(head + bytes(padded(len(head))))
        for name, dims, kind in described:
            if kind == F32:
                out.write(np.ones(dims, np.float32).tobytes())
            elif name == "token_embd.weight":
                out.write(q8_0(embeddings, 1.0))
            elif name == "output.weight":
                out.write(q8_0(with_errors(output_rows(embeddings), share_of_errors), 1.0))
            else:
                out.write(q8_0(rng.integers(-127, 128, dims, np.int8), LAYER_SCALE / np.sqrt(dims[1])))
            out.write(bytes(padded(n_bytes(dims, kind))))


if __name__ == "__main__":
    write(SHAPES[sys.argv[1]], Path(sys.argv[2]), float(sys.argv[3]) if len(sys.argv) > 3 else 0.0)
