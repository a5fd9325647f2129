"""What the workstation costs and how it holds up, measured from the terminal's side on the real program.

    python bench/pty/measure.py [TEST ...] [--runs 3] [--json FILE]

Prints one row per number with its gate and whether it holds; the best of the runs counts, for other work on
the machine only ever makes a number worse. Tests: first stream code burst low idle keys api stall hangup.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from bench.pty.stage import (
    Client,
    Workstation,
    ask_version,
    free_port,
    home,
    load_average,
    paced_server,
    wait_until_up,
)

Numbers = dict[str, Any]
N_TURNS = 2000
READY = b"sk something"

GATES: dict[str, float] = {
    "first.alt_screen_s": 0.6,
    "first.useful_frame_s": 0.9,
    "stream.cpu_pct": 20,
    "stream.lag_p95_ms": 15,
    "stream.lag_p99_ms": 40,
    "stream.kB_per_s": 40,
    "stream.rss_peak_mb": 90,
    "code.cpu_pct": 25,
    "code.lag_p95_ms": 20,
    "low.kB_per_s": 15,
    "idle.kB_per_s": 0,
    "keys.p50_ms": 35,
    "keys.p95_ms": 100,
    "api.api_p99_ms": 20,
    "stall.api_max_ms": 100,
    "hangup.cpu_pct": 1,
    "hangup.attach_s": 1,
}


def first() -> Numbers:
    """From exec to the alternate screen, and to a frame in which one can type."""
    with paced_server() as port, home() as path, Workstation(path, port) as screen:
        return {
            "alt_screen_s": round(screen.seen_after_s(b"\x1b[?1049h"), 2),
            "useful_frame_s": round(screen.seen_after_s(READY), 2),
        }


def _streamed(question: str, *, seconds: float = 10.0, low_bandwidth: bool = False) -> Numbers:
    with paced_server() as port, home(N_TURNS) as path:
        with Workstation(path, port, probed=True, low_bandwidth=low_bandwidth) as screen:
            screen.seen_after_s(READY)
            screen.open_long_chat()
            screen.write(question.encode() + b"\r")
            screen.drain(2.0)
            return screen.measure(seconds)


def stream() -> Numbers:
    """100 tokens a second of prose into a chat of 2,000 turns."""
    return _streamed("100x2000 prose")


def code() -> Numbers:
    """The same in one long fence."""
    return _streamed("100x2000 code")


def burst() -> Numbers:
    """1,000 tokens a second."""
    return _streamed("1000x20000 prose")


def low() -> Numbers:
    """As `stream`, for a slow link."""
    return _streamed("100x2000 prose", low_bandwidth=True)


def idle() -> Numbers:
    """Nothing happens for 20 seconds."""
    with paced_server() as port, home(N_TURNS) as path, Workstation(path, port, probed=True) as screen:
        screen.seen_after_s(READY)
        screen.open_long_chat()
        screen.drain(6.0)
        return screen.measure(20.0)


def keys() -> Numbers:
    """A key typed into the prompt until it is painted, while an answer streams into a chat of 2,000 turns."""
    with paced_server() as port, home(N_TURNS) as path, Workstation(path, port, probed=True) as screen:
        screen.seen_after_s(READY)
        screen.open_long_chat()
        screen.write(b"100x2000 prose\r")
        screen.drain(1.0)
        latencies = []
        for at in range(60):
            char = b"~^"[at % 2 : at % 2 + 1]
            seen, begun = len(screen.output), time.perf_counter()
            screen.write(char)
            screen.wait_for(partial(_was_painted, screen, char, seen))
            latencies.append((time.perf_counter() - begun) * 1000)
            screen.drain(0.1)
    ordered = sorted(latencies)
    return {"p50_ms": round(ordered[30], 1), "p95_ms": round(ordered[57], 1)}


def _was_painted(screen: Workstation, char: bytes, start: int) -> bool:
    return char in _text(screen.output[start:])


def _text(data: bytes | bytearray) -> bytes:
    """The bytes without escape sequences."""
    return re.sub(rb"\x1b\[[0-9;?<>=$]*[A-Za-z]|\x1b\][^\x07]*\x07", b"", bytes(data))


def _with_own_server(use: Callable[[Workstation, int, Path], Numbers]) -> Numbers:
    """The workstation with its server in the same process and the bundled model answering."""
    port = free_port()
    with home() as path, Workstation(path, port) as screen:
        screen.seen_after_s(b"parameters")
        wait_until_up(port)
        screen.drain(1.0)
        return use(screen, port, path)


def api() -> Numbers:
    """GET /api/version at 50 Hz while the screen streams an answer of the model in the package."""

    def use(screen: Workstation, port: int, _path: Path) -> Numbers:
        screen.write(b"Tell me a long story about the sea\r")
        screen.wait_for(b"first 0.")
        client = Client(port)
        client.start()
        for _ in range(5):
            screen.write(b"Tell me another long story\r")
            screen.drain(2.0)
        return client.stop()

    return _with_own_server(use)


def stall() -> Numbers:
    """The same while the terminal takes nothing for five seconds."""

    def use(screen: Workstation, port: int, _path: Path) -> Numbers:
        screen.write(b"Tell me a long story about the sea\r")
        client = Client(port)
        client.start()
        for _ in range(25):
            screen.write(b"x\t\x1b[A\x1b[B" * 20)
            time.sleep(0.2)
        found = client.stop()
        screen.drain(1.0)
        return {**found, "n_requests": len(client.latencies_ms)}

    return _with_own_server(use)


def hangup() -> Numbers:
    """The terminal goes away: does the server answer, what does it cost, and does a second `olla` attach?"""

    def use(screen: Workstation, port: int, path: Path) -> Numbers:
        screen.write(b"Tell me a long story about the sea\r")
        screen.drain(0.5)
        screen.hang_up()
        time.sleep(3.0)
        ask_version(port, 2.0)
        before = screen.cpu_s()
        time.sleep(5.0)
        cpu_pct = round((screen.cpu_s() - before) / 5 * 100, 1)
        with Workstation(path, port) as second:
            attach_s = round(second.seen_after_s(b"attached"), 2)
        return {"cpu_pct": cpu_pct, "attach_s": attach_s, "alive": screen.process.poll() is None}

    return _with_own_server(use)


TESTS: dict[str, Callable[[], Numbers]] = {
    test.__name__: test for test in (first, stream, code, burst, low, idle, keys, api, stall, hangup)
}


def best(runs: list[Numbers]) -> Numbers:
    """The smallest of each number over the runs."""
    return {name: min(run[name] for run in runs) for name in runs[0]}


def main() -> None:
    """Measure, print a table, and write JSON where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tests", nargs="*", metavar="TEST", help="which; all without any")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    results: dict[str, Numbers] = {}
    for name in chosen.tests or TESTS:
        before = load_average()
        results[name] = best([TESTS[name]() for _ in range(chosen.runs)])
        for key, value in results[name].items():
            gate = GATES.get(f"{name}.{key}")
            verdict = "" if gate is None else f"gate {gate:g}  {'holds' if value <= gate else 'FAILS'}"
            print(f"{name:8} {key:16} {value!s:>9}  {verdict}".rstrip(), flush=True)
        print(f"{name:8} {'load before':16} {before:>9}", flush=True)
    if chosen.json:
        chosen.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
