"""What a worker writes to its standard error: kept, passed on, and cut down to what tells something."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Final

from server.log import Level

LOG_TAIL_LINES: Final = 200
LOG_LINE_CHARS: Final = 2000

HINT_LINES: Final = 3
HINT_LINE_CHARS: Final = 200

_LEVELS: Mapping[str, Level] = {"error": "error", "warn": "warning", "info": "info", "debug": "debug"}
_TRACEBACK: Final = "Traceback (most recent call last):"


def leveled(line: str) -> tuple[Level, str]:
    """A worker's line as level and text; it starts with "error: ", "warn: " or "debug: ", else it informs."""
    prefix, colon, text = line.partition(": ")
    level = _LEVELS.get(prefix) if colon else None
    return (level, text) if level is not None else ("info", line)


class LogTail:
    """Cuts a byte stream into lines, keeps the last `LOG_TAIL_LINES` and passes each on."""

    def __init__(self, on_line: Callable[[str], None] | None) -> None:
        self._on_line = on_line
        self._lines: deque[str] = deque(maxlen=LOG_TAIL_LINES)
        self._partial = b""

    def feed(self, data: bytes) -> None:
        """Take bytes as they come. A line without an end is cut at `LOG_LINE_CHARS` bytes."""
        *lines, self._partial = (self._partial + data).split(b"\n")
        for line in lines:
            self._add(line)
        while len(self._partial) > LOG_LINE_CHARS:
            self._add(self._partial[:LOG_LINE_CHARS])
            self._partial = self._partial[LOG_LINE_CHARS:]

    def finish(self) -> None:
        """The stream has ended; what is left of it is a line."""
        if self._partial:
            self._add(self._partial)
            self._partial = b""

    def forward_to(self, on_line: Callable[[str], None]) -> None:
        """From now on lines go to `on_line`, and so do those kept until now."""
        for line in self._lines:
            on_line(line)
        self._on_line = on_line

    @property
    def text(self) -> str:
        """The kept lines, oldest first."""
        return "\n".join(self._lines)

    def _add(self, raw: bytes) -> None:
        line = raw.decode("utf-8", "replace").rstrip("\r")[:LOG_LINE_CHARS]
        if not line:
            return
        self._lines.append(line)
        if self._on_line is not None:
            self._on_line(line)


def hint_of(log: str) -> str:
    """The last lines of a worker's log that may tell why it ended, as the hint of an error; "" for no lines.

    Warnings are left out beside them, and so are the frames of a traceback, whose last line says what was
    raised.
    """
    lines = [line for line in log.splitlines() if line.strip()]
    telling = [line for line in lines if _tells(line)] or lines
    last = [line[:HINT_LINE_CHARS] for line in telling[-HINT_LINES:]]
    return "the engine's last lines: " + " | ".join(last) if last else ""


def _tells(line: str) -> bool:
    prefix = line.partition(": ")[0]
    is_frame = line.startswith("  ") or line == _TRACEBACK
    return not is_frame and _LEVELS.get(prefix, "error") == "error"
