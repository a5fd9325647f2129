"""The workstation for a long time: a stream at 100 tokens a second, and other panes now and then.

    python bench/pty/soak.py [--minutes 30] [--json FILE]

Prints a line every half minute, and at the end how memory, asyncio's tasks and threads went; the slope
of memory is by least squares after five minutes. Exit code 1 when it grows by 1 MB or more in ten minutes, or
when tasks or threads become more.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from pathlib import Path
from statistics import linear_regression
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from bench.pty.measure import READY
from bench.pty.stage import Workstation, home, paced_server

SAMPLE_S = 30.0
ANSWER_S = 40.0
"""Seconds that an answer takes; each is one of a new chat."""
PANE_S = 4.0
"""Between two switches of the pane."""
MAX_MB_PER_10_MIN = 1.0
WARM_UP_S = 300.0
"""Until every pane was shown and the allocator holds what a frame needs."""


def soak(minutes: float) -> list[dict[str, Any]]:
    """Samples of one run, each with `at_s`, `rss_mb`, `n_tasks` and `n_threads`."""
    samples: list[dict[str, Any]] = []
    with paced_server() as port, home() as path, Workstation(path, port, probed=True) as screen:
        screen.seen_after_s(READY)
        screen.drain(2.0)
        begun = time.monotonic()
        answer_at = pane_at = begun
        sample_at = begun + SAMPLE_S
        panes = itertools.cycle(b"2134516")
        while (now := time.monotonic()) < begun + minutes * 60:
            if now >= answer_at:
                screen.write(b"\x1b1")  # alt+1
                screen.drain(0.5)
                screen.write(b"\x0e")  # ctrl+n, which is a key of that pane
                screen.drain(0.5)
                screen.write(f"100x{ANSWER_S * 100:.0f} prose\r".encode())
                answer_at = now + ANSWER_S + 4
            elif now >= pane_at:
                screen.write(b"\x1b" + bytes([next(panes)]))
                pane_at = now + PANE_S
            if now >= sample_at:
                samples.append({"at_s": round(now - begun), **sample(screen)})
                print(samples[-1], flush=True)
                sample_at = now + SAMPLE_S
            screen.drain(0.25)
            screen.output.clear()  # a long run writes a hundred megabytes
    return samples


def sample(screen: Workstation) -> dict[str, Any]:
    """What the screen's process holds now."""
    screen.begin_probe()
    n_bytes = screen.drain(2.0)
    seen = screen.end_probe()
    process = screen.measured
    return {
        "rss_mb": round(process.memory_info().rss / 1e6, 2),
        "n_threads": process.num_threads(),
        "n_tasks": seen["n_tasks"],
        "lag_p99_ms": seen["lag_p99_ms"],
        "kB_per_s": round(n_bytes / 2000, 1),
    }


def verdict(samples: list[dict[str, Any]]) -> dict[str, Any]:
    """Slope and growth after the warm-up."""
    kept = [entry for entry in samples if entry["at_s"] >= WARM_UP_S]
    slope, _ = linear_regression([entry["at_s"] for entry in kept], [entry["rss_mb"] for entry in kept])
    half = len(kept) // 2
    most = {
        name: [max(entry[name] for entry in part) for part in (kept[:half], kept[half:])]
        for name in ("n_tasks", "n_threads")
    }
    return {
        "mb_per_10_min": round(slope * 600, 2),
        "rss_mb": [kept[0]["rss_mb"], kept[-1]["rss_mb"]],
        **most,
        "holds": slope * 600 < MAX_MB_PER_10_MIN and all(last <= first for first, last in most.values()),
    }


def main() -> None:
    """Run, print, and say whether it holds."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    samples = soak(chosen.minutes)
    result = verdict(samples)
    print(result)
    if chosen.json:
        chosen.json.write_text(json.dumps({"samples": samples, **result}, indent=1) + "\n", encoding="utf-8")
    sys.exit(0 if result["holds"] else 1)


if __name__ == "__main__":
    main()
