"""The worker process: `python -P -m server.engine`.

Standard input and output carry frames (`server.ipc`). The first act is to move the output to a descriptor
of its own and point descriptor 1 at standard error, so that nothing a C library prints can corrupt a frame.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import Final

_PR_SET_PDEATHSIG: Final = 1


def _take_stdout() -> int:
    fd = os.dup(1)
    os.dup2(2, 1)
    return fd


def _die_with_parent() -> None:
    """Have the kernel end this process when the thread that started it ends (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def main() -> None:
    """Say hello, load one model, serve it."""
    output_fd = _take_stdout()
    _die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole process group; the server decides

    # The libraries load only now, after descriptor 1 is safe.
    from server.engine import worker

    worker.run(0, output_fd)


if __name__ == "__main__":
    main()
