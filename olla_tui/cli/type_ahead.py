"""Keys typed while a conversation is busy wait for the next prompt, as they were typed."""

from __future__ import annotations

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
    termios.tcsetattr(handle, termios.TCSADRAIN, changed)
    try:
        yield
    finally:
        termios.tcsetattr(handle, termios.TCSADRAIN, before)
