"""Progress on stderr: a spinner or bar per step on a terminal, one line per step elsewhere."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Callable
from types import TracebackType
from typing import TextIO

from olla_tui.cli.human import human_bytes
from olla_tui.cli.tables import text_width
from server.types.durations import format_go_duration

FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
INTERVAL_S = 0.1

SYNC_BEGIN, SYNC_END = "\x1b[?2026h", "\x1b[?2026l"
HIDE_CURSOR, SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"
CLEAR_LINE, LINE_START, LINE_UP = "\x1b[2K", "\x1b[1G", "\x1b[A"


class Step:
    """One line: a status with a spinner, or with `total` a bar."""

    def __init__(self, text: str, total: int, now_s: float) -> None:
        self.text = text
        self.total = total
        self.completed = 0
        self.started_s = now_s
        self.is_done = False

    def line(self, now_s: float, width: int) -> str:
        """The line as it is shown on a terminal."""
        if self.total:
            return bar_line(self.text, self.completed, self.total, now_s - self.started_s, width)
        frame = "" if self.is_done else FRAMES[int((now_s - self.started_s) / INTERVAL_S) % len(FRAMES)] + " "
        return f"{self.text} {frame}" if self.text else frame


def bar_line(text: str, completed: int, total: int, elapsed_s: float, width: int) -> str:
    """A bar as wide as the terminal: text, percentage, bar, sizes, rate and the time that is left."""
    share = min(completed / total, 1.0)
    is_done = completed >= total
    rate = completed / elapsed_s if elapsed_s >= 1 else 0.0
    head = f"{text} {share * 100:3.0f}%"
    if is_done:
        tail = f"{human_bytes(total):>6}{'':25}"
    else:
        tail = f"{human_bytes(completed):>6}/{human_bytes(total):>6}"
        left = format_go_duration(round((total - completed) / rate)) if rate else ""
        tail += f"  {human_bytes(int(rate)):>6}/s  {left:>6}" if rate else " " * 18
    n_cells = max(width - text_width(head) - text_width(tail) - 5, 0)
    n_full = int(n_cells * share)
    return f"{head} ▕{'█' * n_full}{' ' * (n_cells - n_full)}▏ {tail}"


class Progress:
    """Shows steps while its `async with` block runs.

    Steps that are told to a file or pipe are plain lines without escape sequences, each once.
    """

    def __init__(self, out: TextIO, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._out = out
        self._clock = clock
        self._is_terminal = out.isatty()
        self._steps: dict[str, Step] = {}
        self._n_shown = 0
        self._ticker: asyncio.Task[None] | None = None
        self._is_over = False

    async def __aenter__(self) -> Progress:
        if self._is_terminal:
            self._ticker = asyncio.create_task(self._tick())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def step(self, text: str) -> None:
        """Begin a step; the one before it is done."""
        if text in self._steps:
            return
        self._finish_last()
        self._add(text, text, 0)

    def item(self, key: str, text: str, completed: int, total: int) -> None:
        """Tell how far a step with a measure is."""
        step = self._steps.get(key)
        if step is None:
            self._finish_last()
            step = self._add(key, text, total)
        step.text, step.completed = text, completed

    def note(self, key: str, text: str, *, completed: int = 0, total: int = 0, is_done: bool = False) -> None:
        """Change a step, or begin one, with a bar while it has a total; on a file it is written when done."""
        step = self._steps.get(key)
        if step is None:
            step = self._steps[key] = Step(text, total, self._clock())
        if text != step.text:
            step.started_s = self._clock()
        step.text, step.completed, step.total, step.is_done = text, completed, total, is_done
        if is_done and not self._is_terminal:
            self._out.write(f"{text}\n")

    def stop(self) -> None:
        """Show the steps as they stand and leave them."""
        if self._end() and self._steps:
            self._finish_last()
            self._render()
            self._out.write("\n")
            self._out.flush()

    def clear(self) -> None:
        """Erase the steps."""
        if self._end() and self._n_shown:
            erased = (LINE_UP + CLEAR_LINE) * (self._n_shown - 1)
            self._out.write(CLEAR_LINE + erased + LINE_START + SHOW_CURSOR)
            self._out.flush()

    def _end(self) -> bool:
        """Stop drawing; whether there was a terminal to draw on and this is the first call."""
        if self._ticker is None or self._is_over:
            return False
        self._is_over = True
        self._ticker.cancel()
        return True

    def _add(self, key: str, text: str, total: int) -> Step:
        step = self._steps[key] = Step(text, total, self._clock())
        if text and not self._is_terminal:
            self._out.write(f"{text}\n")
        return step

    def _finish_last(self) -> None:
        for step in self._steps.values():
            step.is_done = True

    async def _tick(self) -> None:
        while True:
            self._render()
            await asyncio.sleep(INTERVAL_S)

    def _render(self) -> None:
        width, height = shutil.get_terminal_size()
        steps = list(self._steps.values())[-height:]
        now_s = self._clock()
        lines = [f"{step.line(now_s, width)}\x1b[K" for step in steps]
        up = LINE_UP * (self._n_shown - 1)
        self._out.write(
            SYNC_BEGIN + HIDE_CURSOR + up + LINE_START + "\n".join(lines) + SHOW_CURSOR + SYNC_END
        )
        self._out.flush()
        self._n_shown = len(lines)
