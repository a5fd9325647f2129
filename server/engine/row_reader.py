"""From the rows of logits of one request to what the server is told of it."""

from __future__ import annotations

from collections.abc import Callable

from server.engine.candidates import Row
from server.engine.context import Context, Rows
from server.engine.context_shift import shift_sizes
from server.engine.detokenizer import Released, joined
from server.engine.draft import Match
from server.engine.generation import (
    Generation,
    choose_next,
    chosen,
    look_ahead,
    n_shift_keep,
    plain_delta,
)
from server.engine.kv_cache import SlotCache
from server.engine.model import Model
from server.engine.sampler import Known
from server.engine.slot_memory import SlotMemory
from server.ipc.messages import TokenDelta


class RowReader:
    """Chooses tokens, and sees to it that they can be decoded.

    Attributes:
        to_shift: by request id, tokens to keep and to drop for those that have to begin anew with the rest.
    """

    def __init__(
        self,
        model: Model,
        context: Context,
        cache: SlotCache,
        memory: SlotMemory,
        observed: Callable[[Generation, Match, int], None],
        n_ctx: int,
    ) -> None:
        """`observed`: is told how many tokens of a draft came true."""
        self._model = model
        self._context = context
        self._cache = cache
        self._memory = memory
        self._observed = observed
        self._n_ctx = n_ctx
        self.to_shift: dict[int, tuple[int, int]] = {}

    def next_delta(
        self, generation: Generation, rows: Rows, known: list[Known], draft: Match | None
    ) -> TokenDelta | None:
        """Choose the next token, and those behind it that a draft has guessed; returns what may be shown.

        `generation.end` is set when that ends the request. Raises: BadGrammar, DecodeFailed.

        Args:
            rows: of the last token and of those of the draft. [1 + n, n_vocab]
            known: what is known of each row.
        """
        row, known_of_row = rows[0], known[0]
        if generation.n_plain > 0 and draft is None:
            known_of_row = token = chosen(generation, row, known_of_row)
            delta = plain_delta(generation, self._model, token)
            if delta is not None:
                return delta
        released = self._advance(generation, row, known_of_row)
        if draft is not None:
            released = self._verify(generation, rows[1:], known[1:], draft, released)
        tells = released.tokens or released.text or released.logprobs or generation.scored is not None
        delta = generation.delta(released) if tells else None
        look_ahead(generation, self._n_ctx - self._cache.length(generation.sequence.slot) - 2)
        return delta

    def _advance(self, generation: Generation, row: Row, known: Known) -> Released:
        """Choose a token from a row and see whether it can be decoded; returns what may be shown."""
        released = choose_next(generation, self._model, row, known)
        if generation.end is None and not self._make_room(generation):
            generation.end = "length"
        if generation.end == "length":
            return joined(released, generation.text.finish())
        return released

    def _verify(
        self, generation: Generation, rows: Rows, known: list[Known], draft: Match, released: Released
    ) -> Released:
        """Go on through the rows of a draft as long as what was chosen is what was guessed.

        `released`: what the row before the draft gave; returned with what the draft adds. Each token is
        chosen from its own row as it would be without a draft, so nothing but the time changes.
        """
        slot = generation.sequence.slot
        n_accepted = 0
        try:
            for token, row, known_of_row in zip(draft.tokens.tolist(), rows, known, strict=True):
                if generation.end is not None or generation.last_token != token:
                    break
                self._cache.append(slot, token)
                n_accepted += 1
                released = joined(released, self._advance(generation, row, known_of_row))
        finally:
            if n_accepted < len(draft.tokens):
                self._context.remove(slot, self._cache.position(slot, self._cache.length(slot)))
        self._observed(generation, draft, n_accepted)
        return released

    def _make_room(self, generation: Generation) -> bool:
        """Make sure that the chosen token can be decoded; False when the context is full for good."""
        slot = generation.sequence.slot
        n = self._cache.length(slot)
        if generation.params.context_shift and self._context.can_shift and n + 1 >= self._n_ctx:
            n_keep = n_shift_keep(generation.params, self._model, generation.n_prompt)
            n_keep, n_discard = shift_sizes(n, n_ctx=self._n_ctx, n_keep=n_keep)
            if n_discard > 0 and not self._memory.shift(slot, n_keep, n_discard):
                self.to_shift[generation.sequence.request_id] = (n_keep, n_discard)
        return self._cache.length(slot) < self._n_ctx
