"""Quantising a file in a process of its own, watched step by step.

Synchronous, for the threads in which a model is made. Whatever the file makes llama.cpp do, only that process
ends; and closing the generator, or the end of this process, ends it.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import IO, Any

from server.backends.process import describe_exit, worker_variables
from server.errors import StoreError
from server.settings import child_environment
from server.storage.disk import require_room

COMMAND: tuple[str, ...] = (sys.executable, "-P", "-m", "server.engine.quantize")

TICK_S = 0.5
"""Longest time between two reports, so that one who leaves does not wait for a large tensor."""

_LOG_BYTES = 2000
_LINE_BYTES = 1 << 16


def quantize(
    source: Path,
    target: Path,
    type_number: int,
    overrides: Sequence[tuple[str, int]] = (),
    *,
    n_threads: int = 0,
    command: Sequence[str] = COMMAND,
) -> Generator[float, None, None]:
    """Quantise a GGUF file; yields the share that is done, 0 to 1, at least every `TICK_S`.

    Args:
        type_number: llama_ftype.
        overrides: patterns of tensor names, and the ggml type of those tensors.
        n_threads: 0 for one on each processor that we may use.
    Raises: DiskFull before anything is written, when the result would not fit; StoreError.
    """
    job = {
        "source": str(source),
        "target": str(target),
        "type": type_number,
        "overrides": list(overrides),
        "n_threads": n_threads or os.cpu_count() or 1,
    }
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [*command, json.dumps(job)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=child_environment(worker_variables()),
            start_new_session=True,  # a Ctrl-C in our terminal is ours alone
        )
        try:
            yield from _watch(process, target.parent, log)
        finally:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with contextlib.suppress(BrokenPipeError):
                        pipe.close()


def _watch(process: subprocess.Popen[bytes], folder: Path, log: IO[bytes]) -> Generator[float, None, None]:
    share = 0.0
    yield share
    for line in _lines(process):
        if line is None:
            yield share
            continue
        report = _report(line)
        if "error" in report:
            raise StoreError(f"the model cannot be quantized: {report['error']}")
        if "size_bytes" in report:
            require_room(folder, int(report["size_bytes"]), "the quantized model")
        if "total" in report:
            share = int(report["done"]) / max(int(report["total"]), 1)
            yield share
        if report.get("ok"):
            yield 1.0
            return
    code = process.wait()
    raise StoreError(
        f"the model cannot be quantized: llama.cpp ended with {describe_exit(code)}", hint=_last_line(log)
    )


def _lines(process: subprocess.Popen[bytes]) -> Generator[bytes | None, None, None]:
    """Lines of its output until that ends; None whenever none came for a while."""
    assert process.stdout is not None
    fd = process.stdout.fileno()
    waiting = b""
    while True:
        if not select.select([fd], [], [], TICK_S)[0]:
            yield None
            continue
        data = os.read(fd, _LINE_BYTES)
        if not data:
            return
        *lines, waiting = (waiting + data)[-_LINE_BYTES:].split(b"\n")
        yield from lines


def _report(line: bytes) -> dict[str, Any]:
    try:
        report = json.loads(line)
    except ValueError:
        return {}
    return report if isinstance(report, dict) else {}


def _last_line(log: IO[bytes]) -> str:
    log.seek(0, os.SEEK_END)
    log.seek(max(0, log.tell() - _LOG_BYTES))
    lines = log.read().decode("utf-8", "replace").strip().splitlines()
    return f"Its last words: {lines[-1]}" if lines else ""
