"""The terminal that the screen draws on: kept clean, measured, and let go of when it hangs up.

Native code writes to file descriptors 1 and 2 when it likes, and Textual draws on `sys.__stderr__`. The guard
gives the screen a descriptor of its own for the terminal and points 1 and 2 at a log file, so that nothing
else can reach the screen. It must be entered before anything native is imported.
"""

from __future__ import annotations

import io
import os
import select
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import FrameType, TracebackType

from olla_tui.cell_diff import CellDiff
from olla_tui.link import LinkWatch

RATE_WINDOW_S = 2.0
READY_S = 1.0
"""Longest sleep before a terminal that took no more is tried again."""
MAX_LOG_BYTES = 4 * 1024 * 1024


class TerminalOutput(io.TextIOBase):
    """Writes text to the terminal and counts it.

    Once the terminal is gone, what is written disappears instead of raising: the screen ends in order.
    """

    encoding = "utf-8"
    errors = "replace"

    def __init__(
        self, fd: int, clock: Callable[[], float] = time.monotonic, *, is_screen: bool = True
    ) -> None:
        """Write to a descriptor.

        Args:
            is_screen: it shows cells, and is no pipe to another program.
        """
        super().__init__()
        self._fd = fd
        self._is_screen = is_screen
        self._diff: CellDiff | None = None
        self._size = (0, 0)
        self._clock = clock
        self._written: deque[tuple[float, int]] = deque()
        self._gone = False
        self._blocked_since: float | None = None
        self._watch = LinkWatch()
        self.n_bytes = 0

    def write(self, text: str) -> int:
        """Write all of the text; blocks while the terminal takes no more."""
        data = memoryview(self._spared(text).encode("utf-8", "replace"))
        self._count(len(data))
        self._blocked_since = begun_s = self._clock()
        try:
            while data and not self._gone:
                try:
                    data = data[os.write(self._fd, data) :]
                except BlockingIOError:  # another program on the terminal made it non-blocking
                    select.select([], [self._fd], [], READY_S)
        except OSError:
            self._gone = True
        self._blocked_since = None
        ended_s = self._clock()
        self._watch.waited(ended_s - begun_s, ended_s)
        return len(text)

    def spare(self, on: bool) -> None:
        """Send only the cells that change from now on, or all that is drawn."""
        if on != (self._diff is not None):
            self._diff = CellDiff() if on and self._is_screen else None

    def forget(self) -> None:
        """The terminal may show anything: its size has changed, or something else was written to it."""
        if self._diff is not None:
            self._diff = CellDiff()

    def _spared(self, text: str) -> str:
        diff = self._diff
        if diff is None:
            return text
        try:
            size = os.get_terminal_size(self._fd)
        except OSError:  # it is gone, or no terminal
            return text
        if size != self._size:
            self._size = size
            self.forget()
            diff = self._diff or diff
        return diff.feed(text, *size)

    def flush(self) -> None:
        """Nothing is held back."""

    def isatty(self) -> bool:
        """Whether the descriptor is a terminal."""
        return os.isatty(self._fd)

    def fileno(self) -> int:
        """The terminal's own descriptor."""
        return self._fd

    def writable(self) -> bool:
        """Always."""
        return True

    def bytes_per_s(self) -> float:
        """Bytes a second over the last `RATE_WINDOW_S` seconds."""
        self._forget(self._clock())
        return sum(size for _, size in self._written) / RATE_WINDOW_S

    def is_slow(self) -> bool:
        """Whether writes wait for the terminal, by `LinkWatch`."""
        now_s, since_s = self._clock(), self._blocked_since
        return self._watch.is_slow(now_s, 0.0 if since_s is None else now_s - since_s)

    def hang_up(self) -> None:
        """Point the descriptor at nothing: what is written from now on disappears."""
        self._gone = True
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self._fd)
        os.close(null)

    def _count(self, size: int) -> None:
        now_s = self._clock()
        self._forget(now_s)
        self._written.append((now_s, size))
        self.n_bytes += size

    def _forget(self, now_s: float) -> None:
        while self._written and self._written[0][0] < now_s - RATE_WINDOW_S:
            self._written.popleft()


class TerminalGuard:
    """Keeps descriptors 1 and 2 away from the terminal while the screen is up.

    Attributes:
        output: what the screen draws on, for the time of the block.
    """

    def __init__(self, log_path: Path, *, web: bool = False) -> None:
        """Guard the terminal.

        Args:
            web: standard output is a pipe to a browser and is guarded in the terminal's place.
        """
        self._log_path = log_path
        self.web = web
        self._saved: tuple[int, int] | None = None
        self._streams = (sys.__stdout__, sys.__stderr__)
        self._hung_up = False
        self._silence = -1  # write end of the pipe that standard input becomes after a hang-up
        self._wake = -1  # closing it ends the watch
        self._watching: threading.Thread | None = None
        self.output: TerminalOutput | None = None

    def __enter__(self) -> TerminalGuard:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        log_fd = open_log(self._log_path)
        self._saved = (os.dup(1), os.dup(2))
        self.output = TerminalOutput(os.dup(1 if self.web or os.isatty(1) else 2), is_screen=not self.web)
        os.dup2(log_fd, 1)
        os.dup2(log_fd, 2)
        os.close(log_fd)
        self._streams = (sys.__stdout__, sys.__stderr__)
        _set_terminal_streams(self.output, self.output)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._saved is not None and self.output is not None
        self._stop_watching()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        _set_terminal_streams(*self._streams)
        for fd, saved in zip((1, 2), self._saved, strict=True):
            os.dup2(saved, fd)
            os.close(saved)
        self._saved = None

    def hang_up(self) -> None:
        """The terminal is gone: the screen draws on nothing, and standard input gives nothing more."""
        if self._hung_up:
            return
        self._hung_up = True
        if self.output is not None:
            self.output.hang_up()
        if self._saved is not None:
            null = os.open(os.devnull, os.O_RDWR)
            for fd in self._saved:
                os.dup2(null, fd)
            os.close(null)
            # At the end of a file a reader that polls spins; a pipe in which nothing comes lets it sleep. One
            # byte is in it for the reader that was told of the end just now and reads without asking again;
            # `resume_only_when_suspended` sees to it that there is only one.
            reading, self._silence = os.pipe()
            os.write(self._silence, b"\0")
            os.dup2(reading, 0)
            os.close(reading)

    def watch(self, gone: Callable[[], object]) -> None:
        """Call `gone`, once and from another thread, when the terminal hangs up.

        The kernel tells it also where no SIGHUP comes: in the background, or when tmux was killed. It costs
        nothing until then. A terminal that is no longer guarded is no longer watched.
        """
        assert self.output is not None
        self._stop_watching()
        fd = self.output.fileno()
        self._wake, wake = os.pipe()
        thread = threading.Thread(
            target=_wait_for_hang_up, args=(fd, wake, gone), name="olla-hang-up", daemon=True
        )
        thread.start()
        self._watching = thread

    def _stop_watching(self) -> None:
        if self._watching is not None:
            os.close(self._wake)
            if self._watching is not threading.current_thread():
                self._watching.join()
            self._watching = None


def _wait_for_hang_up(fd: int, wake: int, gone: Callable[[], object]) -> None:
    """Sleep until the terminal hangs up or the other end of `wake` is closed."""
    poll = select.poll()
    poll.register(fd, 0)  # hang-up and error are always told
    poll.register(wake, 0)
    try:
        events = dict(poll.poll())
    finally:
        os.close(wake)
    if fd in events:
        gone()


def resume_only_when_suspended(is_suspended: Callable[[], bool]) -> None:
    """Keep SIGCONT from starting the screen's input a second time.

    A terminal that hangs up sends SIGCONT after SIGHUP. Textual's handler takes that for the end of a
    suspension and starts another reader of standard input, beside the one that it has: of what
    `TerminalGuard.hang_up` leaves there one of them gets the byte, and the other would wait for ever.

    Args:
        is_suspended: whether the screen has let go of the terminal and waits to be resumed.
    """
    resume = signal.getsignal(signal.SIGCONT)

    def resumed(number: int, frame: FrameType | None) -> None:
        if callable(resume) and is_suspended():
            resume(number, frame)

    signal.signal(signal.SIGCONT, resumed)


def _set_terminal_streams(stdout: object, stderr: object) -> None:
    """Textual draws on one of them and asks the other for the size; type checkers hold both for final."""
    setattr(sys, "__stdout__", stdout)  # noqa: B010
    setattr(sys, "__stderr__", stderr)  # noqa: B010


def open_log(path: Path) -> int:
    """A descriptor that appends to the log, for its owner alone; a log that has grown large moves aside."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > MAX_LOG_BYTES:
        os.replace(path, path.with_suffix(".old.log"))
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
