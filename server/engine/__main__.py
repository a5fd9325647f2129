"""The worker process: `python -P -m server.engine`.

Standard input and output carry frames (`server.ipc`). The first act is to move the output to a descriptor
of its own and point descriptor 1 at standard error, so that nothing a C library prints can corrupt a frame.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_PROGRESS_INTERVAL_S: Final = 0.05


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
    from server.engine import native
    from server.engine.devices import list_devices
    from server.engine.failures import EngineFailure
    from server.engine.inbox import Inbox
    from server.engine.loading import open_engine
    from server.engine.logs import LogSink
    from server.engine.loop import Loop, Outbox
    from server.engine.model import load_model
    from server.ipc.messages import VERSION, Bye, Hello, Load, LoadFailed, LoadProgress

    inbox = Inbox(0)
    outbox = Outbox(output_fd)
    log = LogSink()
    log.install()
    native.backend_init()
    build = native.version().decode("utf-8", "replace")
    outbox.send(Hello(version=VERSION, pid=os.getpid(), llama_build=build, devices=list_devices()))
    inbox.start()

    last_progress = 0.0

    def on_progress(fraction: float) -> bool:
        nonlocal last_progress
        now = time.monotonic()
        if fraction >= 1.0 or now - last_progress >= _PROGRESS_INTERVAL_S:
            last_progress = now
            outbox.send(LoadProgress(fraction))
        return not inbox.is_closing

    while not isinstance(message := inbox.take(None), Load):
        if inbox.is_closing:
            os._exit(0)
    try:
        model = load_model(message.paths, message.params, log, on_progress)
        engine = open_engine(model, message.params, inbox, log)
    except (EngineFailure, MemoryError) as error:
        if inbox.is_closing:
            outbox.send(Bye())
            os._exit(0)
        kind = error.kind if isinstance(error, EngineFailure) else "out_of_memory"
        outbox.send(LoadFailed(kind, str(error) or "there is not enough memory for the model"))
        os._exit(1)
    outbox.send(engine.loaded)
    Loop(engine, inbox, outbox).run()
    # Leaving without the interpreter's shutdown: llama.cpp's threads may still log through Python.
    engine.close()
    os._exit(0)


if __name__ == "__main__":
    main()
