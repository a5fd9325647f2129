"""A small pool of cells beside the slots, for requests that share a long beginning."""

from __future__ import annotations

import msgspec
import numpy as np
import numpy.typing as npt

from server.engine.batch import Batch
from server.engine.cells import CellPool
from server.engine.context import Context, ContextParams, Decoded
from server.engine.failures import DecodeFailed
from server.engine.logs import LogSink
from server.engine.model import Model
from server.engine.state_layout import State, pool_state, slack_bytes, stream_state


class SidePool:
    """A context of its own whose sequences have the numbers of the slots, and who of them is in it.

    Attributes:
        members: slots whose tokens are here and not in their streams.
    """

    def __init__(self, model: Model, streams: ContextParams, n_cells: int, log: LogSink) -> None:
        """`streams`: of the context beside which it is. Raises: LoadRefused, NoMemory."""
        params = msgspec.structs.replace(streams, n_ctx=n_cells, unified=True)
        self.context = Context(model, params, log)
        self._n_streams = streams.n_seq_max
        self.cells = CellPool(self.context.n_ctx, streams.n_seq_max, self.context.n_ctx)
        self.members: set[int] = set()

    def load(self, seq_id: int, state: State, n_tokens: int) -> bool:
        """Take in a sequence of `n_tokens`, given its state from its stream, which is lost. False: cannot."""
        moved = pool_state(state, seq_id, self._n_streams, n_tokens)
        if moved is None or not self.context.restore_state(seq_id, moved):
            return False
        self.cells.truncate(seq_id, 0)
        self.cells.append(seq_id, n_tokens)
        return True

    def share(self, source: int, target: int, n_tokens: int) -> None:
        """`target` begins with the first tokens of `source`, and is a member now."""
        if source != target:
            self.context.copy_sequence(source, target, n_tokens=n_tokens)
            self.cells.share(source, target, n_tokens)
        self.members.add(target)

    def cut(self, seq_id: int, n_tokens: int) -> None:
        """A sequence ends after `n_tokens` tokens."""
        self.context.remove(seq_id, n_tokens)
        self.cells.truncate(seq_id, n_tokens)

    def forget(self, seq_id: int) -> None:
        """A sequence is not needed any more, or has gone back to its stream."""
        self.cut(seq_id, 0)
        self.members.discard(seq_id)

    def clear(self) -> None:
        """Forget everything."""
        self.context.clear(data=False)
        self.cells.clear()
        self.members.clear()

    def state_bytes(self, seq_id: int) -> int:
        """Size of the state of a sequence, for its stream."""
        return self.context.state_bytes(seq_id) + slack_bytes(self._n_streams)

    def state(self, seq_id: int) -> State:
        """The state of a sequence, for its stream. Raises: DecodeFailed, MemoryError."""
        slack = slack_bytes(self._n_streams)
        n_bytes = self.context.state_bytes(seq_id)
        room = np.empty(n_bytes + 2 * slack, np.uint8)
        state: State | None = None
        if self.context.write_state(seq_id, room[slack : slack + n_bytes]):
            state = stream_state(room, seq_id, self._n_streams, self.context.n_cached(seq_id))
        if state is None:
            raise DecodeFailed("llama.cpp did not hand out the memory of a request")
        return state

    def decode(self, batch: Batch, rows: npt.NDArray[np.bool_]) -> Decoded:
        """Run some rows of a batch, all of members. Raises: as `Context.decode`."""
        self.context.batch.take(batch, rows)
        outcome = self.context.decode()
        if outcome is Decoded.DONE:
            for seq_id, n in enumerate(np.bincount(batch.seq_ids[rows]).tolist()):
                if n:
                    self.cells.append(seq_id, n)
        return outcome

    def close(self) -> None:
        """Free the memory."""
        self.context.close()
