"""A service of transfers over a store of its own, quick and with small parts."""

from __future__ import annotations

from contextlib import aclosing
from pathlib import Path
from typing import Any

from server.registry.connections import Timeouts
from server.registry.download import Policy
from server.registry.upload import UploadPolicy
from server.services.transfers import Transfers, TransferTuning
from server.settings import Settings
from server.storage.store import ModelStore
from server.types.transfers import TransferInfo, TransferProgress, TransferRequest
from tests.support.stores import Recorder

TUNING = TransferTuning(
    download=Policy(part_bytes=16_384, n_streams=3, backoff_s=0.001, progress_bytes=512, journal_bytes=4096),
    upload=UploadPolicy(part_bytes=50_000, backoff_s=0.001),
    timeouts=Timeouts(5.0, 10.0),
    max_running=1,
)


class Fixture:
    """A service over a store of its own."""

    def __init__(self, folder: Path, **changed: Any) -> None:
        self.settings = Settings(
            models_dir=folder / "models",
            olla_dir=folder,
            config_file=folder / "config.toml",
            key_file=folder / "id_ed25519",
            **changed,
        )
        self.store = ModelStore(self.settings.models_dir, noprune=self.settings.noprune)
        self.retired = Recorder()
        self.transfers = Transfers(self.store, self.settings, self.retired, tuning=TUNING)

    async def pull(self, model: str, **fields: Any) -> list[TransferProgress]:
        request = TransferRequest(model=model, insecure=True, **fields)
        async with aclosing(self.transfers.pull(request)) as lines:
            return [line async for line in lines]

    async def push(self, model: str) -> list[TransferProgress]:
        async with aclosing(self.transfers.push(TransferRequest(model=model, insecure=True))) as lines:
            return [line async for line in lines]

    async def only(self) -> TransferInfo:
        (transfer,) = (await self.transfers.transfers()).transfers
        return transfer
