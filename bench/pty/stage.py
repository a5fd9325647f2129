"""The pieces of a measurement: servers, homes, a workstation on a pseudo-terminal, and a client beside it."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import http.client
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

from olla_tui.history.store import HistoryStore
from olla_tui.state.conversation import Conversation, Turn
from tests.support.pseudo_terminal import PseudoTerminal

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
WAIT_S = 60.0
POLL_S = 0.01
"""Between two looks at a port or a terminal of another process: neither wakes anybody who waits for it."""
ANSWER = """Here is an *answer* with `code` and **more**.

- one item
- two **items**

```python
print('hello')
```

And a closing paragraph that wraps over a couple of lines at this width, hopefully."""


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


@contextlib.contextmanager
def home(n_turns: int = 0, model: str = "paced:latest") -> Iterator[Path]:
    """A home directory; its history holds one chat of so many turns with a model."""
    with tempfile.TemporaryDirectory(prefix="olla-bench-") as name:
        path = Path(name)
        if n_turns:
            asyncio.run(_fill_history(path / "olla" / "chats.sqlite", n_turns, model))
        yield path


async def _fill_history(path: Path, n_turns: int, model: str) -> None:
    turns = [
        Turn(role="user", content=f"Question {at}?", at=1e9 + at)
        if at % 2 == 0
        else Turn(role="assistant", content=ANSWER, model=model, at=1e9 + at)
        for at in range(n_turns)
    ]
    store = HistoryStore(path)
    await store.save(Conversation(id="long", model=model, title="long chat", turns=turns))
    await store.close()


@contextlib.contextmanager
def paced_server() -> Iterator[int]:
    """The paced server in a process of its own; gives its port."""
    port = free_port()
    process = subprocess.Popen([sys.executable, str(HERE / "paced_server.py"), str(port)])
    try:
        wait_until_up(port)
        yield port
    finally:
        process.terminate()
        process.wait()


def wait_until_up(port: int) -> None:
    """Wait until a server answers. Raises: TimeoutError."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        try:
            ask_version(port)
        except OSError:
            time.sleep(POLL_S)
        else:
            return
    raise TimeoutError("the server did not come up")


def ask_version(port: int, timeout_s: float = 10.0) -> None:
    """One GET of /api/version. Raises: OSError."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    connection.request("GET", "/api/version")
    connection.getresponse().read()
    connection.close()


class Workstation(PseudoTerminal):
    """`olla` on a pseudo-terminal."""

    def __init__(
        self,
        home_path: Path,
        port: int,
        *,
        columns: int = 120,
        rows: int = 40,
        probed: bool = False,
        paced: bool = False,
        low_bandwidth: bool = False,
    ) -> None:
        """Start it.

        Args:
            probed: with a probe in its screen, which `measure` asks.
            paced: probed, and its own server answers at a set pace; see `bench.pty.paced_backend`.
        """
        self.started_at = time.monotonic()
        self._probe_file = home_path / "probe.json"
        probe = [str(HERE / "probed.py"), *(["--paced"] if paced else [])]
        program = probe if probed or paced else ["-m", "olla_tui"]
        environment = {
            "HOME": str(home_path),
            "OLLA_HOME": str(home_path / "olla"),
            "OLLAMA_MODELS": str(home_path / "models"),
            "OLLAMA_HOST": f"127.0.0.1:{port}",
            "PYTHONPATH": str(ROOT),
            "OLLA_PROBE": str(self._probe_file),
            **({"OLLA_LOW_BANDWIDTH": "1", "COLORTERM": ""} if low_bandwidth else {}),
        }
        super().__init__(
            [sys.executable, "-P", *program], columns=columns, rows=rows, environment=environment
        )
        self.measured = psutil.Process(self.process.pid)

    def seen_after_s(self, text: bytes) -> float:
        """Seconds from the start until a text is written."""
        self.wait_for(text, WAIT_S)
        return time.monotonic() - self.started_at

    def drain(self, seconds: float) -> int:
        """Read for a time; returns the bytes that came."""
        before, deadline = len(self.output), time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self.read(left)
        return len(self.output) - before

    def list_chats(self) -> None:
        """Open the list of chats, with the cursor on the one that `home` put into the history."""
        self.write(b"\x0c")  # ctrl+l
        self.wait_for(b"long chat")
        self.drain(0.5)

    def open_long_chat(self) -> None:
        """Open the chat that `home` put into the history."""
        self.list_chats()
        self.write(b"\r")
        self.wait_for(b"Question 1998")
        self.drain(1.0)

    def begin_probe(self) -> None:
        """Let the probe begin; it must have been asked for."""
        self.process.send_signal(signal.SIGUSR1)

    def end_probe(self) -> dict[str, Any]:
        """What the probe saw since it began."""
        self.process.send_signal(signal.SIGUSR2)
        self.wait_for(self._probe_file.exists, WAIT_S)
        found: dict[str, Any] = json.loads(self._probe_file.read_text())
        self._probe_file.unlink()
        return found

    def measure(self, seconds: float) -> dict[str, Any]:
        """Lag of the loop, processor time and bytes over a time."""
        self.begin_probe()
        cpu_before = self.cpu_s()
        begun = time.monotonic()
        n_bytes = self.drain(seconds)
        elapsed = time.monotonic() - begun
        cpu_s = self.cpu_s() - cpu_before
        return {
            "cpu_pct": round(cpu_s / elapsed * 100, 1),
            "kB_per_s": round(n_bytes / elapsed / 1000, 1),
            **self.end_probe(),
        }

    def resize(self, columns: int, rows: int) -> None:
        """Give the terminal another size, of which the kernel tells the program."""
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    @contextlib.contextmanager
    def unread(self, within_s: float = WAIT_S) -> Iterator[Callable[[], bool]]:
        """From here on nobody reads, and the terminal takes no more: its buffer is full, or a writer waits.

        Gives a function that asks the kernel whether that is still so. Raises: TimeoutError when the program
        writes too little to fill the buffer.
        """
        name = os.readlink(f"/proc/{self.process.pid}/fd/0")
        fd = os.open(name, os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)

        def is_full() -> bool:
            return not select.select([], [fd], [], 0)[1]

        try:
            deadline = time.monotonic() + within_s
            while not is_full():
                if time.monotonic() > deadline:
                    raise TimeoutError("the terminal's buffer did not fill")
                time.sleep(POLL_S)
            yield is_full
        finally:
            os.close(fd)

    def cpu_s(self, *, workers: bool = False) -> float:
        """Processor time that the process has used, its workers left out or counted as well."""
        processes = [self.measured, *(self.measured.children(recursive=True) if workers else [])]
        times = [process.cpu_times() for process in processes]
        return float(sum(time.user + time.system for time in times))

    def end(self) -> None:
        """End it and the workers that it started."""
        children = self.measured.children(recursive=True) if self.measured.is_running() else []
        self.close()
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()

    def __exit__(self, *_: object) -> None:
        self.end()


class Client(threading.Thread):
    """Asks for /api/version at 50 Hz on one connection.

    Attributes:
        latencies_ms: of each answer.
        max_gap_ms: longest time without an answer, from the beginning to the end.
    """

    PERIOD_S = 0.02

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self._port = port
        self._stop_now = threading.Event()
        self._failure: Exception | None = None
        self.latencies_ms: list[float] = []
        self.max_gap_ms = 0.0

    def run(self) -> None:
        try:
            self._ask_on()
        except (OSError, http.client.HTTPException) as error:
            self._failure = error

    def _ask_on(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        connection.connect()
        due = answered = time.perf_counter()
        while not self._stop_now.wait(max(due - time.perf_counter(), 0)):
            begun = time.perf_counter()
            connection.request("GET", "/api/version")
            connection.getresponse().read()
            self.max_gap_ms = max(self.max_gap_ms, (time.perf_counter() - answered) * 1000)
            answered = time.perf_counter()
            self.latencies_ms.append((answered - begun) * 1000)
            due = max(due + self.PERIOD_S, answered)
        connection.close()

    def stop(self) -> dict[str, float]:
        """End; returns the percentiles. Raises: what kept it from asking."""
        self._stop_now.set()
        self.join()
        if self._failure is not None:
            raise self._failure
        ordered = sorted(self.latencies_ms)
        at = {f"api_p{share}_ms": ordered[int(share / 100 * (len(ordered) - 1))] for share in (50, 99)}
        numbers = {**at, "api_max_ms": ordered[-1], "api_gap_ms": self.max_gap_ms}
        return {name: round(value, 1) for name, value in numbers.items()}


def load_average() -> float:
    """Runnable processes over the last minute; numbers taken under load are no proof."""
    return round(os.getloadavg()[0], 1)
