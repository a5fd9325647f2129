"""A pull onto a disk that gets full on the way: `python -m tests.support.full_disk FOLDER_OF_THAT_DISK`.

Prints a line of JSON for each attempt. The disk has to have a little more room than a pull leaves free.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
from pathlib import Path

from server.errors import OllaError
from server.services.pull import RESERVE_BYTES
from server.storage.partials import list_partials
from tests.support.registry import TestRegistry, served_registry
from tests.support.stores import digest_of
from tests.support.transfers import TUNING, Fixture
from tests.support.until import until

WEIGHTS = random.Random(3).randbytes(1 << 20)
SLOW_BYTES_PER_S = 100_000
DISK_BYTES = RESERVE_BYTES + (8 << 20)


def fill(folder: Path, free_bytes: int) -> Path:
    """A file that leaves so little of the disk."""
    path = folder / "filler"
    piece = bytes(1 << 16)
    with path.open("wb", buffering=0) as file:
        while os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize > free_bytes:
            file.write(piece)
    return path


async def attempt(fixture: Fixture, registry: TestRegistry) -> dict[str, object]:
    """What one pull came to."""
    registry.requests.clear()
    try:
        lines = await fixture.pull(f"{registry.host}/me/big")
        end, hint = lines[-1].status, ""
    except OllaError as error:
        end, hint = f"{type(error).__name__}: {error.message}", error.hint
    partials = list_partials(fixture.store.paths)
    ranges = [h["Range"].removeprefix("bytes=").split("-") for _, _, h in registry.requests if "Range" in h]
    return {
        "end": end,
        "hint": hint,
        "partial_bytes": sum(partial.completed_bytes for partial in partials),
        "asked_bytes": sum(int(last) - int(first) + 1 for first, last in ranges),
        "has_blob": fixture.store.has_blob(digest_of(WEIGHTS)),
    }


async def run(folder: Path) -> None:
    fixture = Fixture(folder)
    with served_registry() as registry:
        registry.add_model("me/big", {"model": WEIGHTS})
        filler = fill(folder, RESERVE_BYTES // 2)
        print(json.dumps(await attempt(fixture, registry)), flush=True)
        filler.unlink()
        await fixture.transfers.limit_transfers(SLOW_BYTES_PER_S)
        pulling = asyncio.create_task(attempt(fixture, registry))
        running = fixture.transfers._order
        await until(lambda: bool(running) and running[0].completed_bytes >= 2 * TUNING.download.part_bytes)
        filler = fill(folder, 0)
        await fixture.transfers.limit_transfers(0)
        print(json.dumps(await pulling), flush=True)
        filler.unlink()
        print(json.dumps(await attempt(fixture, registry)), flush=True)
    await fixture.transfers.aclose()


if __name__ == "__main__":
    asyncio.run(run(Path(sys.argv[1])))
