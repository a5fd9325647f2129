"""How a model is loaded: context, slots and the memory that they take."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import msgspec

from server.errors import BadModelFile
from server.gguf.memory_shape import MemoryShape, memory_shape
from server.gguf.metadata import GgufMetadata
from server.hardware.memory import GIB, default_context_length
from server.hardware.memory_plan import MemoryPlan, load_bytes, plan_memory
from server.hardware.ram import ram_now
from server.runners.pool import LoadTarget
from server.services.draft_plan import draft_buffer_bytes, with_draft_model
from server.settings import Settings
from server.storage.store import StoredModel
from server.types.generation import LoadParams, ModelPaths, StateCacheParams
from server.types.options import OptionValue

MIN_N_CTX = 4
MIN_VISION_N_CTX = 2048
DEFAULT_N_BATCH = 512
EMBEDDING_N_BATCH = 2048
MAX_THREADS = 512
"""ggml's GGML_MAX_N_THREADS; it ends the process when asked for more."""

HOST_CACHE_SHARE = 8
"""States of conversations take at most one part in so many of the host's memory, if nobody says how much."""

MAX_HOST_CACHE_BYTES = 8 * GIB


class LoadPlanner:
    """Turns options into `LoadParams`.

    What is chosen here depends on the model, its options and the machine's total memory, never on what
    happens to be free: the same request always means the same parameters, so that nothing reloads for a
    passing reason.
    """

    def __init__(
        self,
        settings: Settings,
        vram_bytes: Callable[[], int],
        total_bytes: Callable[[], int],
        host_bytes: Callable[[], int] = lambda: ram_now().total_bytes,
    ) -> None:
        self._settings = settings
        self._vram_bytes = vram_bytes
        self._total_bytes = total_bytes
        self._host_bytes = host_bytes

    async def plan(
        self, stored: StoredModel, options: Mapping[str, OptionValue], *, embedding: bool, vision: bool
    ) -> LoadTarget:
        """What to load for these options. Raises: BadModelFile."""
        return await asyncio.to_thread(self._plan, stored, options, embedding, vision)

    def _plan(
        self, stored: StoredModel, options: Mapping[str, OptionValue], embedding: bool, vision: bool
    ) -> LoadTarget:
        stored.check_files()
        metadata = stored.metadata()
        settings = self._settings
        default_n_ctx = settings.context_length or default_context_length(self._vram_bytes())
        n_ctx = context_length(
            _number(options, "num_ctx", default_n_ctx), n_ctx_train=metadata.context_length, vision=vision
        )
        n_batch = _number(options, "num_batch", EMBEDDING_N_BATCH if embedding else DEFAULT_N_BATCH)
        n_batch = max(1, min(n_batch, n_ctx) if embedding else n_batch)
        extras = stored.adapter_paths if embedding else (*stored.projector_paths[:1], *stored.adapter_paths)
        draft = None if embedding else self._draft_shape(stored)
        shape, memory = self._memory(
            metadata,
            draft,
            extra_bytes=sum(path.stat().st_size for path in extras),
            n_ctx=n_ctx,
            n_batch=n_batch,
            embedding=embedding,
        )
        params = LoadParams(
            n_ctx=n_ctx,
            n_slots=memory.n_slots,
            n_pool_cells=memory.n_pool_cells,
            n_side_cells=memory.n_side_cells,
            n_checkpoints=memory.n_checkpoints,
            swa_full=memory.swa_full,
            n_batch=n_batch,
            n_gpu_layers=_number(options, "num_gpu", -1),
            main_gpu=_number(options, "main_gpu", 0),
            use_mmap=None if "use_mmap" not in options else bool(options["use_mmap"]),
            n_threads=min(_number(options, "num_thread", 0), MAX_THREADS),
            kv_cache_type=settings.kv_cache_type,
            flash_attention=settings.flash_attention,
            embedding=embedding,
            state_cache=StateCacheParams() if embedding else self._state_cache(stored),
        )
        return LoadTarget(
            name=stored.name.display(),
            digest=stored.digest,
            details=stored.details(),
            paths=ModelPaths(
                model=str(stored.model_path),
                draft="" if embedding or stored.draft_path is None else str(stored.draft_path),
                projector=str(stored.projector_paths[0]) if stored.projector_paths else "",
                adapters=tuple(str(path) for path in stored.adapter_paths),
            ),
            params=params,
            needed_bytes=load_bytes(
                shape, memory, n_ctx=n_ctx, n_batch=n_batch, flash_attention=settings.flash_attention
            )
            + (
                draft_buffer_bytes(draft, memory, n_ctx=n_ctx, flash_attention=settings.flash_attention)
                if draft is not None
                else 0
            ),
        )

    def _draft_shape(self, stored: StoredModel) -> MemoryShape | None:
        """Of the draft model, None without one. What cannot be read is refused where it is loaded."""
        if stored.draft_path is None:
            return None
        try:
            return memory_shape(stored.headers.get(stored.draft_path), self._settings.kv_cache_type)
        except BadModelFile:
            return None

    def _memory(
        self,
        metadata: GgufMetadata,
        draft: MemoryShape | None,
        *,
        extra_bytes: int,
        n_ctx: int,
        n_batch: int,
        embedding: bool,
    ) -> tuple[MemoryShape, MemoryPlan]:
        """What a context of the model costs, and how many of them it gets.

        `extra_bytes`: files that are loaded beside the model's: its projector and adapters.
        """
        shape = memory_shape(metadata, self._settings.kv_cache_type)
        shape = msgspec.structs.replace(shape, weights_bytes=shape.weights_bytes + extra_bytes)
        if embedding:  # one input after the other, without a row of logits
            return msgspec.structs.replace(shape, n_vocab=0), MemoryPlan(n_slots=1)
        if draft is not None and not shape.is_recurrent:
            shape = with_draft_model(shape, draft)
        plan = plan_memory(
            shape,
            n_ctx=n_ctx,
            n_batch=n_batch,
            room_bytes=self._total_bytes() - shape.weights_bytes,
            on_gpu=self._vram_bytes() > 0,
            n_asked=self._settings.num_parallel,
        )
        return shape, plan

    def _state_cache(self, stored: StoredModel) -> StateCacheParams:
        settings = self._settings
        host_bytes = settings.kv_host_bytes
        if host_bytes is None:
            host_bytes = min(self._host_bytes() // HOST_CACHE_SHARE, MAX_HOST_CACHE_BYTES)
        # The files of the store are named by their digests.
        files = (stored.model_path, *stored.projector_paths, *stored.adapter_paths)
        return StateCacheParams(
            host_bytes=host_bytes,
            disk_bytes=settings.kv_disk_bytes if settings.cache_dir is not None else 0,
            disk_folder=str(settings.cache_dir / "kv") if settings.cache_dir is not None else "",
            model_key=" ".join(path.name for path in files),
        )


def _number(options: Mapping[str, OptionValue], name: str, default: int) -> int:
    """An integer option; `parse_options` has made sure of its type."""
    value = options.get(name, default)
    return value if isinstance(value, int) else default


def context_length(asked: int, *, n_ctx_train: int, vision: bool) -> int:
    """Tokens of context per slot: what is asked for, at least Ollama's floor, at most what was trained."""
    n_ctx = max(asked, MIN_VISION_N_CTX if vision else MIN_N_CTX)
    return min(n_ctx, n_ctx_train) if n_ctx_train else n_ctx
