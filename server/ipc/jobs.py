"""The child's side of a job (`server.backends.job`): what to do comes on standard input, reports go out."""

from __future__ import annotations

import json
import os
import threading
from typing import Any

_READ_BYTES = 1 << 16


class Boss:
    """Whoever wants the work: the process that started this one.

    `fd`: where reports go; standard output itself must not be written by anything else.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def read_job(self) -> dict[str, Any]:
        """The job. From then on the end of standard input ends this process, whatever it is doing."""
        raw = b""
        while not raw.endswith(b"\n"):
            piece = os.read(0, _READ_BYTES)
            if not piece:
                os._exit(1)
            raw += piece
        threading.Thread(target=_leave_when_alone, daemon=True).start()
        job: dict[str, Any] = json.loads(raw)
        return job

    def tell(self, **fields: Any) -> None:
        """Send one report."""
        os.write(self._fd, json.dumps(fields).encode() + b"\n")


def _leave_when_alone() -> None:
    while os.read(0, _READ_BYTES):
        pass
    os._exit(1)
