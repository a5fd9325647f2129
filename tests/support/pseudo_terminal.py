"""A program on a pseudo-terminal, seen from the terminal's side."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Self

WAIT_S = 30.0
ASKS_FOR_SYNC = b"\x1b[?2026$p"
HAS_NO_SYNC = b"\x1b[?2026;0$y"

_CONTROLLED = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Makes standard input the controlling terminal, so that closing it hangs up, and becomes the program."""


class PseudoTerminal:
    """Runs a program as the leader of a session on a terminal of its own.

    Attributes:
        output: all bytes that were read from the program.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        columns: int = 120,
        rows: int = 40,
        environment: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
    ) -> None:
        self.fd, inner = pty.openpty()
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
        terminal = {"TERM": "xterm-256color", "COLORTERM": "truecolor", "LANG": "C.UTF-8"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", _CONTROLLED, *command],
            stdin=inner,
            stdout=inner,
            stderr=inner,
            env={**kept, **terminal, **(environment or {})},
            pass_fds=pass_fds,
            start_new_session=True,
        )
        os.close(inner)
        self.output = bytearray()
        self._open = True

    def read(self, timeout_s: float = 0.0) -> bytes:
        """What the program writes within a time; b"" when it writes nothing or has closed the terminal."""
        if not self._open or not select.select([self.fd], [], [], timeout_s)[0]:
            return b""
        try:
            data = os.read(self.fd, 65536)
        except OSError:  # EIO: no program has the terminal open any more
            self._open = False
            return b""
        self.output += data
        if ASKS_FOR_SYNC in data:
            self.write(HAS_NO_SYNC)
        return data

    def wait_for(self, holds: Callable[[], object] | bytes, within_s: float = WAIT_S) -> None:
        """Read until something holds, or until a text was written. Raises: AssertionError."""
        deadline_s = time.monotonic() + within_s
        while not (holds in self.output if isinstance(holds, bytes) else holds()):
            assert time.monotonic() < deadline_s, f"not seen: {holds!r}; the end was {self.output[-2000:]!r}"
            assert self.read(0.1) or self.process.poll() is None or self._open, self.output[-2000:]

    def write(self, data: bytes) -> None:
        """Type."""
        os.write(self.fd, data)

    def hang_up(self) -> None:
        """What a dropped connection does: the terminal is gone."""
        if self._open:
            self._open = False
        os.close(self.fd)
        self.fd = -1

    def close(self) -> None:
        """End the program, in any case."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
            self._open = False
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
