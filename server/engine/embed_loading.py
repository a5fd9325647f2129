"""From a loaded model to one that embeds or ranks."""

from __future__ import annotations

import ctypes
from typing import Final

import msgspec

from server.engine import native
from server.engine.context import (
    POOLING_LAST,
    POOLING_MEAN,
    POOLING_NONE,
    POOLING_RANK,
    Context,
    ContextParams,
)
from server.engine.embed_inputs import InputReader
from server.engine.embed_runner import SHORT_TOKENS, EmbedRunner
from server.engine.embedder import Embedder
from server.engine.inbox import Inbox
from server.engine.logs import LogSink
from server.engine.model import Model
from server.types.generation import LoadParams

CPU_BATCH_TOKENS: Final = 256
"""Attention runs over the whole batch, so larger ones lose on a processor; 128 to 256 measured best."""

GPU_BATCH_TOKENS: Final = 4096

_CPU_OUTPUT_BYTES: Final = 128 * 1024 * 1024
_GPU_OUTPUT_BYTES: Final = 1024 * 1024 * 1024
"""llama.cpp reserves room for the logits of each token of a batch, though an embedding has none."""

_CPU_SEQUENCES: Final = 64
_GPU_SEQUENCES: Final = 256
_RECURRENT_SEQUENCES: Final = 8
_LONG_SEQUENCES: Final = 4
"""Sequences of a context; a recurrent model has memory for each."""

_QUANTIZED_KV: Final = ("q4_0", "q4_1", "q5_0", "q5_1", "q8_0")


class EmbeddingPlan(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes of an embedder.

    Attributes:
        align: see `server.engine.embed_runner`; 1 on a device that needs none.
        n_batch_tokens: tokens of one batch, a multiple of `align`.
        n_ubatch: tokens that llama.cpp takes at once; a multiple of `n_sequences`, without which it asserts.
        n_sequences: of the context.
        splits: longer inputs come in several batches.
    """

    n_ctx: int
    align: int
    n_batch_tokens: int
    n_ubatch: int
    n_sequences: int
    splits: bool


def plan_embedding(
    *,
    n_ctx: int,
    n_vocab: int,
    on_gpu: bool,
    align: int,
    is_recurrent: bool,
    splits: bool,
) -> EmbeddingPlan:
    """Sizes for a model on a processor or a device. `align`: of the processor."""
    align = 1 if on_gpu or is_recurrent else align
    most = GPU_BATCH_TOKENS if on_gpu else CPU_BATCH_TOKENS
    n_batch = min(most, max(64, (_GPU_OUTPUT_BYTES if on_gpu else _CPU_OUTPUT_BYTES) // (4 * n_vocab)))
    n_batch -= n_batch % 16
    if splits:
        n_ubatch = n_batch
    elif on_gpu:
        n_ubatch = max(n_batch, n_ctx)
    else:
        n_ubatch = max(n_batch, min(n_ctx, SHORT_TOKENS))
    n_sequences = _GPU_SEQUENCES if on_gpu else _CPU_SEQUENCES
    n_sequences = _RECURRENT_SEQUENCES if is_recurrent else n_sequences
    return EmbeddingPlan(
        n_ctx=n_ctx,
        align=align,
        n_batch_tokens=n_batch,
        n_ubatch=_multiple(n_ubatch, n_sequences),
        n_sequences=n_sequences,
        splits=splits,
    )


def open_embedder(
    model: Model,
    params: LoadParams,
    *,
    n_ctx: int,
    n_threads: int,
    on_gpu: bool,
    inbox: Inbox,
    log: LogSink,
) -> tuple[Embedder, Context]:
    """The embedder of a model, and its context. Raises: LoadRefused, NoMemory."""
    pooling = pooling_of(model)
    splits = pooling in (POOLING_LAST, POOLING_RANK) and _meta(model, "attention.causal") != "false"
    plan = _plan(model, n_ctx, on_gpu=on_gpu, splits=splits)
    short = _context_params(params, plan, pooling, n_threads, on_gpu=on_gpu)
    context = Context(model, short, log)
    if splits and not (context.has_memory and context.is_causal):
        # Its tokens see those behind them, so an input has to come as a whole.
        context.close()
        log.forget_buffers("KV", "RS", "compute")
        plan = _plan(model, n_ctx, on_gpu=on_gpu, splits=False)
        short = _context_params(params, plan, pooling, n_threads, on_gpu=on_gpu)
        context = Context(model, short, log)

    def open_long() -> Context:
        n = _multiple(n_ctx, _LONG_SEQUENCES)
        sizes = {"n_ctx": n, "n_batch": n, "n_ubatch": n, "n_seq_max": _LONG_SEQUENCES}
        return Context(
            model, msgspec.structs.replace(short, flash_attention=params.flash_attention, **sizes), log
        )

    runner = EmbedRunner(
        context,
        inbox,
        align=plan.align,
        can_split=plan.splits,
        open_long=open_long if n_ctx > context.n_batch and not plan.splits else None,
    )
    return Embedder(runner, InputReader(model, n_ctx), n_batch_tokens=plan.n_batch_tokens), context


def _plan(model: Model, n_ctx: int, *, on_gpu: bool, splits: bool) -> EmbeddingPlan:
    return plan_embedding(
        n_ctx=n_ctx,
        n_vocab=model.n_vocab,
        on_gpu=on_gpu,
        align=vector_floats(),
        is_recurrent=model.is_recurrent,
        splits=splits,
    )


def _context_params(
    params: LoadParams, plan: EmbeddingPlan, pooling: int, n_threads: int, *, on_gpu: bool
) -> ContextParams:
    return ContextParams(
        # The cells hold a batch, and the input beside it that is split.
        n_ctx=plan.n_ubatch + (plan.n_ctx if plan.splits else 0),
        n_seq_max=plan.n_sequences,
        n_batch=plan.n_ubatch,
        n_ubatch=plan.n_ubatch,
        n_outputs_max=0,
        n_threads=n_threads,
        kv_type=params.kv_cache_type,
        flash_attention=params.flash_attention if on_gpu or params.kv_cache_type in _QUANTIZED_KV else False,
        embeddings=True,
        pooling=POOLING_MEAN if pooling == POOLING_NONE else pooling,
        unified=True,
    )


def _multiple(n: int, of: int) -> int:
    """The next multiple."""
    return n + -n % of


def pooling_of(model: Model) -> int:
    """llama_pooling_type of a model; POOLING_NONE when its file names none."""
    value = _meta(model, "pooling_type")
    return int(value) if value.isdecimal() else POOLING_NONE


def vector_floats() -> int:
    """Numbers that the processor adds at once: 16 with AVX-512, else 8, of which smaller ones are parts."""
    return 16 if b"AVX512 = 1" in native.system_info() else 8


def _meta(model: Model, key: str) -> str:
    """A value of the model's file, "" for none; the key is below the architecture's name."""
    return _value(model, f"{_value(model, 'general.architecture')}.{key}")


def _value(model: Model, key: str) -> str:
    buffer = ctypes.create_string_buffer(256)
    n = native.model_meta_val_str(model.address, key.encode(), buffer, len(buffer))
    return buffer.value.decode("utf-8", "replace") if n >= 0 else ""
