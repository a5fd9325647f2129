"""A llama.cpp context: the memory of the slots, the batch, decode, logits and vectors."""

from __future__ import annotations

import ctypes
import enum
import sys
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from server.engine import native
from server.engine.batch import Batch
from server.engine.embedding_batch import EmbeddingBatch
from server.engine.failures import DecodeFailed, InvalidBatch, LoadRefused, NoMemory
from server.engine.fresh_memory import unwritten
from server.engine.logs import LogSink
from server.engine.model import Model, load_failure

Rows = npt.NDArray[np.float32]
"""Logits or vectors, [n_rows, n_vocab or n_embd] float32."""

KV_TYPES: Final = {"f32": 0, "f16": 1, "q4_0": 2, "q4_1": 3, "q5_0": 6, "q5_1": 7, "q8_0": 8, "bf16": 30}
"""ggml_type of each kind of cache."""

_SHAREABLE: Final = ("f32", "f16", "bf16")

POOLING_NONE, POOLING_MEAN, POOLING_LAST, POOLING_RANK = 0, 1, 3, 4
"""llama_pooling_type."""


class Decoded(enum.Enum):
    """How a llama_decode ended that did not fail."""

    DONE = 0
    NO_ROOM = 1
    ABORTED = 2


class ContextParams(msgspec.Struct, frozen=True, kw_only=True):
    """How a context is made.

    Attributes:
        n_ctx: tokens of context per sequence, or in all where they share one pool.
        n_outputs_max: rows with logits in one batch; 0: every token of a batch may have one.
        flash_attention: None: where supported.
        pooling: llama_pooling_type, -1 as the model says.
        unified: the sequences share one pool of cells.
        swa_full: layers with a sliding window keep what has left it.
    """

    n_ctx: int
    n_seq_max: int
    n_batch: int
    n_ubatch: int
    n_outputs_max: int
    n_threads: int
    kv_type: str = "f16"
    flash_attention: bool | None = None
    embeddings: bool = False
    pooling: int = -1
    unified: bool = False
    swa_full: bool = True


class Context:
    """A context and its batch.

    Attributes:
        n_ctx: tokens per sequence as llama.cpp made it, which may be more than asked for.
        ranks: results are scores of pairs of texts instead of vectors.
        n_pooled: numbers in the result of a sequence.
        is_causal: a token sees those before it only.
        has_memory: tokens stay in memory between batches; an encoder keeps none.
        can_shift: a sequence's positions can be moved, so a full context can slide.
        can_copy: a sequence can be copied over another and then cut.
        restores_whole: the state of a sequence cannot be cut once it was put back.
        shares_beginnings: few tokens of each of several sequences that begin alike are decoded together.
        keeps_windows: some layers keep no more than their sliding window, so cuts must not reach behind it.
    """

    shares_beginnings = False

    def __init__(self, model: Model, params: ContextParams, log: LogSink) -> None:
        self.model = model
        self.params = params
        self.log = log
        self._address = _init_context(model, params, log)
        self.n_seq_max = native.n_seq_max(self._address)
        self.n_batch = native.n_batch(self._address)
        self.n_ubatch = native.n_ubatch(self._address)
        self.n_ctx = native.n_ctx_seq(self._address) if not params.unified else native.n_ctx(self._address)
        self.pooling = native.pooling_type(self._address)
        self.ranks = self.pooling == POOLING_RANK
        self.n_pooled = native.model_n_cls_out(model.address) if self.ranks else model.n_embd
        self.is_causal = native.get_causal_attn(self._address)
        self._memory = native.get_memory(self._address)
        self.has_memory = self._memory is not None
        self._streams = not params.unified
        self.needs_whole_input = params.embeddings and (model.has_encoder or self._memory is None)
        self.n_outputs_max = params.n_outputs_max or self.n_batch
        self.batch = self._new_batch()
        self._n_outputs = 0
        self._rows: Rows = np.empty((0, model.n_vocab), np.float32)  # as of the last logits, at an address
        self._rows_at = 0
        self._n_threads = params.n_threads
        self._unsettled: set[int] = set()  # sequences whose copy or shift llama.cpp has only queued
        self._has_shifts = False  # among these
        self._abort_flag = _install_abort_flag(self._address)
        self._apply_adapters()
        self.can_shift = self._probe_shift()
        self.can_copy = self._memory is not None and not model.is_recurrent
        self.keeps_windows = model.n_swa > 0 and not params.swa_full
        if self.keeps_windows and params.unified:
            self.can_copy = False  # cells that are shared stay, and the windows' cells soon run out
        # Of layers with a sliding window only the window is part of a state.
        self.restores_whole = model.is_recurrent or model.n_swa > 0

    # Memory.

    def remove(self, seq_id: int, start: int, end: int = -1) -> bool:
        """Forget positions start..end of a sequence (end -1: to its end). False: this memory cannot."""
        self._check_seq(seq_id)
        return self._memory is None or native.memory_seq_rm(self._memory, seq_id, start, end)

    def copy_sequence(self, source: int, target: int, *, n_tokens: int = -1) -> None:
        """Copy a whole sequence over another.

        Raises: InvalidBatch for a part of a sequence, which llama.cpp would end the process over.
        """
        self._check_seq(source)
        self._check_seq(target)
        if self._streams and n_tokens >= 0:
            raise InvalidBatch("a part of a sequence cannot be copied to another stream")
        if self._memory is not None and source != target:
            if not self._streams:
                native.memory_seq_rm(self._memory, target, -1, -1)
            end = -1 if n_tokens < 0 else n_tokens
            native.memory_seq_cp(self._memory, source, target, -1 if end < 0 else 0, end)
            if self._streams and not self.model.is_recurrent:
                self._unsettled |= {source, target}

    def shift(self, seq_id: int, start: int, n_tokens: int) -> bool:
        """Drop `n_tokens` positions from `start` on and move the rest down. False: nothing changed."""
        if not self.can_shift or self._memory is None or not self.remove(seq_id, start, start + n_tokens):
            return False
        native.memory_seq_add(self._memory, seq_id, start + n_tokens, -1, -n_tokens)
        self._unsettled.add(seq_id)
        self._has_shifts = True
        return True

    def n_cached(self, seq_id: int) -> int:
        """Positions of a sequence that are in memory."""
        self._check_seq(seq_id)
        return 0 if self._memory is None else native.memory_seq_pos_max(self._memory, seq_id) + 1

    def n_fixed(self, seq_id: int) -> int:
        """Tokens at the start of a sequence that cannot be cut into: a cut needs the window before it."""
        first = 0 if self._memory is None else native.memory_seq_pos_min(self._memory, seq_id)
        return first + self.model.n_swa if first > 0 else 0

    def clear(self, *, data: bool = True) -> None:
        """Forget everything. `data`: overwrite it too, which takes time with a large memory."""
        self._has_shifts = False
        if self._memory is not None:
            native.memory_clear(self._memory, data)

    # State, as bytes that only this build of llama.cpp with this model and these parameters understands.

    def is_settled(self, seq_id: int) -> bool:
        """Whether the memory of a sequence may be copied out or replaced now.

        llama.cpp carries out copies and shifts with the next decode. Before that a copied sequence has the
        cells but not their contents, and a new state of its source would be copied in place of the old one.
        """
        return seq_id not in self._unsettled

    def state_bytes(self, seq_id: int) -> int:
        """Size of the state of a sequence."""
        self._check_seq(seq_id)
        return 0 if self._memory is None else native.state_seq_get_size(self._address, seq_id)

    def copy_state(self, seq_id: int) -> npt.NDArray[np.uint8] | None:
        """The state of a sequence. [n] uint8; None when it cannot be had now. Raises: MemoryError."""
        n_bytes = self.state_bytes(seq_id) if self.is_settled(seq_id) else 0
        if n_bytes == 0:
            return None
        data = np.empty(n_bytes, np.uint8)
        return data if self.write_state(seq_id, data) else None

    def write_state(self, seq_id: int, data: npt.NDArray[np.uint8]) -> bool:
        """Copy the state of a sequence into an array of just its size. False: nothing of use is in it."""
        pointer = data.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
        return native.state_seq_get_data(self._address, pointer, len(data), seq_id) == len(data)

    def restore_state(self, seq_id: int, data: npt.NDArray[np.uint8]) -> bool:
        """Put a state of `copy_state` in place of what a sequence holds. False: the sequence is empty now.

        llama.cpp takes the bytes on trust: they must be those of `copy_state` of an equal context.
        """
        return self.is_settled(seq_id) and self._put_state(seq_id, data)

    def _put_state(self, seq_id: int, data: npt.NDArray[np.uint8]) -> bool:
        if self._memory is None:
            return False
        pointer = data.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
        if native.state_seq_set_data(self._address, pointer, len(data), seq_id) == len(data):
            return True
        self.remove(seq_id, -1)
        return False

    # Decode.

    def decode(self) -> Decoded:
        """Run the batch.

        Raises: InvalidBatch, NoMemory, DecodeFailed; after the last two the state of the memory is unknown.
        """
        if self.batch.n_tokens == 0:
            raise InvalidBatch("an empty batch cannot be decoded")
        if self.needs_whole_input and self.batch.n_tokens > self.n_ubatch:
            raise InvalidBatch(
                f"an encoder takes {self.n_ubatch} tokens at once and the batch has {self.batch.n_tokens}"
            )
        return self._run(self.batch)

    def decode_embeddings(self, batch: EmbeddingBatch, *, is_causal: bool) -> Decoded:
        """Run a batch of embeddings. `is_causal`: each row sees those before it only.

        Raises: as `decode`; InvalidBatch also for rows that see each other and do not fit one batch.
        """
        self._check_seq(batch.seq_id)
        if not 0 < batch.n_tokens <= self.n_batch:
            raise InvalidBatch(f"a batch of {batch.n_tokens} embeddings is none of 1 to {self.n_batch}")
        if batch.n_embd != self.model.n_embd_inp:
            wanted = self.model.n_embd_inp
            raise InvalidBatch(f"the model reads {wanted} numbers for a token, not {batch.n_embd}")
        if is_causal:
            return self._run(batch)
        if batch.n_tokens > self.n_ubatch:
            raise InvalidBatch(
                f"a picture of {batch.n_tokens} tokens has to be decoded at once, and a batch of this model "
                f"has {self.n_ubatch}; raise num_batch"
            )
        native.set_causal_attn(self._address, False)
        try:
            return self._run(batch)
        finally:
            native.set_causal_attn(self._address, True)

    def _run(self, batch: Batch | EmbeddingBatch) -> Decoded:
        self._n_outputs = 0
        code = native.decode(self._address, batch.as_native())
        if code >= 0:
            self._unsettled.clear()
            self._has_shifts = False
        if code == 0:
            self._n_outputs = batch.n_outputs
        if code in (0, 1, 2):
            return Decoded(code)
        if code == -1:
            raise InvalidBatch("llama.cpp refused a batch as not valid")
        if code == -2:
            raise NoMemory("there is not enough memory for the next step of the model")
        raise DecodeFailed(f"llama.cpp failed to run the model (code {code})")

    def logits(self) -> Rows:
        """Logits of the rows that asked for them, in batch order; valid until the next decode.

        Shape [n_outputs, n_vocab]. Raises: InvalidBatch when the batch asked for none.
        """
        if self._n_outputs == 0:
            raise InvalidBatch("no row of the batch asked for logits")
        address = native.get_logits(self._address)
        if not address:
            raise DecodeFailed("llama.cpp has no logits for the batch")
        if self._rows_at != address or len(self._rows) < self._n_outputs:
            n_floats = self._n_outputs * self.model.n_vocab
            floats: Any = (ctypes.c_float * n_floats).from_address(address)
            self._rows = np.frombuffer(floats, np.float32).reshape(self._n_outputs, self.model.n_vocab)
            self._rows_at = address
        return self._rows[: self._n_outputs]

    def pooled(self, seq_ids: Sequence[int]) -> Rows:
        """The results of some sequences of the batch, copied: vectors, or what a model that ranks says.

        Shape [n, n_pooled]. Raises: DecodeFailed when there is none.
        """
        parts: list[bytes] = []
        for seq_id in seq_ids:
            self._check_seq(seq_id)
            address = native.get_embeddings_seq(self._address, seq_id)
            if not address:
                raise DecodeFailed("llama.cpp has no result for an input")
            parts.append(ctypes.string_at(address, 4 * self.n_pooled))
        rows: Rows = np.frombuffer(b"".join(parts), np.float32).reshape(len(parts), self.n_pooled)
        return rows

    def use_threads(self, n_threads: int) -> None:
        """Compute with so many threads from the next decode on."""
        if n_threads != self._n_threads:
            native.set_n_threads(self._address, n_threads, n_threads)
            self._n_threads = n_threads

    # Abort, from any thread.

    def abort_step(self) -> None:
        """Make the llama_decode that runs now return early; any thread may call it. No effect on a GPU.

        Nor on one that carries out shifts: llama.cpp would do those again from the start, on keys that it had
        turned already.
        """
        if not self._has_shifts:
            self._abort_flag[0] = b"x"

    def reset_abort(self) -> None:
        """Let the next llama_decode run to its end."""
        self._abort_flag[0] = b"\0"

    def close(self) -> None:
        """Free everything but the model."""
        if self._address:
            self.batch.close()
            native.free(self._address)
            self._address = 0

    def _new_batch(self) -> Batch:
        return Batch(
            n_batch=self.n_batch,
            n_seq_max=self.n_seq_max,
            n_outputs_max=self.n_outputs_max,
            n_vocab=self.model.n_vocab,
        )

    def _check_seq(self, seq_id: int) -> None:
        if not 0 <= seq_id < self.n_seq_max:
            raise InvalidBatch(f"sequence {seq_id} is not one of {self.n_seq_max}")

    def _apply_adapters(self) -> None:
        n = len(self.model.adapters)
        if n == 0:
            return
        adapters = (native.AdapterPointer * n)(*self.model.adapters)
        scales = (ctypes.c_float * n)(*[1.0] * n)
        if native.set_adapters_lora(self._address, adapters, n, scales) != 0:
            raise LoadRefused("an adapter does not fit the model")

    def _probe_shift(self) -> bool:
        """Recurrent memory says that it can shift, but it cannot forget a part of a sequence."""
        if self._memory is None or self.model.is_recurrent:
            return False
        return native.memory_can_shift(self._memory)


def _init_context(model: Model, params: ContextParams, log: LogSink) -> native.Address:
    if params.kv_type not in KV_TYPES:
        raise LoadRefused(f"the KV cache type '{params.kv_type}' is none of {', '.join(KV_TYPES)}")
    if params.kv_type not in _SHAREABLE and params.flash_attention is False:
        raise LoadRefused(f"a KV cache of type {params.kv_type} needs flash attention, which is switched off")
    native_params = native.context_default_params()
    native_params.n_ctx = params.n_ctx if params.unified else params.n_ctx * params.n_seq_max
    native_params.n_seq_max = params.n_seq_max
    native_params.n_batch = params.n_batch
    native_params.n_ubatch = params.n_ubatch
    native_params.n_outputs_max = params.n_outputs_max
    native_params.n_threads = params.n_threads
    native_params.n_threads_batch = params.n_threads
    native_params.kv_unified = params.unified
    native_params.swa_full = params.swa_full
    native_params.flash_attn_type = {None: -1, False: 0, True: 1}[params.flash_attention]
    native_params.type_k = native_params.type_v = KV_TYPES[params.kv_type]
    native_params.embeddings = params.embeddings
    native_params.pooling_type = params.pooling
    native_params.no_perf = True
    log.errors.clear()
    with unwritten():
        address = native.init_from_model(model.address, native_params)
    if not address:
        failure = load_failure("the model's context", log)
        if isinstance(failure, LoadRefused) and params.kv_type not in _SHAREABLE:
            raise LoadRefused(f"a KV cache of type {params.kv_type} does not fit: {failure.message}; try f16")
        raise failure
    return address


def _install_abort_flag(address: native.Address) -> Any:
    """A two-byte buffer that stops llama_decode while its first byte is not NUL.

    llama.cpp asks the callback once per graph node. libc's strlen does as the callback (the length of the
    buffer's text is 0 or 1), so no Python runs and the interpreter's lock is not taken.
    """
    flag = ctypes.create_string_buffer(2)
    if not sys.platform.startswith("win"):
        strlen = ctypes.cast(ctypes.CDLL(None).strlen, native.AbortCallback)
        native.set_abort_callback(address, strlen, ctypes.cast(flag, ctypes.c_void_p))
    return flag
