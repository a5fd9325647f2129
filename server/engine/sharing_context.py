"""A context of streams beside which requests with one long beginning are decoded together, in a pool.

Copies from one sequence to another are carried out with the next decode. If it then shows that several
sequences that begin with one another's tokens have few rows each, they go on in a `SidePool`, and come back
to their streams when they are no longer better off there (`server.engine.shared_start`). Whoever uses the
context sees nothing of it but the time.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

import msgspec
import numpy as np
import numpy.typing as npt

from server.engine.batch import Batch
from server.engine.context import Context, ContextParams, Decoded, Rows
from server.engine.embedding_batch import EmbeddingBatch
from server.engine.failures import DecodeFailed, EngineFailure
from server.engine.logs import LogSink
from server.engine.model import Model
from server.engine.shared_start import is_worth_a_pool, may_stay
from server.engine.side_pool import SidePool

Counts = npt.NDArray[np.int64]
"""Rows of each sequence in a step, [n_seq_max] int64."""


class Beginning(msgspec.Struct, frozen=True):
    """What a sequence is to hold: the first tokens of another one."""

    source: int
    n_tokens: int


class SharingContext(Context):
    """Streams, and a pool beside them once it is of use."""

    shares_beginnings = True

    def __init__(self, model: Model, params: ContextParams, log: LogSink, *, n_side_cells: int) -> None:
        """`n_side_cells`: of the pool. Raises: as `Context`."""
        super().__init__(model, params, log)
        self._n_side_cells = n_side_cells
        self._side: SidePool | None = None
        self._copies: dict[int, Beginning] = {}  # by the sequence that is to hold it
        self._part: Batch | None = None  # the rows of a step that are not in the pool
        self._outputs_aside: npt.NDArray[np.bool_] | None = None  # of the last step; None: none

    # Memory.

    def remove(self, seq_id: int, start: int, end: int = -1) -> bool:
        """As `Context.remove`."""
        if not self._copies and not self._members:
            return super().remove(seq_id, start, end)
        self._check_seq(seq_id)
        start = max(start, 0)
        self._carry_out(lambda target, copy: copy.source == seq_id and copy.n_tokens > start)
        copy = self._copies.get(seq_id)
        is_end = end < 0
        if copy is not None and 0 < start and is_end:
            self._copies[seq_id] = Beginning(copy.source, min(copy.n_tokens, start))
            return True
        if copy is not None and start == 0 and is_end:
            del self._copies[seq_id]
        elif copy is not None:
            self._carry_out(lambda target, _: target == seq_id)
        if self._side is not None and seq_id in self._members:
            if is_end and start > 0:
                self._side.cut(seq_id, start)
                return True
            if is_end:
                self._side.forget(seq_id)
            else:
                self._bring_back([seq_id])
        return super().remove(seq_id, start, end)

    def copy_sequence(self, source: int, target: int, *, n_tokens: int = -1) -> None:
        """As `Context.copy_sequence`."""
        if n_tokens >= 0 or source == target:
            super().copy_sequence(source, target, n_tokens=n_tokens)
            return
        self._check_seq(source)
        self._check_seq(target)
        copy = self._copies.get(source) or Beginning(source, self.n_cached(source))
        self._carry_out(lambda _, other: other.source == target)
        if copy.source == target:  # its own tokens came back to it
            super().copy_sequence(source, target)
            return
        self._copies[target] = copy
        if self._side is not None and target in self._members:
            self._side.forget(target)

    def shift(self, seq_id: int, start: int, n_tokens: int) -> bool:
        """As `Context.shift`."""
        self._carry_out(lambda target, copy: seq_id in (target, copy.source))
        self._bring_back([seq_id])
        return super().shift(seq_id, start, n_tokens)

    def n_cached(self, seq_id: int) -> int:
        """As `Context.n_cached`."""
        if (copy := self._copies.get(seq_id)) is not None:
            return copy.n_tokens
        if self._side is not None and seq_id in self._members:
            return self._side.context.n_cached(seq_id)
        return super().n_cached(seq_id)

    def clear(self, *, data: bool = True) -> None:
        """As `Context.clear`."""
        self._copies.clear()
        if self._side is not None:
            self._side.clear()
        super().clear(data=data)

    # State.

    def is_settled(self, seq_id: int) -> bool:
        """As `Context.is_settled`."""
        if any(seq_id in (target, copy.source) for target, copy in self._copies.items()):
            return False
        return super().is_settled(seq_id)

    def state_bytes(self, seq_id: int) -> int:
        """As `Context.state_bytes`."""
        if self._side is not None and seq_id in self._members:
            return self._side.state_bytes(seq_id)
        return super().state_bytes(seq_id)

    def copy_state(self, seq_id: int) -> npt.NDArray[np.uint8] | None:
        """As `Context.copy_state`."""
        if self._side is not None and seq_id in self._members and self.is_settled(seq_id):
            return self._side.state(seq_id)
        return super().copy_state(seq_id)

    def restore_state(self, seq_id: int, data: npt.NDArray[np.uint8]) -> bool:
        """As `Context.restore_state`."""
        if not self.is_settled(seq_id):
            return False
        if self._side is not None and seq_id in self._members:
            self._side.forget(seq_id)
        return super().restore_state(seq_id, data)

    # Decode.

    def decode(self) -> Decoded:
        """As `Context.decode`."""
        self._outputs_aside = None
        if not self._copies and not self._members:
            return super().decode()
        n_rows: Counts = np.bincount(self.batch.seq_ids, minlength=self.n_seq_max)
        in_step = np.flatnonzero(n_rows).tolist()
        is_new = self._take_aside(n_rows)
        if any(seq_id not in self._members for seq_id in in_step):
            self._carry_out(lambda *_: True)
        aside = [seq_id for seq_id in in_step if seq_id in self._members]
        if not is_new and (len(aside) < len(in_step) or not self._may_stay(aside, n_rows)):
            self._bring_back(aside)
            aside = []
        if self._side is None or not aside:
            # Those that nobody needs now go back one by one, so that a next group finds the pool empty.
            self._bring_back(sorted(self._members)[:1])
            return super().decode()
        return self._decode_aside(self._side, aside, is_all=len(aside) == len(in_step))

    def decode_embeddings(self, batch: EmbeddingBatch, *, is_causal: bool) -> Decoded:
        """As `Context.decode_embeddings`."""
        self._outputs_aside = None
        self._carry_out(lambda *_: True)
        self._bring_back([batch.seq_id])
        return super().decode_embeddings(batch, is_causal=is_causal)

    def logits(self) -> Rows:
        """As `Context.logits`."""
        is_aside = self._outputs_aside
        if is_aside is None or self._side is None:
            return super().logits()
        if is_aside.all():
            return self._side.context.logits()
        rows: Rows = np.empty((len(is_aside), self.model.n_vocab), np.float32)
        if is_aside.any():
            rows[is_aside] = self._side.context.logits()
        rows[~is_aside] = super().logits()
        return rows

    def use_threads(self, n_threads: int) -> None:
        """As `Context.use_threads`."""
        super().use_threads(n_threads)
        if self._side is not None:
            self._side.context.use_threads(n_threads)

    def abort_step(self) -> None:
        """As `Context.abort_step`."""
        super().abort_step()
        if self._side is not None:
            self._side.context.abort_step()

    def reset_abort(self) -> None:
        """As `Context.reset_abort`."""
        super().reset_abort()
        if self._side is not None:
            self._side.context.reset_abort()

    def close(self) -> None:
        """As `Context.close`."""
        if self._side is not None:
            self._side.close()
            self._side = None
        if self._part is not None:
            self._part.close()
            self._part = None
        super().close()

    # Between streams and pool.

    @property
    def _members(self) -> Collection[int]:
        return self._side.members if self._side is not None else ()

    def _carry_out(self, is_due: Callable[[int, Beginning], bool]) -> None:
        """Copy what is due from stream to stream, to be done with llama.cpp's next decode."""
        for target, copy in [pair for pair in self._copies.items() if is_due(*pair)]:
            del self._copies[target]
            self._bring_back([copy.source])
            super().copy_sequence(copy.source, target)
            super().remove(target, copy.n_tokens)

    def _bring_back(self, seq_ids: Iterable[int]) -> None:
        """Put sequences back into their streams. Raises: DecodeFailed, MemoryError."""
        side = self._side
        if side is None:
            return
        for seq_id in [seq_id for seq_id in seq_ids if seq_id in side.members]:
            if not (super().is_settled(seq_id) and self._put_state(seq_id, side.state(seq_id))):
                raise DecodeFailed("llama.cpp did not take back the memory of a request")
            side.forget(seq_id)

    def _take_aside(self, n_rows: Counts) -> bool:
        """Move sequences that are to begin with the tokens of one of them, if it pays. Whether it did."""
        for source in sorted({copy.source for target, copy in self._copies.items() if n_rows[target]}):
            group = {target: copy for target, copy in self._copies.items() if copy.source == source}
            if not all(super(SharingContext, self).is_settled(target) for target in group):
                continue  # an older copy into their streams is still to come
            is_member = source in self._members
            if is_member and self._can_join(group, n_rows):
                pass
            elif is_member or not self._pays(source, group, n_rows) or not self._open(source):
                continue
            self._move(source, group, is_needed=is_member or bool(n_rows[source]))
            return True
        return False

    def _can_join(self, group: Mapping[int, Beginning], n_rows: Counts) -> bool:
        """Whether all that take part in the step go on together when others join those in the pool."""
        side = self._side
        if side is None:
            return False
        lengths = {seq_id: side.cells.length(seq_id) for seq_id in side.members}
        lengths |= {target: copy.n_tokens for target, copy in group.items()}
        return self._go_on(side.cells.n_cells - side.cells.n_free, lengths, n_rows)

    def _pays(self, source: int, group: Mapping[int, Beginning], n_rows: Counts) -> bool:
        """Whether a step is faster with a new group in the pool. `source` is in its stream."""
        n_shared = [copy.n_tokens for copy in group.values()]
        lengths = {target: copy.n_tokens for target, copy in group.items()}
        n_used = max(n_shared)
        if n_rows[source]:
            n_used = lengths[source] = super().n_cached(source)
        rows = [int(n_rows[seq_id]) for seq_id in lengths if n_rows[seq_id]]
        return is_worth_a_pool(min(n_shared), rows) and self._go_on(n_used, lengths, n_rows)

    def _may_stay(self, aside: Collection[int], n_rows: Counts) -> bool:
        """Whether members go on in the pool."""
        side = self._side
        if side is None or not aside:
            return False
        lengths = {seq_id: side.cells.length(seq_id) for seq_id in aside}
        return self._go_on(side.cells.n_cells - side.cells.n_free, lengths, n_rows)

    def _go_on(self, n_used: int, lengths: Mapping[int, int], n_rows: Counts) -> bool:
        """Whether there is room for a step of sequences, and it is fast. `n_used`: cells before it."""
        rows = {seq_id: int(n_rows[seq_id]) for seq_id in lengths if n_rows[seq_id]}
        n_used += sum(rows.values())
        after = [lengths[seq_id] + n for seq_id, n in rows.items()]
        return n_used <= self._n_side_cells and may_stay(n_used, after, rows.values())

    def _open(self, source: int) -> bool:
        """Put a sequence into the pool, alone. False: it cannot be."""
        n = super().n_cached(source)
        if n > self._n_side_cells or not super().is_settled(source):
            return False
        side = self._side_pool()
        if side is None:
            return False
        self._bring_back(tuple(side.members))
        side.clear()
        state = np.empty(super().state_bytes(source), np.uint8)
        if not (self.write_state(source, state) and side.load(source, state, n)):
            self._never("states are not laid out as expected")
            return False
        return True

    def _move(self, source: int, group: Mapping[int, Beginning], *, is_needed: bool) -> None:
        """Let sequences begin with the tokens of `source`, which is in the pool. `is_needed`: and stays."""
        side = self._side
        if side is None:
            return
        for target, copy in group.items():
            side.share(source, target, copy.n_tokens)
            del self._copies[target]
        if is_needed:
            side.members.add(source)
        else:
            side.forget(source)

    def _decode_aside(self, side: SidePool, aside: Collection[int], *, is_all: bool) -> Decoded:
        """Run the rows of some members in the pool, and the others after them."""
        batch = self.batch
        rows: npt.NDArray[np.bool_] = np.isin(batch.seq_ids, list(aside))
        outcome = side.decode(batch, rows)
        if outcome is Decoded.DONE and not is_all:
            if self._part is None:
                self._part = self._new_batch()
            self._part.take(batch, ~rows)
            outcome = self._run(self._part)
        if outcome is Decoded.DONE:
            self._outputs_aside = rows[batch.outputs]
            if not is_all:  # two computations for each step would read all weights twice
                self._bring_back(aside)
        return outcome

    def _side_pool(self) -> SidePool | None:
        """The pool, made when it is needed first; None when it cannot be made."""
        if self._side is None and self._n_side_cells > 0:
            try:
                self._side = SidePool(self.model, self.params, self._n_side_cells, self.log)
                self._side.context.use_threads(self._n_threads)
            except EngineFailure as error:
                self._never(error.message)
        return self._side

    def _never(self, why: str) -> None:
        self._n_side_cells = 0
        self.log.write("warn", f"requests with one beginning are decoded apart: {why}")
