"""The real workstation in a process of its own, on a pseudo-terminal of its own."""

import contextlib
import fcntl
import json
import os
import pty
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pyte
import pytest

WAIT_S = 30.0
SIZE = (100, 30)


class Terminal:
    """A process on a pseudo-terminal, and what that terminal shows."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.fd, other = pty.openpty()
        fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", SIZE[1], SIZE[0], 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "olla_tui"],
            stdin=other,
            stdout=other,
            stderr=other,
            env=environment,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(other)
        self._screen = pyte.Screen(*SIZE)
        self._stream = pyte.ByteStream(self._screen)

    @property
    def text(self) -> str:
        return "\n".join(self._screen.display)

    def wait_for(self, words: str) -> None:
        """Read until the terminal shows the words. Raises: AssertionError when it takes too long."""
        deadline = time.monotonic() + WAIT_S
        while words not in self.text:
            assert time.monotonic() < deadline, f"{words!r} never came; the terminal shows\n{self.text}"
            if select.select([self.fd], [], [], 0.1)[0]:
                try:
                    data = os.read(self.fd, 65536)
                except OSError:
                    data = b""
                assert data or words in self.text, (
                    f"it ended before {words!r}; the terminal shows\n{self.text}"
                )
                self._stream.feed(without_queries(data))

    def type(self, keys: str) -> None:
        os.write(self.fd, keys.encode())

    def hang_up(self) -> None:
        os.close(self.fd)
        self.fd = -1

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(WAIT_S)
        if self.fd >= 0:
            os.close(self.fd)


def without_queries(data: bytes) -> bytes:
    """The bytes without sequences that pyte would print: private modes with < = > and device queries."""
    return re.sub(rb"\x1b\[[<>=][0-9;]*[a-zA-Z]|\x1b\[\?[0-9;]+\$p|\x1bP[^\x1b]*\x1b\\", b"", data)


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number: int = free.getsockname()[1]
    return number


@pytest.fixture
def environment(tmp_path: Path, port: int) -> dict[str, str]:
    root = Path(__file__).parents[2]
    return {
        "HOME": str(tmp_path),
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(root),
        "TERM": "xterm-256color",
        "LANG": "C.UTF-8",
        "OLLAMA_HOST": f"127.0.0.1:{port}",
    }


@pytest.fixture
def terminal(environment: dict[str, str]) -> Iterator[Terminal]:
    opened = Terminal(environment)
    yield opened
    opened.close()


def version_at(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/version", timeout=WAIT_S) as reply:
        return str(json.load(reply)["version"])


def test_from_nothing_to_an_answer(terminal: Terminal, port: int) -> None:
    terminal.wait_for("5.77M parameters")
    terminal.wait_for("send  ^J newline")
    terminal.type("Hello\r")
    terminal.wait_for("first 0.")
    assert version_at(port)
    terminal.type("\x11")
    terminal.wait_for("Quit olla?")
    terminal.type("\r")
    assert terminal.process.wait(WAIT_S) == 0


def test_the_server_outlives_its_terminal_and_takes_a_second_one(
    terminal: Terminal, port: int, environment: dict[str, str]
) -> None:
    terminal.wait_for("5.77M parameters")
    terminal.hang_up()
    second = Terminal(environment)
    try:
        second.wait_for(f":{port} attached")
        second.type("\x11")
        assert second.process.wait(WAIT_S) == 0
    finally:
        second.close()
    assert version_at(port)
    assert terminal.process.poll() is None
    terminal.process.send_signal(signal.SIGTERM)
    assert terminal.process.wait(WAIT_S) == 0


def test_a_port_that_something_else_has_is_told_in_one_sentence(
    environment: dict[str, str], port: int
) -> None:
    with socket.create_server(("127.0.0.1", port)) as other:
        other.settimeout(WAIT_S)
        opened = Terminal(environment)
        try:
            # It hangs up on whoever asks, as no server of ours would.
            with contextlib.suppress(TimeoutError):
                other.accept()[0].close()
            opened.wait_for(f"Error: port {port} is taken")
            assert opened.process.wait(WAIT_S) == 1
        finally:
            opened.close()


def test_without_a_terminal_it_says_what_to_use(environment: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "olla_tui"],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert done.returncode == 1
    assert "needs a terminal" in done.stderr and "olla serve" in done.stderr
