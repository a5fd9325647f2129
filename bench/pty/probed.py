"""The `olla` command with a probe in its screen: how late the screen's loop is.

SIGUSR1 begins a measurement; SIGUSR2 ends it and writes it as JSON to the file that OLLA_PROBE names. Nothing
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

from olla_tui.app import OllaApp
from olla_tui.cli.main import main

TICK_S = 0.01


class Probe:
    """Lateness of a timer on the screen's loop, in milliseconds."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._late_ms: list[float] = []

    async def run(self) -> None:
        """Tick for ever."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR1, self._late_ms.clear)
        loop.add_signal_handler(signal.SIGUSR2, self.write)
        while True:
            begun = time.perf_counter()
            await asyncio.sleep(TICK_S)
            self._late_ms.append((time.perf_counter() - begun - TICK_S) * 1000)

    def write(self) -> None:
        """Write what was measured."""
        late = sorted(self._late_ms) or [0.0]
        found = {
            f"lag_p{share}_ms": round(late[min(int(share / 100 * len(late)), len(late) - 1)], 1)
            for share in (50, 95, 99)
        }
        found["lag_max_ms"] = round(late[-1], 1)
        found["rss_peak_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        partial = f"{self._path}.part"
        with open(partial, "w", encoding="utf-8") as file:
            json.dump(found, file)
        os.replace(partial, self._path)


def begin_probe(app: OllaApp) -> None:
    """Begin to tick once the first frame is out."""
    app.probe_task = asyncio.create_task(Probe(os.environ["OLLA_PROBE"]).run())  # type: ignore[attr-defined]


if __name__ == "__main__":
    OllaApp.on_ready = begin_probe  # type: ignore[attr-defined]
    sys.argv[0] = "olla"
    main()
