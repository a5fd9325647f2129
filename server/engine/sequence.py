"""The sequences of one worker as the scheduler sees them, and what a step decodes of them."""

from __future__ import annotations

import enum
from collections.abc import Iterable

import msgspec

from server.engine.batch import TokenArray
from server.engine.media import Placed
from server.engine.memory_policy import ANSWER_TOKENS


class Phase(enum.Enum):
    """Where a sequence stands. One that has to make way for others goes back to the queue."""

    QUEUED = "queued"
    PREFILL = "prefill"
    DECODE = "decode"
    ENDED = "ended"


class Sequence(msgspec.Struct, eq=False):
    """One request as the scheduler sees it.

    Attributes:
        tokens: the prompt, and what an earlier worker already generated. [n] int32
        slot: -1 outside of one.
        n_prefilled: tokens of `tokens` that are in memory, those found there included.
        n_cached: tokens that were found in memory.
        n_passed_over: steps in which others went first.
        is_alone: decoded in steps of its own and from an empty slot, so that nobody else's work shows in
            the last bits of its logits.
        is_in_group: begins as others do that came with it, so that few tokens of each are decoded together.
        is_scored: all rows of its prompt have logits, so it is decoded from an empty slot, apart from others.
        n_output_max: tokens that may follow `tokens`.
        stops: lengths at which a chunk ends, so that the state can be kept; ascending.
        n_preempted: times that it has made way for others.
        age: counts up with each new sequence.
        spans: pictures and sounds among its tokens, in order.
    """

    request_id: int
    tokens: TokenArray
    phase: Phase = Phase.QUEUED
    slot: int = -1
    n_prefilled: int = 0
    n_cached: int = 0
    n_passed_over: int = 0
    is_alone: bool = False
    is_in_group: bool = False
    is_scored: bool = False
    n_output_max: int = ANSWER_TOKENS
    stops: tuple[int, ...] = ()
    n_preempted: int = 0
    age: int = 0
    spans: tuple[Placed, ...] = ()

    @property
    def is_apart(self) -> bool:
        """Whether its next step is one of its own."""
        return self.is_alone or (self.is_scored and self.phase is Phase.PREFILL)

    @property
    def n_remaining(self) -> int:
        """Prompt tokens that are not in memory."""
        return len(self.tokens) - self.n_prefilled

    @property
    def next_span(self) -> Placed | None:
        """The picture or sound that is to be decoded next, or of which a part was."""
        return next(
            (placed for placed in self.spans if placed.start <= self.n_prefilled < placed.end),
            None,
        )

    @property
    def n_until_stop(self) -> int:
        """Prompt tokens that may be decoded before a picture, or before the state is to be kept."""
        places = (*self.stops, *(placed.start for placed in self.spans))
        ahead = [place - self.n_prefilled for place in places if place > self.n_prefilled]
        return min(ahead, default=self.n_remaining)


class Chunk(msgspec.Struct, frozen=True):
    """A part of a prompt to decode in this step.

    Attributes:
        is_last: it completes the prompt, so it has an output.
        placed: the picture or sound that it is a part of.
    """

    sequence: Sequence
    n_tokens: int
    is_last: bool
    placed: Placed | None = None


class Plan(msgspec.Struct, frozen=True):
    """What a step decodes: one row for each of `decoding`, and the chunks.

    A part of a picture or sound is the only one in its step: llama.cpp takes no tokens beside embeddings.
    """

    decoding: tuple[Sequence, ...]
    chunks: tuple[Chunk, ...]

    @property
    def is_alone(self) -> bool:
        """Whether this is a step of one sequence that is decoded alone."""
        return any(sequence.is_alone for sequence in self.sequences())

    @property
    def scored(self) -> Chunk | None:
        """The part of a prompt of which all rows have logits; it is the only one in its step."""
        return self.chunks[0] if self.chunks and self.chunks[0].sequence.is_scored else None

    @property
    def media(self) -> Chunk | None:
        """The part of a picture or sound, when this is a step of one."""
        return self.chunks[0] if self.chunks and self.chunks[0].placed is not None else None

    @property
    def can_shrink(self) -> bool:
        """Whether a step with fewer tokens of prompts is possible; some pictures are decoded whole."""
        media = self.media
        is_whole = media is not None and media.placed is not None and not media.placed.span.is_causal
        return self.n_prompt_tokens > 1 and not is_whole

    @property
    def n_prompt_tokens(self) -> int:
        """Tokens of all chunks."""
        return sum(chunk.n_tokens for chunk in self.chunks)

    def rows(self) -> list[tuple[Sequence, Chunk | None]]:
        """Who has rows in the batch, in order, each with its chunk, or None where it decodes.

        The order is that of the slots. llama.cpp computes streams together only where their numbers follow
        each other in a batch: eight rows in another order took 2.2 to 2.6 times as long.
        """
        rows: list[tuple[Sequence, Chunk | None]] = [(sequence, None) for sequence in self.decoding]
        rows += [(chunk.sequence, chunk) for chunk in self.chunks]
        return sorted(rows, key=lambda row: row[0].slot)

    def sequences(self) -> Iterable[Sequence]:
        """All sequences of the step."""
        yield from self.decoding
        for chunk in self.chunks:
            yield chunk.sequence


def media_chunk(sequence: Sequence, room: int) -> Chunk:
    """The next part of the picture or sound that a sequence has come to, at least one token.

    Raises: ValueError when it has come to none.
    """
    placed = sequence.next_span
    if placed is None:
        raise ValueError("the sequence has come to no picture or sound")
    n = placed.end - sequence.n_prefilled
    if placed.span.is_causal:
        n = min(n, max(room, 1))
    return Chunk(sequence, n, n == sequence.n_remaining, placed)
