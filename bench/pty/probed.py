"""The `olla` command with a probe in its screen: how late the screen's loop is.

    python bench/pty/probed.py [--paced]

SIGUSR1 begins a measurement; SIGUSR2 ends it and writes it as JSON to the file that OLLA_PROBE names. With
`--paced` the models of its own server answer as `paced_server` does: at a set pace, without a worker. Nothing
else differs from `olla`.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable

from olla_tui.app import OllaApp
from olla_tui.cli.main import main

TICK_S = 0.01


class Probe:
    """Lateness of a timer on the screen's loop, in milliseconds, and tokens that the server has answered."""

    def __init__(self, path: str, n_tokens: Callable[[], int]) -> None:
        self._path = path
        self._n_tokens = n_tokens
        self._late_ms: list[float] = []
        self._begun_at = time.perf_counter()
        self._n_tokens_before = 0

    async def run(self) -> None:
        """Tick for ever."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR1, self.begin)
        loop.add_signal_handler(signal.SIGUSR2, self.write)
        while True:
            begun = time.perf_counter()
            await asyncio.sleep(TICK_S)
            self._late_ms.append((time.perf_counter() - begun - TICK_S) * 1000)

    def begin(self) -> None:
        """Forget what was measured so far."""
        self._late_ms.clear()
        self._begun_at = time.perf_counter()
        self._n_tokens_before = self._n_tokens()

    def write(self) -> None:
        """Write what was measured."""
        late = sorted(self._late_ms) or [0.0]
        found = {
            f"lag_p{share}_ms": round(late[min(int(share / 100 * len(late)), len(late) - 1)], 1)
            for share in (50, 95, 99)
        }
        found["lag_max_ms"] = round(late[-1], 1)
        found["rss_peak_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        elapsed_s = time.perf_counter() - self._begun_at
        found["tokens_per_s"] = round((self._n_tokens() - self._n_tokens_before) / elapsed_s, 1)
        found["n_tasks"] = len(asyncio.all_tasks())
        partial = f"{self._path}.part"
        with open(partial, "w", encoding="utf-8") as file:
            json.dump(found, file)
        os.replace(partial, self._path)


def run(*, paced: bool) -> None:
    """Be `olla`, and begin to tick once the first frame is out."""
    count: Callable[[], int] = int
    if paced:
        # Only where it is wanted: a screen that is attached to a server imports none of it.
        from bench.pty.paced_backend import PacedBackend

        PacedBackend.take_over()
        count = lambda: PacedBackend.n_tokens  # noqa: E731

    def begin_probe(app: OllaApp) -> None:
        probe = Probe(os.environ["OLLA_PROBE"], count)
        app.probe_task = asyncio.create_task(probe.run())  # type: ignore[attr-defined]

    OllaApp.on_ready = begin_probe  # type: ignore[attr-defined]
    main()


if __name__ == "__main__":
    is_paced = "--paced" in sys.argv
    sys.argv = ["olla"]
    run(paced=is_paced)
