"""Loads the draft model of a model, or says why it is not used: the model answers without one, too."""

from __future__ import annotations

import ctypes
from typing import Final

import msgspec

from server.engine import native
from server.engine.context import Context, ContextParams
from server.engine.draft_model import MAX_BEHIND_TOKENS, DraftModel
from server.engine.failures import EngineFailure
from server.engine.inbox import Inbox
from server.engine.logs import LogSink
from server.engine.model import Model, load_model
from server.engine.threads import Threads
from server.types.generation import LoadParams, ModelPaths

N_BATCH: Final = 256
"""Tokens that a draft model reads at once; its buffers stay small."""

MAX_SIZE_DIFFERENCE: Final = 128
FIRST_COMPARED_TOKEN: Final = 5
"""Vocabularies are compared as SPEC_VOCAB_MAX_SIZE_DIFFERENCE and SPEC_VOCAB_CHECK_START_TOKEN_ID of
llama.cpp's common/speculative.cpp have it: makers pad them, and rename the first tokens."""

_PARTS_OF_OTHERS: Final = frozenset({"eagle3", "dflash", "gemma4-assistant"})
"""Architectures that read what another model computes, and are no models by themselves."""


class Drafting(msgspec.Struct, frozen=True):
    """A draft model, or why there is none: `refusal` is a sentence, "" where none was asked for.

    Attributes:
        buffer_bytes: what llama.cpp had allocated before it, as `LogSink.buffer_bytes`.
    """

    model: DraftModel | None = None
    refusal: str = ""
    buffer_bytes: dict[tuple[str, str], int] = {}

    def given_up(self, log: LogSink) -> Drafting:
        """The same once its model has failed, the memory of which is free again."""
        failure = self.model.failure if self.model is not None else ""
        log.buffer_bytes = dict(self.buffer_bytes)
        return Drafting(refusal=f"it has failed: {failure}")


def open_draft_model(
    path: str,
    model: Model,
    context: Context,
    params: LoadParams,
    *,
    n_ctx: int,
    threads: Threads,
    inbox: Inbox,
) -> Drafting:
    """The draft model in a file, "" for none.

    Args:
        model, context: what it guesses for.
        params: what these were made with.
        n_ctx: tokens of context of each slot.
    """
    if not path:
        return Drafting()
    log = context.log
    buffers = dict(log.buffer_bytes)
    try:
        draft = _loaded(path, model, params, inbox, log)
        draft_model = _with_context(draft, model, context, params, n_ctx, threads)
        return Drafting(draft_model, buffer_bytes=buffers)
    except (EngineFailure, MemoryError) as error:
        refusal = str(error) or "there is not enough memory for it"
        log.buffer_bytes = buffers
        log.write("warn", f"the draft model is not used: {refusal}")
        return Drafting(refusal=refusal)


class _Refused(EngineFailure):
    """A draft model that cannot guess for the model."""


def _loaded(path: str, model: Model, params: LoadParams, inbox: Inbox, log: LogSink) -> Model:
    """The weights, of a model that can guess for `model`. Raises: EngineFailure."""
    if model.is_recurrent:
        raise _Refused("the model's memory cannot forget guesses that do not come true")
    draft = load_model(ModelPaths(model=path), params, log, lambda fraction: not inbox.is_closing)
    if reason := unfit(model, draft):
        draft.close()
        raise _Refused(reason)
    return draft


def _with_context(
    draft: Model, model: Model, context: Context, params: LoadParams, n_ctx: int, threads: Threads
) -> DraftModel:
    """Raises: EngineFailure, and the weights are gone."""
    n_ctx = min(n_ctx, draft.n_ctx_train) if draft.n_ctx_train > 0 else n_ctx
    try:
        draft_context = Context(draft, _context_params(context, params, n_ctx), context.log)
    except EngineFailure:
        draft.close()
        raise
    n_ctx = min(n_ctx, draft_context.n_ctx)
    return DraftModel(draft, draft_context, model, n_slots=params.n_slots, n_ctx=n_ctx, threads=threads)


def _context_params(context: Context, params: LoadParams, n_ctx: int) -> ContextParams:
    """The same memory for each slot as the model has, as far as it can be used."""
    of_model = context.params
    n_batch = max(N_BATCH, params.n_slots * MAX_BEHIND_TOKENS)
    return msgspec.structs.replace(
        of_model,
        n_ctx=of_model.n_ctx if of_model.unified else n_ctx,
        n_seq_max=params.n_slots,
        n_batch=n_batch,
        n_ubatch=N_BATCH,
        n_outputs_max=params.n_slots,
        swa_full=True,
    )


def unfit(model: Model, draft: Model) -> str:
    """Why a model cannot guess for another one; "" when it can."""
    architecture = _architecture(draft)
    if architecture in _PARTS_OF_OTHERS:
        return (
            f"a draft model of the kind {architecture} reads the model's inner state, which is not supported"
        )
    n_heads = native.model_n_layer_nextn(draft.address)
    if n_heads and n_heads >= native.model_n_layer(draft.address):
        return "its file holds multi-token heads alone, which are not supported"
    if draft.has_encoder or not draft.has_decoder:
        return "it is no model that continues a text"
    if draft.is_recurrent:
        return "its memory cannot forget guesses that do not come true"
    return vocabulary_difference(model, draft)


def vocabulary_difference(model: Model, draft: Model) -> str:
    """How the vocabulary of a draft model differs from that of its model, as a sentence; "" when it fits.

    Every token is looked at: 0.1 s for 128,000 of them.
    """
    mine, other = model.vocab, draft.vocab
    if native.vocab_type(mine) != native.vocab_type(other):
        return "its vocabulary is of another kind"
    ends = (
        (native.vocab_get_add_bos, native.vocab_bos, "begins a text with another token"),
        (native.vocab_get_add_eos, native.vocab_eos, "ends a text with another token"),
    )
    for adds, marker, sentence in ends:
        if adds(mine) != adds(other) or (adds(mine) and marker(mine) != marker(other)):
            return f"it {sentence}"
    if abs(model.n_vocab - draft.n_vocab) > MAX_SIZE_DIFFERENCE:
        return f"its vocabulary has {draft.n_vocab} tokens and the model's {model.n_vocab}"
    for token in range(FIRST_COMPARED_TOKEN, min(model.n_vocab, draft.n_vocab)):
        if native.vocab_get_text(mine, token) != native.vocab_get_text(other, token):
            return f"token {token} of its vocabulary is another one"
    return ""


def _architecture(model: Model) -> str:
    text = ctypes.create_string_buffer(64)
    native.model_meta_val_str(model.address, b"general.architecture", text, len(text))
    return text.value.decode("utf-8", "replace")
