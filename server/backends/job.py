"""Work on a file in a process of its own, watched step by step.

Synchronous, for the threads in which a model is made. Whatever the file makes a library do, only that process
ends; and closing the generator, or the end of this process, ends it.

The process gets its job as one line of JSON on standard input, which then stays open: its end tells that
nobody wants the work any more. It tells one JSON object a line: `size_bytes` of the result before it writes
anything, `done` and `total` as it goes, and at the end `ok`, or `error` with a `hint` and, where the caller
is to blame, `is_request`. Its side is `server.ipc.jobs`.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import tempfile
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from server.backends.process import describe_exit, worker_variables
from server.errors import InvalidRequest, StoreError
from server.settings import child_environment
from server.storage.disk import require_room

TICK_S = 0.5
"""Longest time between two reports, so that one who leaves does not wait for a large tensor."""

_LOG_BYTES = 2000
_LINE_BYTES = 1 << 16


def run_job(
    command: Sequence[str], job: Mapping[str, Any], folder: Path, *, what: str
) -> Generator[float, None, None]:
    """Do it; yields the share that is done, 0 to 1, at least every `TICK_S`.

    Args:
        folder: on whose disk the result will be.
        what: for error texts, "the model cannot be converted".
    Raises: DiskFull before anything is written, when the result would not fit; InvalidRequest, StoreError.
    """
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=child_environment(worker_variables()),
            start_new_session=True,  # a Ctrl-C in our terminal is ours alone
        )
        try:
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(json.dumps(job).encode() + b"\n")
                process.stdin.flush()
            yield from _watch(process, folder, log, what)
        finally:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with contextlib.suppress(BrokenPipeError):
                        pipe.close()


def _watch(
    process: subprocess.Popen[bytes], folder: Path, log: IO[bytes], what: str
) -> Generator[float, None, None]:
    share = 0.0
    yield share
    for line in _lines(process):
        if line is None:
            yield share
            continue
        report = _report(line)
        if "error" in report:
            kind = InvalidRequest if report.get("is_request") else StoreError
            raise kind(f"{what}: {report['error']}", hint=str(report.get("hint", "")))
        if "size_bytes" in report:
            require_room(folder, int(report["size_bytes"]), "the result")
        if "total" in report:
            share = min(int(report["done"]) / max(int(report["total"]), 1), 1.0)
            yield share
        if report.get("ok"):
            yield 1.0
            return
    code = process.wait()
    raise StoreError(f"{what}: the process ended with {describe_exit(code)}", hint=_last_line(log))


def _lines(process: subprocess.Popen[bytes]) -> Generator[bytes | None, None, None]:
    """Lines of its output until that ends; None whenever none came for a while."""
    assert process.stdout is not None
    fd = process.stdout.fileno()
    output = select.poll()  # `select` takes no descriptor from 1024 on, of which a server may have many
    output.register(fd, select.POLLIN)
    waiting = b""
    while True:
        if not output.poll(1000 * TICK_S):
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
