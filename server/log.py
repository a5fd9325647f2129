"""Logging: one ring of the last lines for the screen and the API, and a handler that feeds it.

Everything logs through the standard library's `logging` under the logger "olla"; where lines go besides the
ring (a file, stderr) is for the command that starts the server to say.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from typing import Literal

import msgspec

Level = Literal["debug", "info", "warning", "error"]

RING_LINES = 5000
LINE_CHARS = 2000
LIBRARIES = ("uvicorn.error", "asyncio")
"""Loggers of libraries that have something to say: Python writes warnings of loggers without handlers bare
to stderr, across whatever is on the screen."""


class Line(msgspec.Struct, frozen=True):
    """A kept line; `number` counts up without a gap, `time` is Unix time in seconds."""

    number: int
    time: float
    level: Level
    source: str
    text: str


class LogRing:
    """The last lines of the log. Safe to use from any thread; bounded in lines and in characters."""

    def __init__(self, max_lines: int = RING_LINES) -> None:
        self._lines: deque[Line] = deque(maxlen=max_lines)
        self._lock = threading.Lock()
        self._number = 0

    def add(self, level: Level, source: str, text: str, *, at: float | None = None) -> None:
        """Keep a line, cut to `LINE_CHARS`."""
        with self._lock:
            self._number += 1
            self._lines.append(
                Line(self._number, time.time() if at is None else at, level, source, text[:LINE_CHARS])
            )

    def after(self, number: int, limit: int) -> tuple[Line, ...]:
        """Lines with numbers above `number`, oldest first, at most the newest `limit`."""
        with self._lock:
            newer = [line for line in self._lines if line.number > number]
        return tuple(newer[-limit:] if limit > 0 else ())


class RingHandler(logging.Handler):
    """Feeds records into a ring. A record's `source` attribute names its origin, else it is "server"."""

    def __init__(self, ring: LogRing) -> None:
        super().__init__()
        self._ring = ring

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the record, an exception's traceback included, one ring line per line."""
        text = record.getMessage()
        if record.exc_info and record.exc_info[0] is not None:
            text += "\n" + logging.Formatter().formatException(record.exc_info)
        source = getattr(record, "source", "server")
        for line in text.splitlines() or [""]:
            self._ring.add(level_of(record.levelno), source, line, at=record.created)


class _Adopted(logging.Handler):
    """Passes records of another logger on to that of "olla"."""

    def emit(self, record: logging.LogRecord) -> None:
        logging.getLogger("olla").handle(record)


def level_of(number: int) -> Level:
    """The level's name for a number of the `logging` module."""
    if number >= logging.ERROR:
        return "error"
    if number >= logging.WARNING:
        return "warning"
    return "info" if number >= logging.INFO else "debug"


def logging_level(debug: int) -> int:
    """The `logging` level for Ollama's debug number: 0 informs, above debugs, below warns."""
    if debug > 0:
        return logging.DEBUG
    return logging.INFO if debug == 0 else logging.WARNING


def install(ring: LogRing, debug: int) -> logging.Logger:
    """Send the log of "olla", and warnings of `LIBRARIES`, into the ring; returns the logger of "olla".

    Its other handlers stay as they are.
    """
    logger = logging.getLogger("olla")
    logger.setLevel(logging_level(debug))
    for handler in [handler for handler in logger.handlers if isinstance(handler, RingHandler)]:
        logger.removeHandler(handler)
    logger.addHandler(RingHandler(ring))
    for name in LIBRARIES:
        library = logging.getLogger(name)
        library.setLevel(logging.WARNING)
        library.handlers = [_Adopted()]
        library.propagate = False
    return logger
