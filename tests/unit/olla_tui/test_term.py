"""The terminal guard on real pseudo-terminals."""

from __future__ import annotations

import os
import pty
import select
import stat
import sys
import termios
import threading
import tty
from collections.abc import Iterator
from pathlib import Path

import pytest

from olla_tui.link import SLOW_SHARE, STAYS_S, WINDOW_S
from olla_tui.term import MAX_LOG_BYTES, RATE_WINDOW_S, TerminalOutput, open_log
from tests.support import guarded_screen
from tests.support.pseudo_terminal import PseudoTerminal

PROGRAM = guarded_screen.__file__
ROOT = str(Path(PROGRAM).parents[2])
WAIT_S = 20.0


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    yield reading, writing
    for fd in (reading, writing):
        try:
            os.close(fd)
        except OSError:  # the test closed it
            continue


def start(log: Path, mode: str, *fds: int) -> PseudoTerminal:
    command = [sys.executable, PROGRAM, str(log), mode, *map(str, fds)]
    return PseudoTerminal(command, environment={"PYTHONPATH": ROOT}, pass_fds=fds)


def test_nothing_but_the_screen_reaches_the_terminal(tmp_path: Path, pipe: tuple[int, int]) -> None:
    log = tmp_path / "logs" / "olla.log"
    with start(log, "draw", pipe[1]) as terminal:
        terminal.wait_for(b"back on the terminal")
        terminal.process.wait(WAIT_S)
        assert bytes(terminal.output).split() == b"on-screen back on the terminal".split()
    lines = log.read_text().splitlines()
    assert sorted(lines) == sorted(["native-stderr", "raw-stdout", "py-stdout", "py-stderr"] * 2)
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


def test_a_hang_up_without_a_signal_ends_the_screen_and_nothing_spins(
    tmp_path: Path, pipe: tuple[int, int]
) -> None:
    waiting, let_go = os.pipe()
    report, writing = pipe
    with start(tmp_path / "olla.log", "screen", writing, waiting) as terminal:
        terminal.wait_for(b"frame ")
        os.close(writing)
        terminal.hang_up()
        told = ""
        while "threads ended" not in told:
            assert select.select([report], [], [], WAIT_S)[0], f"a thread goes on after {told!r}"
            told += os.read(report, 1000).decode()
        assert told == "gone\nresult detached\nthreads ended\n"
        os.close(let_go)
        assert terminal.process.wait(WAIT_S) == 0
    os.close(waiting)


def test_output_is_counted_over_a_window() -> None:
    reading, writing = os.pipe()
    clock = Clock()
    output = TerminalOutput(writing, clock)
    output.write("x" * 1000)
    assert output.bytes_per_s() == 1000 / RATE_WINDOW_S
    clock.now_s += RATE_WINDOW_S + 0.1
    assert output.bytes_per_s() == 0
    assert output.n_bytes == 1000
    assert os.read(reading, 2000) == b"x" * 1000
    os.close(reading)
    os.close(writing)


def test_a_spared_terminal_gets_what_changes_and_all_of_it_when_its_size_does() -> None:
    ours, terminal = pty.openpty()
    frame = "\x1b[1;1H\x1b[1mone\x1b[0m\x1b[1;1H"
    with open(ours, "rb", buffering=0) as reader:
        output = TerminalOutput(terminal)

        def sent() -> int:
            before = output.n_bytes
            output.write(frame)
            n_bytes = output.n_bytes - before
            assert len(reader.read(n_bytes) if n_bytes else b"") == n_bytes
            return n_bytes

        whole = sent()
        output.spare(True)
        termios.tcsetwinsize(terminal, (24, 80))
        assert sent() > 0 and sent() == 0
        termios.tcsetwinsize(terminal, (30, 90))
        assert sent() > 0 and sent() == 0
        output.forget()
        assert sent() > 0 and sent() == 0
        output.spare(False)
        assert sent() == sent() == whole
    os.close(terminal)


def test_a_pipe_to_another_program_is_not_spared() -> None:
    reading, writing = os.pipe()
    output = TerminalOutput(writing, is_screen=False)
    output.spare(True)
    for _ in range(2):
        output.write("\x1b[1;1Hx")
        assert os.read(reading, 100) == b"\x1b[1;1Hx"
    os.close(reading)
    os.close(writing)


def test_a_write_that_waits_makes_the_link_slow() -> None:
    reading, writing = os.pipe()
    clock = Clock()
    output = TerminalOutput(writing, clock)
    size = 1 << 20
    thread = threading.Thread(target=output.write, args=("x" * size,))
    thread.start()
    n_read = len(os.read(reading, 1))  # the write has begun
    assert not output.is_slow()
    clock.now_s += SLOW_SHARE * WINDOW_S
    assert output.is_slow()
    while n_read < size:
        n_read += len(os.read(reading, 65536))
    thread.join()
    assert output.is_slow()
    clock.now_s += WINDOW_S + STAYS_S
    assert not output.is_slow()
    os.close(reading)
    os.close(writing)


def test_what_is_written_to_a_closed_terminal_disappears() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    output = TerminalOutput(writing)
    assert output.write("gone") == 4
    output.hang_up()
    assert output.write("gone") == 4
    os.close(writing)


def test_after_a_hang_up_nothing_more_arrives_and_the_terminal_is_let_go() -> None:
    reading, writing = os.pipe()
    output = TerminalOutput(writing)
    output.write("before")
    output.hang_up()
    assert output.write("after") == 5
    assert os.read(reading, 100) == b"before"
    assert os.read(reading, 100) == b""  # the end: nobody can write to it any more
    os.close(reading)
    os.close(writing)


def test_a_write_that_waits_for_the_terminal_ends_when_it_hangs_up() -> None:
    ours, terminal = pty.openpty()
    tty.setraw(terminal)
    output = TerminalOutput(terminal)
    thread = threading.Thread(target=output.write, args=("x" * (1 << 20),), daemon=True)
    thread.start()
    assert os.read(ours, 1) == b"x"  # the write has begun, and the terminal cannot hold it all
    os.close(ours)
    thread.join(WAIT_S)
    assert not thread.is_alive()
    assert output.write("gone") == 4
    os.close(terminal)


def test_a_terminal_that_was_made_non_blocking_still_gets_everything() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    output = TerminalOutput(writing)
    size = 1 << 20
    thread = threading.Thread(target=output.write, args=("x" * size,))
    thread.start()
    n_read = 0
    while n_read < size:
        n_read += len(os.read(reading, 65536))
    thread.join()
    os.close(reading)
    os.close(writing)


def test_a_large_log_moves_aside(tmp_path: Path) -> None:
    path = tmp_path / "olla.log"
    path.write_bytes(b"x" * (MAX_LOG_BYTES + 1))
    os.close(open_log(path))
    assert path.stat().st_size == 0
    assert (tmp_path / "olla.old.log").stat().st_size == MAX_LOG_BYTES + 1
