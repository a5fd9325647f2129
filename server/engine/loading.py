"""From a `Load` message to a model that answers."""

from __future__ import annotations

from typing import Final

import msgspec

from server.engine.context import Context, ContextParams
from server.engine.devices import gpu_names
from server.engine.draft import MAX_DRAFT_TOKENS
from server.engine.embedder import CPU_BATCH_TOKENS, GPU_BATCH_TOKENS, Embedder
from server.engine.failures import LoadRefused
from server.engine.generator import Generator
from server.engine.inbox import Inbox
from server.engine.logs import LogSink
from server.engine.model import Model
from server.engine.pace import Pace
from server.engine.thread_choice import ThreadChoice
from server.engine.threads import n_compute_threads
from server.ipc.messages import Loaded
from server.types.generation import LoadParams

_POOLING_NONE, _POOLING_MEAN, _POOLING_RANK = 0, 1, 4  # llama_pooling_type

_N_EMBED_SEQUENCES: Final = 64
"""Inputs in one batch, at most."""

MAX_SLOTS: Final = 256
"""LLAMA_MAX_SEQ of llama.cpp."""


class Engine(msgspec.Struct, frozen=True):
    """A loaded model with what answers for it; exactly one of `generator` and `embedder` is there."""

    model: Model
    context: Context
    generator: Generator | None
    embedder: Embedder | None
    loaded: Loaded

    def close(self) -> None:
        """Free the memory."""
        self.context.close()
        self.model.close()


def open_engine(model: Model, params: LoadParams, inbox: Inbox, log: LogSink) -> Engine:
    """Make the context. Raises: LoadRefused, NoMemory."""
    if params.n_ctx < 1 or params.n_slots < 1 or params.n_batch < 1:
        raise LoadRefused("a model needs at least one token of context, one slot and a batch of one token")
    if params.n_slots > MAX_SLOTS:
        raise LoadRefused(f"a model has at most {MAX_SLOTS} slots, not {params.n_slots}")
    n_threads = params.n_threads if params.n_threads > 0 else n_compute_threads()
    n_ctx = min(params.n_ctx, model.n_ctx_train) if model.n_ctx_train > 0 else params.n_ctx
    gpus = gpu_names()
    on_gpu = params.n_gpu_layers != 0 and bool(gpus)
    generator: Generator | None = None
    embedder: Embedder | None = None
    if params.embedding:
        context = _embedding_context(model, params, n_ctx, n_threads, log)
        n_ctx = min(n_ctx, context.n_batch)
        n_batch_tokens = GPU_BATCH_TOKENS if on_gpu else CPU_BATCH_TOKENS
        embedder = Embedder(model, context, n_ctx=n_ctx, n_batch_tokens=min(n_batch_tokens, context.n_batch))
        n_slots = 1
    else:
        if not model.has_decoder or model.has_encoder:
            raise LoadRefused("the model has an encoder of its own, which is not supported for generation")
        context = _generation_context(model, params, n_ctx, n_threads, log)
        if not context.has_memory:
            context.close()
            raise LoadRefused("the model only embeds texts and cannot generate")
        n_ctx = min(n_ctx, context.n_ctx)
        pace = Pace.guess(model.n_params, n_threads, on_gpu=on_gpu)
        # A number that was asked for is kept, and with a GPU the processor's threads hardly count.
        threads = ThreadChoice(n_threads, is_fixed=params.n_threads > 0 or on_gpu)
        generator = Generator(model, context, n_ctx=n_ctx, pace=pace, inbox=inbox, threads=threads)
        n_slots = context.n_seq_max
    loaded = Loaded(
        n_ctx=n_ctx,
        n_ctx_train=model.n_ctx_train,
        n_slots=n_slots,
        n_vocab=model.n_vocab,
        n_embd=model.n_embd,
        n_threads=n_threads,
        can_shift=context.can_shift,
        weights_bytes=model.weights_bytes,
        kv_bytes=log.total_bytes("KV", "RS"),
        compute_bytes=log.total_bytes("compute"),
        vram_bytes=log.total_bytes("model", "KV", "RS", "compute", devices=gpus),
        bos_text=model.bos_text,
        eos_text=model.eos_text,
    )
    return Engine(model, context, generator, embedder, loaded)


def _generation_context(
    model: Model, params: LoadParams, n_ctx: int, n_threads: int, log: LogSink
) -> Context:
    n_batch = max(params.n_batch, params.n_slots)
    return Context(
        model,
        ContextParams(
            n_ctx=n_ctx,
            n_seq_max=params.n_slots,
            n_batch=n_batch,
            n_ubatch=n_batch,
            n_outputs_max=min(params.n_slots + MAX_DRAFT_TOKENS, n_batch),
            n_threads=n_threads,
            kv_type=params.kv_cache_type,
            flash_attention=params.flash_attention,
        ),
        log,
    )


def _embedding_context(model: Model, params: LoadParams, n_ctx: int, n_threads: int, log: LogSink) -> Context:
    """A context for whole inputs. A model that names no pooling gets the mean over its tokens."""
    context_params = ContextParams(
        n_ctx=n_ctx,
        n_seq_max=_N_EMBED_SEQUENCES,
        n_batch=max(n_ctx, _N_EMBED_SEQUENCES),
        n_ubatch=max(n_ctx, _N_EMBED_SEQUENCES),
        n_outputs_max=0,
        n_threads=n_threads,
        kv_type=params.kv_cache_type,
        flash_attention=params.flash_attention,
        embeddings=True,
        unified=True,
    )
    context = Context(model, context_params, log)
    if context.pooling == _POOLING_NONE:
        context.close()
        log.forget_buffers("KV", "RS", "compute")
        context = Context(model, msgspec.structs.replace(context_params, pooling=_POOLING_MEAN), log)
    if context.pooling == _POOLING_RANK:
        context.close()
        raise LoadRefused("the model ranks texts and has no embeddings")
    return context
