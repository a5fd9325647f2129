"""Programs for a pseudo-terminal that use the terminal guard; run as a script with a log file and a mode.

Reports go to the file descriptor in the third argument, one line each.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from pathlib import Path

from olla_tui.term import TerminalGuard, resume_only_when_suspended


def noise() -> None:
    """What an engine does: native code writes to the descriptors, Python code to its streams."""
    libc = ctypes.CDLL(None)
    libc.write(2, b"native-stderr\n", 14)
    os.write(1, b"raw-stdout\n")
    print("py-stdout", flush=True)
    print("py-stderr", file=sys.stderr, flush=True)


def draw(guard: TerminalGuard) -> None:
    """Draw once, in the midst of noise."""
    noise()
    assert guard.output is not None
    guard.output.write("on-screen\n")
    noise()


def run_screen(guard: TerminalGuard, report: int) -> None:
    """A Textual screen that redraws all the time and ends when the terminal hangs up."""
    from textual.app import App, ComposeResult
    from textual.widgets import Static

    class Screen(App[str]):
        def compose(self) -> ComposeResult:
            yield Static("0", id="counter")

        def on_mount(self) -> None:
            self.n = 0
            resume_only_when_suspended(lambda: False)
            self.set_interval(0.02, self.count)

        def count(self) -> None:
            self.n += 1
            self.query_one("#counter", Static).update(f"frame {self.n} " + "x" * 500)

    app = Screen()

    def gone() -> None:
        guard.hang_up()
        os.write(report, b"gone\n")
        loop = app._loop
        assert loop is not None
        loop.call_soon_threadsafe(app.exit, "detached")

    guard.watch(gone)
    result = app.run()
    os.write(report, f"result {result}\n".encode())


def main() -> None:
    log, mode, report = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the worst case: only the guard's watch tells
    with TerminalGuard(log) as guard:
        draw(guard) if mode == "draw" else run_screen(guard, report)
    if mode == "draw":
        print("back on the terminal", flush=True)
    for thread in threading.enumerate():
        if not thread.daemon and thread is not threading.main_thread():
            thread.join()  # a reader of the keyboard that spins or hangs would never end
    os.write(report, b"threads ended\n")
    if mode == "screen":
        os.read(int(sys.argv[4]), 1)  # stay, as the server does, until the test has looked


if __name__ == "__main__":
    main()
