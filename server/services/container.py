"""Puts the services together. The only place that knows every part."""

from __future__ import annotations

import asyncio
from functools import cache

from server.backends.circuit import CrashCircuits
from server.backends.llamacpp import LlamaCppBackend
from server.backends.spare import SpareWorker
from server.errors import StoreError
from server.hardware.devices import DeviceSampler
from server.hardware.memory import free_memory, total_memory
from server.hardware.ram import resident_bytes, total_ram
from server.log import Level, LogRing, install
from server.runners.pool import RunnerPool
from server.services.history import HistoryKeeper
from server.services.inference import Inference
from server.services.load_plan import LoadPlanner
from server.services.models import Models
from server.services.protocols import (
    InferenceService,
    ModelService,
    ResponseArchive,
    StatusService,
    TransferService,
    UpkeepService,
)
from server.services.requests import RequestLog
from server.services.resolve import Resolver
from server.services.responses import Responses
from server.services.status import Status
from server.services.transfers import Transfers
from server.services.upkeep import Upkeep
from server.settings import Settings
from server.storage.response_store import ResponseStore
from server.storage.store import ModelStore

CLOSE_GRACE_S = 1.0


class ServerServices:
    """All services of a server in this process; lives on one event loop."""

    def __init__(self, settings: Settings, ring: LogRing) -> None:
        self.settings = settings
        self.ring = ring
        self._log = install(ring, settings.debug)
        self._requests = RequestLog(record_prompts=settings.record_prompts)
        self._devices = DeviceSampler(disk=settings.models_dir)
        self._spare = SpareWorker()
        self._circuits = CrashCircuits()
        self._store = ModelStore(
            settings.models_dir, prefer_go=settings.go_template, noprune=settings.noprune
        )
        self._pool = RunnerPool(
            new_backend=self._new_backend,
            max_loaded=settings.max_loaded_models,
            max_queue=settings.max_queue,
            default_keep_alive_s=settings.keep_alive_s,
            load_timeout_s=settings.load_timeout_s,
            free_bytes=free_memory,
            resident_bytes=resident_bytes,
            n_gpus=self._devices.n_gpus,
            on_unload=self._circuits.forget,
        )
        self._transfers = Transfers(self._store, settings, self._retire)
        models = Models(
            self._store,
            on_removed=self._retire,
            pull=self._transfers.pull,
            kv_cache_type=settings.kv_cache_type,
        )
        # Of the whole machine, and read from a score of files: once is enough.
        planner = LoadPlanner(settings, self._devices.vram_bytes, cache(total_memory), cache(total_ram))
        resolver = Resolver(self._store, settings, planner, models.install_bundled)
        self._models = models
        self._upkeep = Upkeep(self._store)
        self._inference = Inference(resolver, self._pool, self._requests)
        self._responses = Responses(ResponseStore(settings.olla_dir / "responses.sqlite"))
        self._history = HistoryKeeper(
            self._devices, self._requests, lambda: sum(model.tokens_per_s for model in self._pool.running())
        )
        self._status = Status(
            pool=self._pool,
            requests=self._requests,
            ring=ring,
            devices=self._devices,
            host=settings.base_url,
            history=self._history,
        )

    @property
    def responses(self) -> ResponseArchive:
        """Responses that are kept for later ones to follow."""
        return self._responses

    @property
    def inference(self) -> InferenceService:
        """Answers, completions and embeddings."""
        return self._inference

    @property
    def models(self) -> ModelService:
        """The models in the store."""
        return self._models

    @property
    def status(self) -> StatusService:
        """What runs, and the switches for it."""
        return self._status

    @property
    def upkeep(self) -> UpkeepService:
        """Keeping the store clean and whole."""
        return self._upkeep

    @property
    def transfers(self) -> TransferService:
        """Pulls and pushes."""
        return self._transfers

    async def start(self) -> None:
        """Make a store that does not exist yet, with the bundled models in it, and say what was set wrong.

        A worker for the first load is there a little later.
        """
        for warning in self.settings.warnings:
            self._log.warning(warning)
        self._history.start()
        await self._prune()
        if await asyncio.to_thread(self._store.is_new):
            for bundled in await self._models.bundled():
                await self._models.install_bundled(bundled.name)
        self._spare.begin()

    async def aclose(self) -> None:
        """End every request and every worker."""
        await self._history.close()
        self._requests.cancel_all()
        await self._transfers.aclose()
        await self._pool.close()
        await self._spare.close()
        self._devices.close()

    async def _prune(self) -> None:
        """Remove blobs that no model needs, before anybody can upload one."""
        try:
            n_removed = await asyncio.to_thread(self._store.prune)
        except StoreError as error:
            # A store that others write to can be read all the same.
            self._log.info("blobs that no model needs are left alone: %s", error)
            return
        if n_removed:
            self._log.info("blobs removed that no model needs: %d", n_removed)

    def _new_backend(self, name: str) -> LlamaCppBackend:
        def on_log(level: Level, text: str) -> None:
            self.ring.add(level, f"engine {name}", text)

        return LlamaCppBackend(name, on_log=on_log, spare=self._spare, circuits=self._circuits)

    async def _retire(self, name: str) -> None:
        await self._pool.unload(name)


def build_services(settings: Settings, ring: LogRing | None = None) -> ServerServices:
    """The services for these settings; `start` must be awaited on their loop before the first request."""
    return ServerServices(settings, ring or LogRing())
