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
from server.engine.embed_runner import EmbedRunner
from server.engine.embedder import Embedder
from server.engine.inbox import Inbox
from server.engine.logs import LogSink
from server.engine.model import Model
from server.types.generation import LoadParams

CPU_BATCH_TOKENS: Final = 63
"""Tokens that inputs share a batch of on a processor, so that each has exactly the result it has alone.

llama.cpp's flash attention takes 64 rows and more by tiles of all tokens of the batch, fewer row by row over
the tokens of the row's own sequence. Only the latter gives the same, to the last bit, whatever else is in the
batch; and since activations are rounded to eight bits between the layers, a difference in the last bit
becomes one of up to 5e-4 (cosine). A longer input has a batch of its own. On two cores batches of 128 tokens
are a tenth faster, of 256 not.
"""

CPU_SPLIT_TOKENS: Final = 256
GPU_SPLIT_TOKENS: Final = 1024
"""Parts of a long input, for models that can take it in parts."""

GPU_BATCH_TOKENS: Final = 4096

_OUTPUT_BYTES: Final = 1024 * 1024 * 1024
"""llama.cpp reserves room for the logits of each token of a batch, though an embedding has none."""

_CPU_SEQUENCES: Final = 64
_GPU_SEQUENCES: Final = 256
_RECURRENT_SEQUENCES: Final = 8
"""Sequences of a context; a recurrent model has memory for each."""


class EmbeddingPlan(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes of an embedder.

    Attributes:
        n_batch_tokens: tokens that inputs share a batch of.
        n_split_tokens: parts of longer inputs; None: each comes as a whole.
        n_cells: tokens that the memory holds: a batch, and the input beside it that is split.
        n_ubatch: tokens that llama.cpp takes at once; a multiple of `n_sequences`, without which it asserts.
        n_sequences: of the context.
    """

    n_batch_tokens: int
    n_split_tokens: int | None
    n_cells: int
    n_ubatch: int
    n_sequences: int


def plan_embedding(
    *, n_ctx: int, n_vocab: int, on_gpu: bool, is_recurrent: bool, splits: bool
) -> EmbeddingPlan:
    """Sizes for a model on a processor or a device."""
    n_sequences = _GPU_SEQUENCES if on_gpu else _CPU_SEQUENCES
    if is_recurrent:
        n_sequences = _RECURRENT_SEQUENCES
    n_batch = min(GPU_BATCH_TOKENS, _OUTPUT_BYTES // (4 * n_vocab)) if on_gpu else CPU_BATCH_TOKENS
    n_split = (GPU_SPLIT_TOKENS if on_gpu else CPU_SPLIT_TOKENS) if splits else None
    n_ubatch = max(n_batch, n_split or n_ctx)
    n_ubatch += -n_ubatch % n_sequences
    return EmbeddingPlan(
        n_batch_tokens=n_batch,
        n_split_tokens=n_split,
        n_cells=n_ubatch + (n_ctx if splits else 0),
        n_ubatch=n_ubatch,
        n_sequences=n_sequences,
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
    context = Context(model, _context_params(params, plan, pooling, n_threads), log)
    if splits and not (context.has_memory and context.is_causal):
        # Its tokens see those behind them, so an input has to come as a whole.
        context.close()
        log.forget_buffers("KV", "RS", "compute")
        plan = _plan(model, n_ctx, on_gpu=on_gpu, splits=False)
        context = Context(model, _context_params(params, plan, pooling, n_threads), log)

    def open_second() -> Context:
        return Context(model, _context_params(params, plan, pooling, n_threads), log)

    # A split input needs the one memory that has its beginning, so only encoders have a second context.
    pays = not on_gpu and plan.n_split_tokens is None and not context.has_memory
    runner = EmbedRunner(context, inbox, n_threads=n_threads, open_second=open_second if pays else None)
    embedder = Embedder(
        runner,
        InputReader(model, n_ctx),
        n_batch_tokens=plan.n_batch_tokens,
        n_split_tokens=plan.n_split_tokens,
    )
    return embedder, context


def _plan(model: Model, n_ctx: int, *, on_gpu: bool, splits: bool) -> EmbeddingPlan:
    return plan_embedding(
        n_ctx=n_ctx,
        n_vocab=model.n_vocab,
        on_gpu=on_gpu,
        is_recurrent=model.is_recurrent,
        splits=splits,
    )


def _context_params(params: LoadParams, plan: EmbeddingPlan, pooling: int, n_threads: int) -> ContextParams:
    return ContextParams(
        n_ctx=plan.n_cells,
        n_seq_max=plan.n_sequences,
        n_batch=plan.n_ubatch,
        n_ubatch=plan.n_ubatch,
        n_outputs_max=0,
        n_threads=n_threads,
        kv_type=params.kv_cache_type,
        flash_attention=params.flash_attention,
        embeddings=True,
        pooling=POOLING_MEAN if pooling == POOLING_NONE else pooling,
        unified=True,
    )


def pooling_of(model: Model) -> int:
    """llama_pooling_type of a model; POOLING_NONE when its file names none."""
    value = _meta(model, "pooling_type")
    return int(value) if value.isdecimal() else POOLING_NONE


def _meta(model: Model, key: str) -> str:
    """A value of the model's file, "" for none; the key is below the architecture's name."""
    return _value(model, f"{_value(model, 'general.architecture')}.{key}")


def _value(model: Model, key: str) -> str:
    buffer = ctypes.create_string_buffer(256)
    n = native.model_meta_val_str(model.address, key.encode(), buffer, len(buffer))
    return buffer.value.decode("utf-8", "replace") if n >= 0 else ""
