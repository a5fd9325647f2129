"""Ten thousand broken headers: each reads or is refused, and costs no more than a whole one."""

from __future__ import annotations

import io
import random
import struct
import tracemalloc

import numpy as np
import pytest

from server.errors import BadModelFile
from server.gguf.cursor import MAX_ARRAY_STRINGS, WINDOW_BYTES
from server.gguf.reader import MAX_EAGER_ELEMENTS, MAX_EAGER_TOTAL, parse_header, read_header
from tests.support.broken_gguf import HEAD, N_KEPT, SIZE, SPARK, HeaderFile, mutated
from tests.support.tiny_gguf import Typed, gguf_bytes, string

N_MUTATIONS = 10_000


def test_each_of_ten_thousand_broken_headers_reads_or_is_refused() -> None:
    rng = random.Random(20)
    n_refused = 0
    for _ in range(N_MUTATIONS):
        head, size = mutated(rng)
        file = HeaderFile(head, size)
        try:
            header = parse_header(SPARK, file)
        except BadModelFile:
            n_refused += 1
        else:
            assert header.data_offset + header.data_bytes <= size
            assert len({tensor.name for tensor in header.tensors}) == len(header.tensors)
        assert file.n_read <= size + 2 * WINDOW_BYTES
    assert N_MUTATIONS // 2 < n_refused < N_MUTATIONS


def test_the_header_reads_as_long_as_it_is_whole() -> None:
    header = parse_header(SPARK, HeaderFile(HEAD, SIZE))
    assert len(header.tensors) == len(read_header(SPARK).tensors)
    assert header.metadata["tokenizer.ggml.tokens"].count == N_KEPT


def one_key(rest: bytes) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + rest


def absurd_headers(count: int) -> dict[str, bytes]:
    """Headers with the number in each place where a count or a length stands."""
    number = struct.pack("<Q", count)
    return {
        "tensors": HEAD[:8] + number + HEAD[16:],
        "keys": HEAD[:16] + number + HEAD[24:],
        "length of a key": one_key(number),
        "length of a text": one_key(string("k") + struct.pack("<I", 8) + number),
        "numbers": one_key(string("k") + struct.pack("<II", 9, 4) + number),
        "strings": one_key(string("k") + struct.pack("<II", 9, 8) + number),
        "length of a string": one_key(string("k") + struct.pack("<IIQ", 9, 8, 1) + number),
        "length of a name": b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + number,
        "elements": b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + string("t") + struct.pack("<I", 1) + number,
    }


@pytest.mark.parametrize("place", absurd_headers(0))
@pytest.mark.parametrize("count", [1 << 42, 1 << 60, (1 << 64) - 1])
def test_an_absurd_count_is_refused_before_memory_is_taken(place: str, count: int) -> None:
    """Also where the file claims to hold a terabyte, and so nothing is missing at its end."""
    file = HeaderFile(absurd_headers(count)[place], 1 << 40)
    tracemalloc.start()
    try:
        with pytest.raises(BadModelFile):
            parse_header(SPARK, file)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2 << 20
    assert file.n_read <= 2 * WINDOW_BYTES


def test_strings_of_all_arrays_are_bounded_together() -> None:
    """Empty strings cost a file nothing but zeros; a header must not keep the reader busy with them."""
    n = MAX_ARRAY_STRINGS + 1
    head = one_key(string("a") + struct.pack("<IIQ", 9, 8, n))
    file = HeaderFile(head, len(head) + 8 * n)
    with pytest.raises(BadModelFile, match="strings"):
        parse_header(SPARK, file)
    assert file.n_read <= WINDOW_BYTES


def test_numbers_that_are_read_with_the_header_are_bounded_together() -> None:
    """What is beyond the bound is read when it is asked for."""
    array = Typed("i32", list(range(MAX_EAGER_ELEMENTS)))
    n_arrays = MAX_EAGER_TOTAL // MAX_EAGER_ELEMENTS + 3
    raw = gguf_bytes({f"k{i}": array for i in range(n_arrays)})
    header = parse_header(SPARK, io.BytesIO(raw))
    n_kept = sum(len(value.values or ()) for value in header.metadata.values())
    assert n_kept == MAX_EAGER_TOTAL
    assert header.metadata[f"k{n_arrays - 1}"].values is None


ONES = np.ones(8, np.float32)


def retyped(raw: bytes, old: bytes, new: bytes) -> bytes:
    assert raw.count(old) == 1
    return raw.replace(old, new)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (gguf_bytes({"": 1}), "empty"),
        (retyped(gguf_bytes({"ab": 1, "cd": 2}), string("cd"), string("ab")), "key 'ab' twice"),
        (gguf_bytes({"general.alignment": Typed("u64", 32)}), "alignment"),
        (gguf_bytes({"general.alignment": Typed("u32", [32])}), "alignment"),
        (gguf_bytes({"general.alignment": 48}), "alignment is 48"),
        (gguf_bytes({}, [("a", ONES), ("a", ONES)]), "tensor 'a' twice"),
        (gguf_bytes({}, [("a" * 64, ONES)]), "63 bytes"),
        (gguf_bytes({}, [("é" * 32, ONES)]), "63 bytes"),
        (
            retyped(
                gguf_bytes({}, [("a", ONES), ("b", ONES)]),
                struct.pack("<IQ", 0, 32),
                struct.pack("<IQ", 0, 0),
            ),
            "offset 0 instead of 32",
        ),
    ],
)
def test_refuses_what_llama_cpp_refuses(raw: bytes, words: str) -> None:
    with pytest.raises(BadModelFile, match=words):
        parse_header(SPARK, io.BytesIO(raw))


def test_a_tensor_name_may_have_63_bytes() -> None:
    assert parse_header(SPARK, io.BytesIO(gguf_bytes({}, [("a" * 63, ONES)]))).tensors[0].name == "a" * 63
