"""Lines that are shown again and again: on a terminal only those that changed are sent."""

from __future__ import annotations

import contextlib
import math
import os
import select
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator, Sequence
from typing import TextIO

from olla_tui.state.rows import fit
from server.errors import InvalidRequest

DEFAULT_SIZE = (80, 24)
MIN_INTERVAL_S = 0.2

Draw = Callable[[int, int], Sequence[str]]
"""Gives the lines for so many columns and rows. Raises: OllaError."""


class Repaint:
    """Says what must be sent to a terminal so that it shows other lines than before."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._size = (0, 0)

    def change(self, lines: Sequence[str], columns: int, rows: int) -> str:
        """The sequences that bring the terminal from the lines before to these, "" when they are the same."""
        shown = [fit(line, columns).rstrip() for line in lines[:rows]]
        out = []
        if (columns, rows) != self._size:
            out.append("\x1b[2J")
            self._lines, self._size = [], (columns, rows)
        before = self._lines
        for number in range(max(len(before), len(shown))):
            line = shown[number] if number < len(shown) else ""
            if line != (before[number] if number < len(before) else ""):
                out.append(f"\x1b[{number + 1};1H{line}\x1b[K")
        self._lines = shown
        return "".join(out)


def watch(draw: Draw, interval_s: float, *, screen: bool) -> None:
    """Show lines every so many seconds until q or ctrl+c, or until nobody reads.

    Args:
        screen: on the terminal's second screen, in place; otherwise one block after the other.
    """
    if not screen:
        while True:
            sys.stdout.write("\n".join(draw(*DEFAULT_SIZE)) + "\n\n")
            sys.stdout.flush()
            time.sleep(interval_s)
    repaint = Repaint()
    with _second_screen(sys.stdout), _keys_at_once():
        while True:
            columns, rows = os.get_terminal_size(sys.stdout.fileno())
            changes = repaint.change(draw(columns, rows), columns, rows)
            if changes:
                sys.stdout.write(changes)
                sys.stdout.flush()
            if _quits_within(interval_s):
                return


def read_interval(text: str) -> float:
    """Seconds between two looks. Raises: InvalidRequest."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not MIN_INTERVAL_S <= seconds <= 86_400:
        raise InvalidRequest(f"{text!r} is no interval; give seconds from {MIN_INTERVAL_S} on")
    return seconds


def can_place_cursor(term: str) -> bool:
    """Whether standard output and input are a terminal that can be painted in place."""
    return sys.stdout.isatty() and sys.stdin.isatty() and term not in ("", "dumb")


@contextlib.contextmanager
def _second_screen(out: TextIO) -> Iterator[None]:
    out.write("\x1b[?1049h\x1b[?25l")
    try:
        yield
    finally:
        out.write("\x1b[?25h\x1b[?1049l")
        out.flush()


@contextlib.contextmanager
def _keys_at_once() -> Iterator[None]:
    """Keys come without Enter and are not shown."""
    before = termios.tcgetattr(0)
    tty.setcbreak(0)
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)


def _quits_within(seconds: float) -> bool:
    """Wait, and say whether q was pressed or the keyboard has gone meanwhile."""
    deadline_s = time.monotonic() + seconds
    while (left_s := deadline_s - time.monotonic()) > 0:
        if select.select([0], [], [], left_s)[0]:
            pressed = os.read(0, 64)
            if not pressed or pressed[:1] in (b"q", b"Q"):
                return True
    return False
