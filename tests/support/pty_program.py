"""A program on a pseudo-terminal, and what that terminal shows."""

from __future__ import annotations

import fcntl
import re
import struct
import termios
import time
from collections.abc import Callable, Mapping, Sequence

import pyte

from tests.support.pseudo_terminal import WAIT_S, PseudoTerminal

UNKNOWN_TO_PYTE = re.compile(rb"\x1b\[[<>=][0-9;]*[a-zA-Z]|\x1b\[\?[0-9;]+\$p|\x1bP[^\x1b]*\x1b\\")
"""Private modes with < = >, questions about modes, and device control: pyte would print their letters."""

WHOLE_SEQUENCE = re.compile(
    rb"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*\x07|[()#%][ -~]|[^\[\]P()#%])", re.DOTALL
)


class PtyProgram(PseudoTerminal):
    """A program whose terminal is drawn: tests wait for what a user would see.

    Every wait reads until the screen holds what is waited for, so nothing sleeps. Between waits nobody
    reads, as on a link that stands still; `finish` reads to the end.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        columns: int = 120,
        rows: int = 40,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self._screen)
        self._undrawn = b""
        super().__init__(command, columns=columns, rows=rows, environment=environment)

    def read(self, timeout_s: float = 0.0) -> bytes:
        """What the program writes within a time; it is drawn, too."""
        data = super().read(timeout_s)
        pending = self._undrawn + data
        last = pending.rfind(b"\x1b")
        # A sequence that is cut in two would be taken for text.
        is_whole = last < 0 or WHOLE_SEQUENCE.match(pending, last)
        border = len(pending) if is_whole else last
        self._stream.feed(UNKNOWN_TO_PYTE.sub(b"", pending[:border]))
        self._undrawn = pending[border:]
        return data

    @property
    def text(self) -> str:
        """The screen, its lines without the blanks at their ends."""
        return "\n".join(line.rstrip() for line in self._screen.display)

    def shows(self, wanted: str | Callable[[str], object], within_s: float = WAIT_S) -> str:
        """Read until the screen holds a text, or something holds of it; returns the screen.

        Raises: AssertionError, with the screen, when the time or the program comes to its end before.
        """
        deadline_s = time.monotonic() + within_s
        while not (wanted in self.text if isinstance(wanted, str) else wanted(self.text)):
            assert time.monotonic() < deadline_s, f"{wanted!r} did not appear:\n{self.text}"
            has_more = self.read(0.1) or self._open
            assert has_more, f"the program ended before {wanted!r} appeared:\n{self.text}"
        return self.text

    def type(self, keys: str) -> None:
        """Press keys."""
        self.write(keys.encode())

    def write_over(self, text: str) -> None:
        """What happens when another program writes to the same terminal."""
        self._stream.feed(text.encode())

    def resize(self, columns: int, rows: int) -> None:
        """Make the terminal another size; the kernel tells the program."""
        self._screen.resize(rows, columns)
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def finish(self, within_s: float = WAIT_S) -> int:
        """Read to the program's end; returns its exit code. Raises: AssertionError when it goes on."""
        deadline_s = time.monotonic() + within_s
        while self.process.poll() is None or self._open:
            assert time.monotonic() < deadline_s, f"the program did not end:\n{self.text}"
            self.read(0.05)
            if not self._open:
                self.process.wait(within_s)
        return int(self.process.returncode)
