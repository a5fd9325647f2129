"""The GGUF header reader: what it reads, what it refuses, and that nothing else can happen."""

from __future__ import annotations

import math
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.errors import BadModelFile
from server.gguf.reader import GgufArray, is_gguf, read_header, shortest_float32
from tests.support.tiny_gguf import Typed, gguf_bytes, string, tiny_llama_bytes

SPARK = Path(__file__).parents[4] / "server" / "bundled" / "spark.gguf"


def write(tmp_path: Path, raw: bytes) -> Path:
    path = tmp_path / "model.gguf"
    path.write_bytes(raw)
    return path


def test_reads_every_type(tmp_path: Path) -> None:
    metadata = {
        "general.architecture": "llama",
        "u8": Typed("u8", 200),
        "i8": Typed("i8", -3),
        "u16": Typed("u16", 60000),
        "i16": Typed("i16", -300),
        "u32": Typed("u32", 4_000_000_000),
        "i32": Typed("i32", -70000),
        "u64": Typed("u64", 1 << 60),
        "i64": Typed("i64", -(1 << 60)),
        "f32": Typed("f32", 1e-5),
        "f64": Typed("f64", 0.1),
        "yes": True,
        "no": False,
        "text": "héllo 🦙",
        "empty": "",
        "numbers": Typed("i32", [1, -2, 3]),
        "floats": Typed("f32", [0.1, 2.5]),
        "flags": Typed("bool", [True, False]),
        "words": ["a", "", "ccc"],
        "none": [],
    }
    header = read_header(write(tmp_path, gguf_bytes(metadata)))
    got = {key: value for key, value in header.metadata.items() if not isinstance(value, GgufArray)}
    assert got == {
        key: value.value if isinstance(value, Typed) else value
        for key, value in metadata.items()
        if not isinstance(value, list) and not (isinstance(value, Typed) and isinstance(value.value, list))
    }
    assert header.metadata["yes"] is True
    assert header.read_array("numbers") == [1, -2, 3]
    assert header.read_array("floats") == [0.1, 2.5]
    assert header.read_array("flags") == [True, False]
    assert header.read_array("words") == ["a", "", "ccc"]
    assert header.read_array("words", start=2, limit=5) == ["ccc"]
    assert header.read_array("none") == []
    with pytest.raises(KeyError):
        header.read_array("text")


def test_reads_tensors_and_sizes(tmp_path: Path) -> None:
    tensors = [("a.weight", np.zeros((3, 8), np.float32)), ("b", np.ones(5, np.float32))]
    raw = gguf_bytes({"general.architecture": "llama"}, tensors)
    header = read_header(write(tmp_path, raw))
    assert [(t.name, t.type, t.shape) for t in header.tensors] == [
        ("a.weight", "F32", (8, 3)),
        ("b", "F32", (5,)),
    ]
    assert header.n_parameters == 29
    assert header.data_bytes == 29 * 4
    assert header.data_offset % 32 == 0
    assert header.file_bytes == len(raw)


def test_bytes_that_are_no_utf8_are_replaced(tmp_path: Path) -> None:
    raw = b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + string("k") + struct.pack("<I", 8) + string(b"a\xffb")
    assert read_header(write(tmp_path, raw)).metadata == {"k": "a\N{REPLACEMENT CHARACTER}b"}


def test_a_long_vocabulary_is_skipped_and_fetched(tmp_path: Path) -> None:
    words = [f"token {i}" for i in range(50_000)]
    scores = [i / 8 for i in range(50_000)]
    raw = gguf_bytes({"words": words, "scores": Typed("f32", scores), "after": 7})
    header = read_header(write(tmp_path, raw))
    assert header.metadata["words"].values is None
    assert header.metadata["after"] == 7
    assert header.read_array("words") == words
    assert header.read_array("words", start=43_210, limit=1) == ["token 43210"]
    assert header.read_array("scores", start=49_999) == [scores[-1]]


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "truncated"),
        (b"GGU", "truncated"),
        (b"PK\x03\x04 zip archive of something", "not a GGUF file"),
        (b"FUGG" + bytes(40), "big-endian"),
        (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "big-endian"),
        (b"GGUF" + struct.pack("<III", 1, 0, 0), "version 1"),
        (b"GGUF" + struct.pack("<IQQ", 9, 0, 0), "version 9"),
        (b"GGUF" + struct.pack("<IQ", 3, 0), "truncated"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1 << 63), "keys"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1000), "1000 keys"),
        (b"GGUF" + struct.pack("<IQQ", 3, 1 << 40, 0), "tensors"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + string("k") + struct.pack("<II", 99, 0), "unknown type 99"),
        (
            b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + string("k") + struct.pack("<IIQ", 9, 9, 1) + bytes(16),
            "unsupported type 9",
        ),
        (
            b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + string("k") + struct.pack("<IIQ", 9, 4, 1 << 50),
            "array elements",
        ),
        (
            b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + string("k") + struct.pack("<IIQ", 9, 8, 5),
            "array elements",
        ),
        (gguf_bytes({"general.alignment": 0}), "alignment"),
        (gguf_bytes({"general.alignment": "x"}), "alignment"),
    ],
)
def test_refuses_damaged_headers(tmp_path: Path, raw: bytes, words: str) -> None:
    with pytest.raises(BadModelFile) as caught:
        read_header(write(tmp_path, raw))
    assert words in str(caught.value)
    assert "model.gguf" in str(caught.value)


@pytest.mark.parametrize(
    ("length", "limit"), [((1 << 64) - 1, (1 << 63) - 1), ((1 << 24) + 1, 1 << 24), (1 << 62, 1 << 24)]
)
def test_refuses_absurd_strings_as_ollama(tmp_path: Path, length: int, limit: int) -> None:
    raw = b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, length) + bytes(64)
    with pytest.raises(BadModelFile) as caught:
        read_header(write(tmp_path, raw))
    assert str(caught.value) == f"GGUF string length {length} exceeds maximum {limit}"


def tensor_entry(shape: tuple[int, ...], kind: int, offset: int = 0) -> bytes:
    entry = string("t") + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)
    return b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + entry + bytes(64)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (tensor_entry((1, 1, 1, 1, 1), 0), "5 dimensions"),
        (tensor_entry((4,), 77), "unknown type 77"),
        (tensor_entry((33,), 8), "Q8_0 cannot hold"),
        (tensor_entry((1 << 40,), 0), "exceeds file size"),
        (tensor_entry((1 << 61, 1), 0), "exceeds file size"),
        (tensor_entry((1 << 63, 1), 0), "more elements than can be counted"),
        (tensor_entry((1 << 62, 4, 0), 0), "more elements than can be counted"),
        (tensor_entry((4,), 0, 1 << 60), "exceeds file size"),
    ],
)
def test_refuses_impossible_tensors(tmp_path: Path, raw: bytes, words: str) -> None:
    with pytest.raises(BadModelFile) as caught:
        read_header(write(tmp_path, raw))
    assert words in str(caught.value)


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(BadModelFile, match=r"^model file nope cannot be read: no such file or directory$"):
        read_header(tmp_path / "nope")


def test_an_array_of_a_file_that_has_gone_says_so(tmp_path: Path) -> None:
    path = write(tmp_path, gguf_bytes({"words": ["a"] * 10}))
    header = read_header(path)
    path.unlink()
    with pytest.raises(BadModelFile, match="cannot be read"):
        header.read_array("words")


def test_is_gguf(tmp_path: Path) -> None:
    assert is_gguf(SPARK)
    assert is_gguf(write(tmp_path, b"FUGG"))
    assert not is_gguf(write(tmp_path, b"GGU"))
    assert not is_gguf(tmp_path / "nope")


HEADER = tiny_llama_bytes()
HEADER_BYTES = 9000
FUZZ = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@FUZZ
@given(cut=st.integers(0, len(HEADER) - 1))
def test_every_truncation_is_refused(tmp_path: Path, cut: int) -> None:
    with pytest.raises(BadModelFile):
        read_header(write(tmp_path, HEADER[:cut]))


@FUZZ
@given(
    edits=st.lists(
        st.tuples(st.integers(0, HEADER_BYTES), st.binary(min_size=1, max_size=9)), min_size=1, max_size=4
    )
)
def test_mutations_read_or_are_refused(tmp_path: Path, edits: list[tuple[int, bytes]]) -> None:
    raw = bytearray(HEADER)
    for position, patch in edits:
        raw[position : position + len(patch)] = patch
    path = write(tmp_path, bytes(raw))
    try:
        header = read_header(path)
    except BadModelFile:
        return
    assert header.data_offset + header.data_bytes <= len(raw) + 32 * len(header.tensors)


@FUZZ
@given(noise=st.binary(max_size=400))
def test_noise_behind_the_magic_reads_or_is_refused(tmp_path: Path, noise: bytes) -> None:
    path = write(tmp_path, b"GGUF" + struct.pack("<I", 3) + noise)
    try:
        read_header(path)
    except BadModelFile:
        return


def test_a_hostile_header_reserves_no_memory(tmp_path: Path) -> None:
    """Counts that the file cannot hold are refused before anything of their size is made."""
    raws = [
        b"GGUF"
        + struct.pack("<IQQ", 3, 0, 1)
        + string("k")
        + struct.pack("<IIQ", 9, kind, (1 << 26))
        + bytes(99)
        for kind in (0, 4, 8, 12)
    ]
    paths = []
    for i, raw in enumerate(raws):
        paths.append(tmp_path / str(i))
        paths[-1].write_bytes(raw)
    tracemalloc.start()
    for path in paths:
        with pytest.raises(BadModelFile):
            read_header(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 << 20


@given(st.floats(width=32, allow_nan=False))
def test_shortest_float32_is_the_same_float32(value: float) -> None:
    short = shortest_float32(value)
    assert math.isinf(value) or struct.pack("<f", short) == struct.pack("<f", value)


@pytest.mark.parametrize(
    ("value", "short"), [(1e-5, 1e-5), (0.1, 0.1), (10000.0, 10000.0), (1 / 3, 0.33333334)]
)
def test_shortest_float32_of_known_numbers(value: float, short: float) -> None:
    (narrow,) = struct.unpack("<f", struct.pack("<f", value))
    assert shortest_float32(narrow) == short


def test_reads_the_bundled_model() -> None:
    header = read_header(SPARK)
    tokens: Any = header.metadata["tokenizer.ggml.tokens"]
    assert header.version == 3
    assert tokens.count == 4096
    assert header.n_parameters == 5_770_496
    assert header.data_offset + header.data_bytes <= header.file_bytes
