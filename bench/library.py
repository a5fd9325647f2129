"""How long a key of the library's filter takes until it is painted, with 5,000 models.

    python bench/library.py [--models 5000] [--rounds 5]

The screen runs headless in this process, its services are scripted: what is timed is filtering, sorting and
drawing at 120x40, from the key to the end of the frame that it brings about.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from server.types.models import ModelSummary
from tests.support.workstation import driven, settled, workstation
from tests.support.workstation_script import Script, model

FAMILIES = ("qwen3", "llama3.2", "gemma3", "mistral", "phi4", "granite")
TYPED = "qwen 14b tools"


def library(n_models: int) -> list[ModelSummary]:
    """Models that differ in all that the filter and the columns look at."""
    draw = random.Random(1)
    return [
        model(
            f"{draw.choice(FAMILIES)}-{number}:{draw.choice(('7b', '14b', '70b'))}",
            draw.uniform(1, 80),
            f"{draw.randint(1, 99)}B",
            draw.choice(("Q4_K_M", "Q8_0", "F16")),
            "completion",
            *draw.sample(("tools", "thinking", "vision"), 2),
            age_s=draw.uniform(0, 1e7),
        )
        for number in range(n_models)
    ]


async def measure(n_models: int, n_rounds: int) -> list[float]:
    """Milliseconds from each key to its frame."""
    app = workstation(Script(models=library(n_models)))
    taken_ms = []
    async with driven(app, (120, 40)) as pilot:
        await pilot.press("alt+2", "slash")
        await settled(pilot)
        for _ in range(n_rounds):
            for key in (*TYPED.replace(" ", "|"), *["backspace"] * len(TYPED)):
                painted = asyncio.Event()
                begin_s = time.perf_counter()
                app.simulate_key("space" if key == "|" else key)
                app.call_after_refresh(painted.set)
                await painted.wait()
                taken_ms.append((time.perf_counter() - begin_s) * 1000)
    return taken_ms


def main() -> None:
    """Print the middle, the 95th percentile and the longest."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    taken_ms = sorted(asyncio.run(measure(given.models, given.rounds)))
    p95 = taken_ms[int(0.95 * len(taken_ms))]
    print(
        f"{given.models} models, {len(taken_ms)} keys: p50 {statistics.median(taken_ms):.1f} ms, "
        f"p95 {p95:.1f} ms, longest {taken_ms[-1]:.1f} ms"
    )


if __name__ == "__main__":
    main()
