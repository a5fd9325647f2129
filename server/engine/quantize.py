"""Quantising a file, in a process of its own: `python -P -m server.engine.quantize`.

Its job has `source` and `target` (paths), `type` (llama_ftype), `n_threads`, and `overrides` (pairs of a
pattern and a ggml type); see `server.backends.job` for how it is told.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import re
import signal
import sys
from typing import Any, Final

from server.engine import native
from server.ipc.jobs import Boss

# `native` has put a stub in the place of the package, so that this imports the C binding alone.
_c: Final[Any] = importlib.import_module("llama_cpp.llama_cpp")

BUFFER_BYTES: Final = 256 << 20
"""Rows held in memory at once; llama.cpp's own bound is 8 GiB."""

_NICE: Final = 5
_ERROR: Final = 4  # of ggml_log_level
_TENSOR: Final = re.compile(r"\[\s*(\d+)/\s*(\d+)\]")
_SIZE: Final = re.compile(r"quant size\s*=\s*([0-9.]+) MiB")
_FAILED: Final = "failed to quantize: "


class Reporter:
    """Turns llama.cpp's log into lines for the server."""

    def __init__(self, boss: Boss) -> None:
        self._boss = boss
        self.is_rehearsal = True
        self.size_bytes = 0
        self.errors: list[str] = []
        self._callback: Any = native.LogCallback(self._receive)

    def install(self) -> None:
        """Receive the log from now on."""
        native.log_set(self._callback, ctypes.c_void_p(0))

    def _receive(self, level: int, raw: bytes, _user_data: object) -> None:
        text = raw.decode("utf-8", "replace")
        if level == _ERROR:
            self.errors.append(text.strip())
        if (match := _SIZE.search(text)) is not None:
            self.size_bytes = int(float(match[1]) * (1 << 20))
        elif (match := _TENSOR.match(text)) is not None and not self.is_rehearsal:
            self._boss.tell(done=int(match[1]) - 1, total=int(match[2]))


def parameters(job: dict[str, Any], *, dry_run: bool) -> Any:
    """llama_model_quantize_params of a job; what they point to lives as long as they do."""
    params = _c.llama_model_quantize_default_params()
    params.nthread = job["n_threads"]
    params.ftype = job["type"]
    params.max_buf_size = BUFFER_BYTES
    params.dry_run = dry_run
    if job["overrides"]:
        pairs = [(pattern.encode(), kind) for pattern, kind in job["overrides"]]
        array = (_c.llama_model_tensor_override * (len(pairs) + 1))()
        for item, (pattern, kind) in zip(array, pairs, strict=False):
            item.pattern, item.type = pattern, kind
        params.tt_overrides = ctypes.cast(array, type(params.tt_overrides))
        params.held = (array, pairs)
    return params


def run(job: dict[str, Any], boss: Boss, reporter: Reporter) -> bool:
    """Rehearse, tell the size, do it. Whether it went well; if not, it has told why."""
    source, target = os.fsencode(job["source"]), os.fsencode(job["target"])
    for is_rehearsal in (True, False):
        reporter.is_rehearsal = is_rehearsal
        params = parameters(job, dry_run=is_rehearsal)
        if _c.llama_model_quantize(source, target, ctypes.byref(params)) != 0:
            failures = [text for text in reporter.errors if _FAILED in text]
            cause = (failures or reporter.errors or ["no reason given"])[-1]
            boss.tell(error=cause.rpartition(_FAILED)[2].strip())
            return False
        if is_rehearsal:
            boss.tell(size_bytes=reporter.size_bytes)
    boss.tell(ok=True)
    return True


def main() -> None:
    """Do one job."""
    output_fd = os.dup(1)
    os.dup2(2, 1)  # nothing that a C library prints may break a report
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole process group; the server decides
    boss = Boss(output_fd)
    job = boss.read_job()
    os.nice(_NICE)
    reporter = Reporter(boss)
    reporter.install()
    sys.exit(0 if run(job, boss, reporter) else 1)


if __name__ == "__main__":
    main()
