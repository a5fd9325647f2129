"""From a `Load` message to a model that answers."""

from __future__ import annotations

from typing import Final

import msgspec

from server.engine.context import Context, ContextParams
from server.engine.devices import gpu_names, list_devices
from server.engine.draft import MAX_DRAFT_TOKENS
from server.engine.draft_loading import Drafting, open_draft_model
from server.engine.embed_loading import open_embedder
from server.engine.embedder import Embedder
from server.engine.failures import LoadRefused, NoMemory
from server.engine.generator import Generator
from server.engine.inbox import Inbox
from server.engine.load_retry import smaller_load
from server.engine.logs import LogSink
from server.engine.media_intake import MediaIntake
from server.engine.model import Model
from server.engine.pace import Pace
from server.engine.placement import device_parts
from server.engine.projector import Projector
from server.engine.sharing_context import SharingContext
from server.engine.threads import Threads, n_compute_threads
from server.engine.tiles import has_tiles
from server.ipc.messages import Loaded
from server.types.generation import LoadParams

MAX_SLOTS: Final = 256
"""LLAMA_MAX_SEQ of llama.cpp."""

MIN_WHOLE_BATCH: Final = 1152
"""Tokens of a batch where a picture has to be decoded at once: Gemma 4 makes up to 1,120 of one."""


class Engine(msgspec.Struct, frozen=True):
    """A loaded model with what answers for it; exactly one of `generator` and `embedder` is there.

    Attributes:
        media: takes requests with pictures and sounds, where the model has a projector.
    """

    model: Model
    context: Context
    generator: Generator | None
    embedder: Embedder | None
    loaded: Loaded
    media: MediaIntake | None = None
    projector: Projector | None = None
    drafting: Drafting = Drafting()

    @property
    def has_lost_draft_model(self) -> bool:
        """Whether its draft model has failed, of which `loaded` does not tell yet."""
        return self.drafting.model is not None and bool(self.drafting.model.failure)

    def without_draft_model(self) -> Engine:
        """The same once its draft model has failed."""
        drafting = self.drafting.given_up(self.context.log)
        loaded = _loaded(
            self.model,
            self.context,
            drafting,
            n_ctx=self.loaded.n_ctx,
            n_slots=self.loaded.n_slots,
            n_threads=self.loaded.n_threads,
        )
        return msgspec.structs.replace(self, drafting=drafting, loaded=loaded)

    def close(self) -> None:
        """Free the memory."""
        if self.media is not None:
            self.media.close()
        if self.projector is not None:
            self.projector.close()
        if self.embedder is not None:
            self.embedder.close()
        if self.drafting.model is not None:
            self.drafting.model.close()
        self.context.close()
        self.model.close()


def open_engine(
    model: Model, params: LoadParams, inbox: Inbox, log: LogSink, *, projector: str = "", draft: str = ""
) -> Engine:
    """Make the context. `projector`, `draft`: files of these, "" without.

    Raises: LoadRefused, NoMemory, BadModel. A draft model that cannot be used is none of these.
    """
    if params.n_ctx < 1 or params.n_slots < 1 or params.n_batch < 1:
        raise LoadRefused("a model needs at least one token of context, one slot and a batch of one token")
    if params.n_slots > MAX_SLOTS:
        raise LoadRefused(f"a model has at most {MAX_SLOTS} slots, not {params.n_slots}")
    n_threads = params.n_threads if params.n_threads > 0 else n_compute_threads()
    n_ctx = min(params.n_ctx, model.n_ctx_train) if model.n_ctx_train > 0 else params.n_ctx
    on_gpu = params.n_gpu_layers != 0 and bool(gpu_names())
    generator: Generator | None = None
    embedder: Embedder | None = None
    eyes: Projector | None = None
    drafting = Drafting()
    if projector and not params.embedding:
        eyes = Projector(projector, model, n_threads=n_threads, on_gpu=on_gpu, log=log)
        params = _with_room_for_pictures(params, eyes)
    if params.embedding:
        embedder, context = open_embedder(
            model, params, n_ctx=n_ctx, n_threads=n_threads, on_gpu=on_gpu, inbox=inbox, log=log
        )
        n_slots = 1
    else:
        if not model.has_decoder or model.has_encoder:
            raise LoadRefused("the model has an encoder of its own, which is not supported for generation")
        context, params = _fitting_context(model, params, n_ctx, n_threads, log)
        if not context.has_memory:
            context.close()
            raise LoadRefused("the model only embeds texts and cannot generate")
        n_ctx = min(n_ctx, context.n_ctx)
        pace = Pace.guess(model.n_params, n_threads, on_gpu=on_gpu)
        # A number that was asked for is kept, and with a GPU the processor's threads hardly count.
        threads = Threads(n_threads, is_fixed=params.n_threads > 0 or on_gpu)
        drafting = open_draft_model(draft, model, context, params, n_ctx=n_ctx, threads=threads, inbox=inbox)
        generator = Generator(
            model,
            context,
            n_slots=params.n_slots,
            n_ctx=n_ctx,
            pace=pace,
            inbox=inbox,
            threads=threads,
            state_cache=params.state_cache,
            in_tiles=has_tiles(
                on_gpu=on_gpu,
                flash_attention=context.params.flash_attention,
                kv_type=context.params.kv_type,
            ),
            draft_model=drafting.model,
        )
        n_slots = params.n_slots
    loaded = _loaded(model, context, drafting, n_ctx=n_ctx, n_slots=n_slots, n_threads=n_threads)
    media = MediaIntake(eyes, inbox.tell) if eyes is not None else None
    return Engine(model, context, generator, embedder, loaded, media, eyes, drafting)


def _loaded(
    model: Model, context: Context, drafting: Drafting, *, n_ctx: int, n_slots: int, n_threads: int
) -> Loaded:
    log = context.log
    parts = device_parts(list_devices(), model.layer_devices, log.buffer_bytes)
    draft_bytes = drafting.model.model.weights_bytes if drafting.model is not None else 0
    return Loaded(
        n_ctx=n_ctx,
        n_ctx_train=model.n_ctx_train,
        n_slots=n_slots,
        n_vocab=model.n_vocab,
        n_embd=model.n_embd,
        n_threads=n_threads,
        can_shift=context.can_shift,
        weights_bytes=model.weights_bytes + draft_bytes,
        kv_bytes=log.total_bytes("KV", "RS"),
        compute_bytes=log.total_bytes("compute"),
        vram_bytes=sum(part.n_bytes for part in parts if part.is_gpu),
        bos_text=model.bos_text,
        eos_text=model.eos_text,
        has_draft_model=drafting.model is not None,
        draft_refusal=drafting.refusal,
        device_parts=parts,
    )


def _with_room_for_pictures(params: LoadParams, eyes: Projector) -> LoadParams:
    n_batch = max(params.n_batch, MIN_WHOLE_BATCH if eyes.needs_whole else 0)
    return msgspec.structs.replace(params, n_batch=n_batch)


def _fitting_context(
    model: Model, params: LoadParams, n_ctx: int, n_threads: int, log: LogSink
) -> tuple[Context, LoadParams]:
    """The context, as asked for or with less where the memory does not suffice, and what it was made with.

    Raises: NoMemory when not even the least fits, LoadRefused.
    """
    while True:
        try:
            return _generation_context(model, params, n_ctx, n_threads, log), params
        except NoMemory as error:
            smaller = smaller_load(params, n_ctx=n_ctx)
            if smaller is None:
                raise
            params = smaller
            log.write(
                "warn",
                f"{error.message}; trying with {params.n_slots} slots and batches of {params.n_batch} tokens",
            )
            log.forget_buffers("KV", "RS", "compute")


def _generation_context(
    model: Model, params: LoadParams, n_ctx: int, n_threads: int, log: LogSink
) -> Context:
    n_checkpoints = min(params.n_checkpoints, MAX_SLOTS - params.n_slots) if model.is_recurrent else 0
    n_sequences = params.n_slots + n_checkpoints
    n_batch = max(params.n_batch, n_sequences)
    # A checkpoint of a hybrid model shares the cells of its slot, which it can in a pool only.
    is_pool = 0 < params.n_pool_cells and (n_checkpoints > 0 or params.n_pool_cells < params.n_slots * n_ctx)
    context_params = ContextParams(
        n_ctx=max(params.n_pool_cells, n_ctx) if is_pool else n_ctx,
        n_seq_max=n_sequences,
        n_batch=n_batch,
        n_ubatch=n_batch,
        n_outputs_max=min(max(params.n_slots + MAX_DRAFT_TOKENS, n_sequences), n_batch),
        unified=is_pool,
        swa_full=params.swa_full,
        n_threads=n_threads,
        kv_type=params.kv_cache_type,
        flash_attention=params.flash_attention,
    )
    if params.n_side_cells and not is_pool and _can_share_beginnings(model, params):
        return SharingContext(model, context_params, log, n_side_cells=params.n_side_cells)
    return Context(model, context_params, log)


def _can_share_beginnings(model: Model, params: LoadParams) -> bool:
    """Whether states are whole, can be cut and are of tokens alone, and attention has tiles."""
    is_plain = not (model.is_recurrent or model.n_swa or model.on_plane)
    return is_plain and has_tiles(
        on_gpu=params.n_gpu_layers != 0 and bool(gpu_names()),
        flash_attention=params.flash_attention,
        kv_type=params.kv_cache_type,
    )
