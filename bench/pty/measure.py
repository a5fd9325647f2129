"""What the workstation costs and how it holds up, measured from the terminal's side on the real program.

    python bench/pty/measure.py [TEST ...] [--runs 3] [--json FILE]

Prints one row per number: the median of the runs, the worst of them, its gate, and whether the median keeps
it. Tests: first open_chat resize stream code burst low idle keys api stall hangup.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import median
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
SPARK = "spark:latest"
STALL_S = 5.0
CPU_WINDOW_S = 10.0
"""In which processor time is counted: /proc tells it in hundredths of a second."""
SETTLE_S = 3.0
"""From the hang-up to the window in which its cost is measured: an answer under way has ended by then."""
CHECK_S = 0.005
"""Between two looks at the terminal's buffer: far shorter than a frame, which could fill it and be taken."""

GATES: dict[str, float] = {
    "first.alt_screen_s": 0.6,
    "first.useful_frame_s": 0.9,
    "open_chat.lag_max_ms": 60,
    "open_chat.painted_ms": 150,
    "resize.lag_max_ms": 150,
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
    "stall.api_gap_ms": 100,
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


def open_chat() -> Numbers:
    """Open a chat of 2,000 turns from the history, and the second after that."""
    with paced_server() as port, home(N_TURNS) as path, Workstation(path, port, probed=True) as screen:
        screen.seen_after_s(READY)
        screen.drain(1.0)
        screen.list_chats()
        screen.begin_probe()
        begun = time.perf_counter()
        screen.write(b"\r")
        screen.wait_for(b"Question 1998")
        painted_ms = (time.perf_counter() - begun) * 1000
        screen.drain(1.0)
        return {"painted_ms": round(painted_ms, 1), "lag_max_ms": screen.end_probe()["lag_max_ms"]}


def resize() -> Numbers:
    """Make the terminal wider while such a chat is shown, and the second after that."""
    with paced_server() as port, home(N_TURNS) as path, Workstation(path, port, probed=True) as screen:
        screen.seen_after_s(READY)
        screen.open_long_chat()
        screen.begin_probe()
        screen.resize(150, 40)
        screen.drain(1.0)
        return {"lag_max_ms": screen.end_probe()["lag_max_ms"]}


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


@contextlib.contextmanager
def _streaming() -> Iterator[tuple[Workstation, int]]:
    """A workstation that streams 100 tokens a second of its own server into a chat of 2,000 turns."""
    port = free_port()
    with home(N_TURNS, SPARK) as path, Workstation(path, port, paced=True) as screen:
        screen.seen_after_s(READY)
        wait_until_up(port)
        screen.open_long_chat()
        screen.write(b"100x20000 prose\r")
        screen.wait_for(b"Section 1")
        screen.drain(1.0)
        yield screen, port


def api() -> Numbers:
    """GET /api/version at 50 Hz while the screen streams 100 tokens a second into a chat of 2,000 turns."""
    with _streaming() as (screen, port):
        client = Client(port)
        client.start()
        seen = screen.measure(10.0)
        found = client.stop()
        _require(seen["tokens_per_s"] > 95, f"the stream ran at {seen['tokens_per_s']} tokens a second")
        _require(seen["kB_per_s"] > 5, f"the screen painted {seen['kB_per_s']} kB a second")
        return {**found, "n_requests": len(client.latencies_ms), "tokens_per_s": seen["tokens_per_s"]}


def stall() -> Numbers:
    """The same while the terminal's buffer is full and nobody reads it for five seconds."""
    with _streaming() as (screen, port), screen.unread() as is_full:
        screen.begin_probe()
        client = Client(port)
        client.start()
        n_checks, deadline = 0, time.monotonic() + STALL_S
        while time.monotonic() < deadline:
            _require(is_full(), "the terminal took something during the stall")
            n_checks += 1
            time.sleep(CHECK_S)
        found = client.stop()
        n_read_before = len(screen.output)
        seen = screen.end_probe()
        _require(seen["tokens_per_s"] > 80, f"the stream ran at {seen['tokens_per_s']} tokens a second")
        return {
            **found,
            "n_requests": len(client.latencies_ms),
            "full_checks": n_checks,
            "held_kB": round((len(screen.output) - n_read_before) / 1000),
            "tokens_per_s": seen["tokens_per_s"],
        }


def hangup() -> Numbers:
    """The terminal goes away: does the server answer, what does it cost, and does a second `olla` attach?"""
    port = free_port()
    with home(N_TURNS, SPARK) as path, Workstation(path, port) as screen:
        screen.seen_after_s(READY)
        wait_until_up(port)
        screen.open_long_chat()
        screen.write(b"Tell me a long story about the sea\r")
        screen.wait_for(b"tok/s")
        screen.drain(0.5)
        screen.hang_up()
        time.sleep(SETTLE_S)
        before, before_all = screen.cpu_s(), screen.cpu_s(workers=True)
        time.sleep(CPU_WINDOW_S)
        used, used_by_all = screen.cpu_s() - before, screen.cpu_s(workers=True) - before_all
        _require(screen.process.poll() is None, "the server ended with its terminal")
        ask_version(port, 2.0)
        with Workstation(path, port) as second:
            attach_s = round(second.seen_after_s(b"attached"), 2)
        return {
            "cpu_pct": round(used / CPU_WINDOW_S * 100, 2),
            "all_cpu_pct": round(used_by_all / CPU_WINDOW_S * 100, 2),
            "attach_s": attach_s,
        }


def _require(holds: bool, otherwise: str) -> None:
    """Raises: RuntimeError when a run has not measured what it is to measure."""
    if not holds:
        raise RuntimeError(otherwise)


TESTS: dict[str, Callable[[], Numbers]] = {
    test.__name__: test
    for test in (first, open_chat, resize, stream, code, burst, low, idle, keys, api, stall, hangup)
}


def median_and_worst(runs: list[Numbers]) -> dict[str, tuple[float, float]]:
    """Of each number over the runs; the worst is the largest, and all that has a gate is better small."""
    return {name: (median(run[name] for run in runs), max(run[name] for run in runs)) for name in runs[0]}


def main() -> None:
    """Measure, print a table, and write JSON where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tests", nargs="*", metavar="TEST", help="which; all without any")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    results: dict[str, dict[str, tuple[float, float]]] = {}
    for name in chosen.tests or TESTS:
        before = load_average()
        results[name] = median_and_worst([TESTS[name]() for _ in range(chosen.runs)])
        for key, (middle, worst) in results[name].items():
            gate = GATES.get(f"{name}.{key}")
            verdict = "" if gate is None else f"gate {gate:g}  {'holds' if middle <= gate else 'FAILS'}"
            print(f"{name:8} {key:16} {middle:>9g}  worst {worst:<9g} {verdict}".rstrip(), flush=True)
        print(f"{name:8} {'load before':16} {before:>9}", flush=True)
    if chosen.json:
        chosen.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
