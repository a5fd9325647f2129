"""llama.cpp's log: warnings and errors go to stderr as "warn: ..." and "error: ..." lines, sizes are kept.

ggml calls the callback from any of its threads, so it only copies the text and returns.
"""

from __future__ import annotations

import ctypes
import os
import re
import time
from typing import Any, Final

from server.engine import native

# Levels of ggml_log_level.
_DEBUG: Final = 1
_INFO: Final = 2
_WARN: Final = 3
_ERROR: Final = 4
_CONTINUE: Final = 5

_LINES_PER_S: Final = 50
_LINE_BYTES: Final = 500
_N_KEPT_ERRORS: Final = 8

_LAYER: Final = re.compile(rb"layer\s+(\d+) assigned to device (\S+),")
_BUFFER_SIZE: Final = re.compile(r"(\S+)\s+(model|KV|RS|compute) buffer size\s*=\s*([0-9.]+) MiB")

_ABORTED: Final = re.compile(
    r"compute_async failed with error 1$|compute status: 1$|failed to decode, ret = 2$"
    r"|removing memory module entries"
)
"""What llama.cpp says of a step that is aborted for a request that is cancelled; GGML_STATUS_ABORTED is 1."""


class LogSink:
    """Receives llama.cpp's log.

    Attributes:
        errors: the last error lines, for the sentence of a failed load.
        callback: what is installed, for other libraries that log like llama.cpp.
        buffer_bytes: bytes of (buffer, use) as llama.cpp reported them; use: model, KV, RS or compute.
        layer_devices: device of each layer of the model that was loaded last.
    """

    def __init__(self, fd: int = 2) -> None:
        self._fd = fd
        self._line = b""
        self._level = 0
        self._second = 0
        self._n_in_second = 0
        self.callback: Any = None
        self.errors: list[str] = []
        self.buffer_bytes: dict[tuple[str, str], int] = {}
        self.layer_devices: dict[int, str] = {}

    def install(self) -> None:
        """Receive the log from now on. The sink must live as long as the process."""
        self.callback = native.LogCallback(self._receive)
        native.log_set(self.callback, ctypes.c_void_p(0))

    def write(self, level: str, text: str) -> None:
        """One line of the worker's own."""
        line = f"{level}: {text}".replace("\n", " ").encode("utf-8", "replace")[:_LINE_BYTES] + b"\n"
        now = int(time.monotonic())
        if now != self._second:
            self._second, self._n_in_second = now, 0
        self._n_in_second += 1
        if self._n_in_second == _LINES_PER_S:
            line = b"warn: more lines in this second are left out\n"
        if self._n_in_second <= _LINES_PER_S:
            try:
                os.write(self._fd, line)
            except OSError:
                self._fd = -1  # nobody reads any more; the end of stdin ends the worker

    def total_bytes(self, *uses: str) -> int:
        """Bytes of buffers for some uses."""
        return sum(n_bytes for (_, use), n_bytes in self.buffer_bytes.items() if use in uses)

    def forget_buffers(self, *uses: str) -> None:
        """Buffers for some uses were freed."""
        self.buffer_bytes = {key: size for key, size in self.buffer_bytes.items() if key[1] not in uses}

    def _receive(self, level: int, text: bytes, _user_data: object) -> None:
        if level != _CONTINUE:
            self._flush()
            self._level = level
        if level == _DEBUG and (match := _LAYER.search(text)):
            self.layer_devices[int(match[1])] = match[2].decode("utf-8", "replace")
        if self._level >= _INFO:
            self._line += text
            if self._line.endswith(b"\n"):
                self._flush()

    def _flush(self) -> None:
        line, self._line = self._line.strip(), b""
        if not line:
            return
        text = line.decode("utf-8", "replace")
        if self._level >= _WARN:
            if _ABORTED.search(text):
                return
            if self._level >= _ERROR:
                self.errors = [*self.errors[1 - _N_KEPT_ERRORS :], text]
            self.write("error" if self._level >= _ERROR else "warn", text)
        elif match := _BUFFER_SIZE.search(text):
            key = (match[1], match[2])
            self.buffer_bytes[key] = self.buffer_bytes.get(key, 0) + int(float(match[3]) * 1024 * 1024)
