"""The life of a worker: hello, one load, requests, bye."""

from __future__ import annotations

import gc
import os
import time
from typing import Final, NoReturn

from server.engine import huge_pages, native
from server.engine.devices import list_devices
from server.engine.failures import EngineFailure
from server.engine.inbox import Inbox
from server.engine.loading import Engine, open_engine
from server.engine.logs import LogSink
from server.engine.loop import Loop
from server.engine.model import load_model
from server.engine.outbox import Outbox
from server.engine.untouched_memory import UntouchedMemory, added, own_mappings
from server.ipc.messages import VERSION, Bye, Hello, Load, LoadFailed, LoadProgress

_PROGRESS_INTERVAL_S: Final = 0.05


def run(input_fd: int, output_fd: int) -> NoReturn:
    """Serve one model between two descriptors. Everything slow to import is imported before `Hello`.

    It leaves without the interpreter's shutdown, because llama.cpp's threads may still log through Python.
    """
    inbox = Inbox(input_fd)
    outbox = Outbox(output_fd)
    log = LogSink()
    log.install()
    native.backend_init()
    build = native.version().decode("utf-8", "replace")
    huge_pages.are_used()
    gc.collect()  # what was imported stays; a load need not look through it
    gc.freeze()
    outbox.send(Hello(version=VERSION, pid=os.getpid(), llama_build=build, devices=list_devices()))
    inbox.start()
    engine, untouched = _load(inbox, outbox, log)
    outbox.send(engine.loaded)
    Loop(engine, inbox, outbox, untouched).run()
    engine.close()
    os._exit(0)


def _load(inbox: Inbox, outbox: Outbox, log: LogSink) -> tuple[Engine, UntouchedMemory | None]:
    """Wait for `Load` and carry it out; leaves when that fails or the server wants no model any more."""
    while not isinstance(message := inbox.take(None), Load):
        if inbox.is_closing:
            _leave(outbox)
    last_progress = 0.0

    def on_progress(fraction: float) -> bool:
        nonlocal last_progress
        now = time.monotonic()
        if fraction >= 1.0 or now - last_progress >= _PROGRESS_INTERVAL_S:
            last_progress = now
            outbox.send(LoadProgress(fraction))
        return not inbox.is_closing

    try:
        model = load_model(message.paths, message.params, log, on_progress)
        paths = message.paths
        before = own_mappings()
        engine = open_engine(model, message.params, inbox, log, projector=paths.projector, draft=paths.draft)
        # A projector encodes in a thread of its own, which writes while nothing is decoded.
        if engine.loaded.vram_bytes or paths.projector:
            return engine, None
        return engine, UntouchedMemory(added(before, own_mappings()))
    except (EngineFailure, MemoryError) as error:
        if inbox.is_closing:
            _leave(outbox)
        kind = error.kind if isinstance(error, EngineFailure) else "out_of_memory"
        outbox.send(LoadFailed(kind, str(error) or "there is not enough memory for the model"))
        os._exit(1)


def _leave(outbox: Outbox) -> NoReturn:
    outbox.send(Bye())
    os._exit(0)
