"""Keeping the store clean: `UpkeepService` in this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from server.services.stepping import stepped
from server.storage.check import check_store
from server.storage.store import ModelStore
from server.types.upkeep import CheckProgress, GarbageReport


class Upkeep:
    """Collects garbage and checks the store."""

    def __init__(self, store: ModelStore) -> None:
        self._store = store

    async def collect_garbage(self, age_s: float | None = None, *, dry_run: bool = False) -> GarbageReport:
        """Remove what no model needs, or tell what would be removed. Raises: StoreError."""
        return await asyncio.to_thread(self._store.collect_garbage, age_s, dry_run=dry_run)

    async def check(self, *, quick: bool = False) -> AsyncGenerator[CheckProgress, None]:
        """Check every manifest and blob; `quick` does not read the blobs' bytes."""
        async with aclosing(stepped(check_store(self._store.paths, quick=quick))) as steps:
            async for progress in steps:
                yield progress
