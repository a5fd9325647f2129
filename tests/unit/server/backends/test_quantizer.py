"""The process that quantises: every type, what it tells, and how it ends."""

from __future__ import annotations

import json
import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from server.backends.quantizer import quantize
from server.errors import DiskFull, InvalidRequest, StoreError
from server.gguf.metadata import GgufMetadata
from server.gguf.quantization import TYPES, overrides, quantize_type
from server.gguf.reader import read_header

ROOT = Path(__file__).parents[4]
HALF = ROOT / "tests" / "models" / "spark-f16.gguf"


def says(*reports: object, then: str = "") -> tuple[str, ...]:
    """A command that tells these reports instead of working."""
    lines = "".join(json.dumps(report) + "\n" for report in reports)
    return (
        sys.executable,
        "-c",
        f"import sys, os, signal; sys.stdout.write({lines!r}); sys.stdout.flush(); {then}",
    )


@pytest.mark.parametrize("name", TYPES)
def test_every_type_that_is_offered(tmp_path: Path, name: str) -> None:
    target = tmp_path / "out.gguf"
    shares = list(quantize(HALF, target, quantize_type(name).number))
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0.0, 1.0)
    assert GgufMetadata(read_header(target)).file_type == name


@pytest.fixture
def many_open_files() -> Iterator[None]:
    """All descriptors that `select` would take are in use."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2048:
        pytest.skip("the system allows too few open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (2048, hard))
    files: list[int] = []
    try:
        while not files or files[-1] < 1024:
            files.append(os.open(os.devnull, os.O_RDONLY))
        yield
    finally:
        for file in files:
            os.close(file)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_server_with_many_open_files(tmp_path: Path, many_open_files: None) -> None:
    assert list(quantize(HALF, tmp_path / "out", 1, command=says({"ok": True}))) == [0.0, 1.0]


WITH_IMATRIX = {"IQ2_XXS": 19, "IQ2_XS": 20, "IQ2_S": 28, "IQ2_M": 29}
WITH_IMATRIX |= {"IQ1_S": 24, "IQ1_M": 31, "IQ3_XXS": 23, "IQ3_XS": 22, "Q2_K_S": 21}


@pytest.mark.parametrize("name", WITH_IMATRIX)
def test_the_types_that_are_not_offered_need_an_importance_matrix(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidRequest, match="importance matrix"):
        quantize_type(name)
    with pytest.raises(StoreError, match="imatrix"):
        list(quantize(HALF, tmp_path / "out.gguf", WITH_IMATRIX[name]))


def test_names_of_types() -> None:
    assert quantize_type("q4_k") == quantize_type("Q4_K_M") == ("Q4_K_M", 15)
    with pytest.raises(StoreError, match="supported types are F32, F16, BF16, Q8_0"):
        quantize_type("COPY")


def test_sensitive_tensors_keep_more(tmp_path: Path) -> None:
    assert overrides("gemma3n", quantize_type("Q4_K_M")) == [("per_layer_token_embd", 1)]
    assert overrides("gemma3n", quantize_type("Q8_0")) == []
    target = tmp_path / "out.gguf"
    list(quantize(HALF, target, quantize_type("Q4_K_M").number, [("ffn_down", 8)]))
    kinds = {info.name: info.type for info in read_header(target).tensors}
    assert kinds["blk.0.ffn_down.weight"] == "Q8_0"
    assert kinds["blk.0.ffn_up.weight"] == "Q4_K"


def test_a_file_that_is_no_model(tmp_path: Path) -> None:
    source = tmp_path / "in.gguf"
    source.write_bytes(b"GGUF" + b"\xff" * 100)
    with pytest.raises(StoreError, match="the model cannot be quantized: "):
        list(quantize(source, tmp_path / "out.gguf", 2))


def test_a_result_that_does_not_fit_is_refused_first(tmp_path: Path) -> None:
    command = says({"size_bytes": 1 << 60}, then="[*sys.stdin]")
    with pytest.raises(DiskFull, match=f"needs {1 << 60} bytes"):
        list(quantize(HALF, tmp_path / "out", 2, command=command))


def test_a_process_that_dies_is_named_with_its_last_words(tmp_path: Path) -> None:
    command = says(
        {"size_bytes": 1}, then="os.write(2, b'GGML_ASSERT\\n'); os.kill(os.getpid(), signal.SIGABRT)"
    )
    with pytest.raises(StoreError, match="killed by SIGABRT") as caught:
        list(quantize(HALF, tmp_path / "out", 2, command=command))
    assert caught.value.hint == "Its last words: GGML_ASSERT"


def test_silence_is_reported_and_closing_ends_the_process(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    then = f"open({str(pid_file)!r}, 'w').write(str(os.getpid())); print('{{}}', flush=True); [*sys.stdin]"
    shares = quantize(HALF, tmp_path / "out", 2, command=says({"done": 1, "total": 4}, then=then))
    assert [next(shares) for _ in range(3)] == [0.0, 0.25, 0.25]
    process = psutil.Process(int(pid_file.read_text()))
    shares.close()
    assert not process.is_running()
