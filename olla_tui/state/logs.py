"""The newest log lines, filtered by level and by words."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Literal

from server.types.status import LogLine

Level = Literal["debug", "info", "warning", "error"]
LEVELS: tuple[Level, ...] = ("debug", "info", "warning", "error")
MAX_LINES = 5000


class LogBook:
    """Log lines as they came, at most `MAX_LINES`; `version` counts the changes."""

    def __init__(self) -> None:
        self._lines: deque[LogLine] = deque(maxlen=MAX_LINES)
        self.version = 0

    @property
    def last_number(self) -> int:
        """Number of the newest line, 0 without any."""
        return self._lines[-1].number if self._lines else 0

    def extend(self, lines: Sequence[LogLine]) -> bool:
        """Add the lines that are new; False when none was. Numbers that start again mean a new server."""
        if lines and lines[-1].number < self.last_number:
            self._lines.clear()
        fresh = [line for line in lines if line.number > self.last_number]
        self._lines.extend(fresh)
        self.version += bool(fresh)
        return bool(fresh)

    def select(self, level: Level = "debug", text: str = "") -> list[LogLine]:
        """Lines of at least this level that hold all words of `text`, oldest first."""
        lowest = LEVELS.index(level)
        words = text.lower().split()
        return [
            line
            for line in self._lines
            if LEVELS.index(line.level) >= lowest
            and all(word in line.text.lower() or word in line.source.lower() for word in words)
        ]


def role_for(level: Level) -> str:
    """Role of a line of this level."""
    return {"debug": "muted", "info": "", "warning": "warn", "error": "bad"}[level]
