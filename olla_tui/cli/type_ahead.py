"""Keys typed while a program is busy wait until it reads them, as they were typed."""

from __future__ import annotations

import contextlib
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager

_INPUT, _LOCAL = 0, 3
"""Places of the input and local modes in what tcgetattr gives."""


@contextmanager
def type_ahead() -> Iterator[None]:
    """While the block runs, the terminal hands on keys as they are and echoes none. Ctrl-C stays a signal.

    Otherwise Enter would become a line feed, which is Ctrl-J and breaks a line instead of sending it, Ctrl-D
    would be lost, and an echo would land in the answer.
    """
    with _modes(without_input=termios.ICRNL, without_local=termios.ECHO | termios.ICANON):
        yield


@contextmanager
def kept_for_the_screen() -> Iterator[None]:
    """`type_ahead` for a program that reads every key but Ctrl-C itself: Ctrl-S and Ctrl-Q are keys too.

    Textual does the same, but only after its first bytes have shown the user something to type to.
    """
    with _modes(without_input=termios.ICRNL | termios.IXON, without_local=termios.ECHO | termios.ICANON):
        yield


@contextmanager
def as_others_expect() -> Iterator[None]:
    """Undo `type_ahead` while the block runs, for a program that gets the terminal."""
    with _modes(with_input=termios.ICRNL, with_local=termios.ECHO | termios.ICANON):
        yield


@contextmanager
def _modes(
    *, without_input: int = 0, without_local: int = 0, with_input: int = 0, with_local: int = 0
) -> Iterator[None]:
    handle = sys.stdin.fileno()
    before = termios.tcgetattr(handle)
    changed = list(before)
    changed[_INPUT] = (changed[_INPUT] & ~without_input) | with_input
    changed[_LOCAL] = (changed[_LOCAL] & ~without_local) | with_local
    termios.tcsetattr(handle, termios.TCSANOW, changed)
    try:
        yield
    finally:
        with contextlib.suppress(termios.error):  # a terminal that has hung up has no modes any more
            termios.tcsetattr(handle, termios.TCSANOW, before)
