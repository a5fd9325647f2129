"""llama.cpp's log on stderr: only what matters, in bounded lines; sizes are kept."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from server.engine.logs import LogSink

DEBUG, INFO, WARN, ERROR, CONTINUE = 1, 2, 3, 4, 5


@pytest.fixture
def pipe() -> Iterator[tuple[LogSink, int]]:
    read_fd, write_fd = os.pipe()
    os.set_blocking(read_fd, False)
    yield LogSink(write_fd), read_fd
    os.close(read_fd)
    os.close(write_fd)


def lines(read_fd: int) -> list[str]:
    try:
        return os.read(read_fd, 1 << 20).decode().splitlines()
    except BlockingIOError:
        return []


def test_warnings_and_errors_are_written_and_the_rest_is_not(pipe: tuple[LogSink, int]) -> None:
    sink, read_fd = pipe
    for level, text in ((DEBUG, b"a\n"), (INFO, b"b\n"), (WARN, b"c\n"), (ERROR, b"d\n")):
        sink._receive(level, text, None)
    assert lines(read_fd) == ["warn: c", "error: d"]
    assert sink.errors == ["d"]


def test_a_step_that_was_aborted_is_no_error(pipe: tuple[LogSink, int]) -> None:
    sink, read_fd = pipe
    for level, text in (
        (ERROR, b"graph_compute: ggml_backend_sched_graph_compute_async failed with error %d\n"),
        (ERROR, b"process_ubatch: failed to compute graph, compute status: %d\n"),
        (WARN, b"decode: removing memory module entries for seq_id = 0, pos = [%d, +inf)\n"),
    ):
        sink._receive(level, text % 1, None)
    sink._receive(ERROR, b"llama_decode: failed to decode, ret = 2\n", None)
    assert lines(read_fd) == [] and sink.errors == []
    sink._receive(ERROR, b"process_ubatch: failed to compute graph, compute status: -1\n", None)
    sink._receive(ERROR, b"llama_decode: failed to decode, ret = -3\n", None)
    assert len(lines(read_fd)) == len(sink.errors) == 2


def test_a_line_may_come_in_pieces(pipe: tuple[LogSink, int]) -> None:
    sink, read_fd = pipe
    sink._receive(ERROR, b"half ", None)
    sink._receive(CONTINUE, b"a line\n", None)
    sink._receive(DEBUG, b"hidden ", None)
    sink._receive(CONTINUE, b"too\n", None)
    assert lines(read_fd) == ["error: half a line"]


def test_lines_are_bounded_in_length_and_number(pipe: tuple[LogSink, int]) -> None:
    sink, read_fd = pipe
    for _ in range(5000):
        sink._receive(WARN, b"x" * 2000 + b"\n", None)
    written = lines(read_fd)
    assert max(map(len, written)) <= 500
    assert len(written) <= 150  # two seconds' worth at the most, and a note in each
    assert "warn: more lines in this second are left out" in written


def test_only_the_last_errors_are_kept(pipe: tuple[LogSink, int]) -> None:
    sink, _ = pipe
    for n in range(100):
        sink._receive(ERROR, f"{n}\n".encode(), None)
    assert sink.errors == [str(n) for n in range(92, 100)]


def test_sizes_of_buffers_add_up(pipe: tuple[LogSink, int]) -> None:
    sink, _ = pipe
    for text in (
        b"load_tensors:   CPU_Mapped model buffer size =     5.00 MiB\n",
        b"load_tensors:        CUDA0 model buffer size =     7.00 MiB\n",
        b"load_tensors:    CUDA_Host model buffer size =     2.00 MiB\n",
        b"llama_kv_cache:        CUDA0 KV buffer size =    12.00 MiB\n",
        b"sched_reserve:        CPU compute buffer size =     1.50 MiB\n",
    ):
        sink._receive(INFO, text, None)
    mib = 1024 * 1024
    assert sink.total_bytes("model") == 14 * mib
    assert sink.buffer_bytes["CUDA0", "KV"] == 12 * mib
    sink.forget_buffers("KV")
    assert sink.total_bytes("KV") == 0


def test_the_device_of_each_layer_is_known(pipe: tuple[LogSink, int]) -> None:
    sink, read_fd = pipe
    for layer, device in enumerate(("CPU", "CUDA0", "CUDA1")):
        line = f"load_tensors: layer {layer:3} assigned to device {device}, is_swa = 0\n"
        sink._receive(DEBUG, line.encode(), None)
    assert sink.layer_devices == {0: "CPU", 1: "CUDA0", 2: "CUDA1"}
    assert lines(read_fd) == []


def test_a_closed_stderr_is_no_fault() -> None:
    read_fd, write_fd = os.pipe()
    sink = LogSink(write_fd)
    os.close(read_fd)
    os.close(write_fd)
    sink.write("warn", "nobody reads")
    sink.write("warn", "nobody reads")
