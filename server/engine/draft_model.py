"""A second, smaller model that guesses the next tokens of the first one.

Its memory follows that of the model: before each guess the tokens that both hold are compared, and what
differs is forgotten or read. So it does not matter how a text came to be what it is: by guesses that came
true or did not, by another conversation in the slot, by a context that has slid.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from server.engine.batch import TokenArray
from server.engine.context import Context, Decoded, Rows
from server.engine.draft import StepCosts
from server.engine.failures import DecodeFailed
from server.engine.kv_cache import MIN_COPY_TOKENS, common_prefix
from server.engine.model import Model
from server.engine.pace import MIN_CHUNK_TOKENS, SHARED_STEP_S, Pace
from server.engine.threads import Threads

MAX_BEHIND_TOKENS: Final = 8
"""A text of which so few tokens are missing is read with the first guess."""

_SMOOTHING: Final = 0.3


class Asked(msgspec.Struct, frozen=True):
    """A request for guesses.

    Attributes:
        slot: whose text it is.
        text: the tokens in the model's memory and the one that is due. [n]
        n_max: most tokens, at least 1.
    """

    slot: int
    text: TokenArray
    n_max: int


class Guess(msgspec.Struct):
    """Tokens that the draft model expects.

    Attributes:
        confidences: the probability that it gives each of them.
    """

    tokens: list[int] = []
    confidences: list[float] = []


GoOn = Callable[[int, float], bool]
"""Whether to ask for another token: the number of the request, the probability of its last token."""


class DraftModel:
    """A draft model with a context of its own.

    Attributes:
        spent_s: time that it took since `spent_s` was set to 0.
        tokens_per_s: how fast it reads.
        in_use: slots whose memory is not given up for others.
        size: its parameters as a share of those of the model that it guesses for.
        failure: why it was given up, as a sentence; "" while it is in use.
    """

    def __init__(
        self,
        model: Model,
        context: Context,
        guessed_for: Model,
        *,
        n_slots: int,
        n_ctx: int,
        threads: Threads,
    ) -> None:
        """`n_ctx`: tokens of a text that it can follow."""
        self.model = model
        self.context = context
        self.spent_s = 0.0
        self.failure = ""
        self.in_use: frozenset[int] = frozenset()
        self.size = model.n_params / max(guessed_for.n_params, 1)
        self.tokens_per_s = Pace.guess(model.n_params, threads.n_max, on_gpu=False).tokens_per_s
        self._threads = threads
        self._n_ctx = n_ctx
        self._n_vocab = min(guessed_for.n_vocab, model.n_vocab)
        self._tokens = np.zeros((n_slots, n_ctx), np.int32)
        self._n_tokens = [0] * n_slots
        self._costs = StepCosts()

    def step_s(self, n_rows: int) -> float:
        """Seconds of a step of so many rows; 0 for no rows and while nothing was measured."""
        return self._costs.seconds(n_rows) if n_rows else 0.0

    def forget_costs(self) -> None:
        """The next steps are measured anew."""
        self._costs = StepCosts()

    def n_missing(self, slot: int, text: TokenArray) -> int | None:
        """Tokens to read before it can guess what follows a text; None for a text that it cannot read.

        It reads no pictures, no tokens beyond its vocabulary, and no more than its context.
        """
        if len(text) + 1 >= self._n_ctx:
            return None
        _, n_known = self._best_source(slot, text)
        rest = text[n_known:]
        if int(rest.min()) < 0 or int(rest.max()) >= self._n_vocab:
            return None
        return len(rest)

    def read(self, slot: int, text: TokenArray) -> bool:
        """Read the next part of a text, no more than others can wait for. False: its memory has no room.

        Raises: DecodeFailed, NoMemory, InvalidBatch.
        """
        self._align(slot, text)
        n_known = self._n_tokens[slot]
        n = min(len(text) - 1 - n_known, self._n_at_once())
        if n <= 0:
            return True
        begin = time.perf_counter()
        self.context.batch.clear()
        self.context.batch.add(slot, text[n_known : n_known + n], n_known, output="none")
        is_done = self._decode()
        seconds = time.perf_counter() - begin
        self.spent_s += seconds
        if is_done:
            self._append(slot, text[n_known : n_known + n])
            if n >= MIN_CHUNK_TOKENS and seconds > 0:
                self.tokens_per_s += _SMOOTHING * (n / seconds - self.tokens_per_s)
        return is_done

    def guess(self, asked: Sequence[Asked], go_on: GoOn) -> list[Guess]:
        """What may follow each text, in the order asked for; nothing where many tokens are missing.

        Raises: DecodeFailed, NoMemory, InvalidBatch.
        """
        guesses = [Guess() for _ in asked]
        begin = time.perf_counter()
        batch = self.context.batch
        batch.clear()
        active: list[int] = []
        rests: list[TokenArray] = []
        for index in sorted(range(len(asked)), key=lambda index: asked[index].slot):
            slot, text = asked[index].slot, asked[index].text
            self._align(slot, text)
            rest = text[self._n_tokens[slot] :]
            if len(rest) > MAX_BEHIND_TOKENS:
                continue  # what it was to be copied from has just gone for another text
            batch.add(slot, rest, self._n_tokens[slot], output="last")
            active.append(index)
            rests.append(rest)
        while active and self._timed_decode():
            for index, rest in zip(active, rests, strict=True):
                self._append(asked[index].slot, rest)
            active = self._take(active, asked, guesses, go_on)
            rests = [np.array(guesses[index].tokens[-1:], np.int32) for index in active]
            batch.clear()
            batch.add_rows(
                [asked[index].slot for index in active],
                [guesses[index].tokens[-1] for index in active],
                [self._n_tokens[asked[index].slot] for index in active],
            )
        self.spent_s += time.perf_counter() - begin
        return guesses

    def close(self) -> None:
        """Free the memory."""
        self.context.close()
        self.model.close()

    def _take(
        self, active: Sequence[int], asked: Sequence[Asked], guesses: Sequence[Guess], go_on: GoOn
    ) -> list[int]:
        """Add the likeliest token of each row; returns who is asked for another one."""
        rows = self.context.logits()[:, : self._n_vocab]
        best = rows.argmax(1)
        confidences = probabilities(rows, best)
        going_on: list[int] = []
        for index, token, confidence in zip(active, best.tolist(), confidences.tolist(), strict=True):
            guess = guesses[index]
            guess.tokens.append(token)
            guess.confidences.append(confidence)
            is_full = self._n_tokens[asked[index].slot] + 1 >= self._n_ctx
            if len(guess.tokens) == asked[index].n_max or is_full or self.model.is_eog(token):
                continue
            if go_on(index, confidence):
                going_on.append(index)
        return going_on

    def _timed_decode(self) -> bool:
        begin = time.perf_counter()
        is_done = self._decode()
        if is_done:
            self._costs.measured(self.context.batch.n_tokens, time.perf_counter() - begin)
        return is_done

    def _decode(self) -> bool:
        """Run the batch. When there is no room, what idle slots hold goes, and then it is tried again."""
        self.context.use_threads(self._threads.n_threads)
        outcome = self.context.decode()
        if outcome is Decoded.NO_ROOM and self._forget_idle():
            outcome = self.context.decode()
        if outcome is Decoded.ABORTED:
            raise DecodeFailed("a step of the draft model was cut off")
        return outcome is Decoded.DONE

    def _forget_idle(self) -> bool:
        idle = [slot for slot, n in enumerate(self._n_tokens) if n and slot not in self.in_use]
        for slot in idle:
            self._forget(slot)
        return bool(idle)

    def _n_at_once(self) -> int:
        n = int(self.tokens_per_s * SHARED_STEP_S)
        return min(max(n, MIN_CHUNK_TOKENS), self.context.n_batch)

    def _align(self, slot: int, text: TokenArray) -> None:
        """Make the memory of a slot a beginning of a text, the longest that there is."""
        donor, n_known = self._best_source(slot, text)
        if donor != slot:
            self.context.copy_sequence(donor, slot)
            self._tokens[slot, :n_known] = self._tokens[donor, :n_known]
            self._n_tokens[slot] = self._n_tokens[donor]
        if n_known < self._n_tokens[slot]:
            if not self.context.remove(slot, n_known):
                self._forget(slot)
            self._n_tokens[slot] = min(self._n_tokens[slot], n_known)

    def _best_source(self, slot: int, text: TokenArray) -> tuple[int, int]:
        """The slot that holds the most of a text, its own unless a copy is worth it, and how many tokens."""
        own = self._n_shared(slot, text)
        if not self.context.can_copy or len(text) - own <= MIN_COPY_TOKENS:
            return slot, own
        shared = [self._n_shared(other, text) for other in range(len(self._n_tokens))]
        best = max(shared)
        return (shared.index(best), best) if best - own >= MIN_COPY_TOKENS else (slot, own)

    def _n_shared(self, slot: int, text: TokenArray) -> int:
        return common_prefix(self._tokens[slot, : self._n_tokens[slot]], text[:-1])

    def _append(self, slot: int, tokens: TokenArray) -> None:
        start = self._n_tokens[slot]
        self._tokens[slot, start : start + len(tokens)] = tokens
        self._n_tokens[slot] = start + len(tokens)

    def _forget(self, slot: int) -> None:
        self.context.remove(slot, -1)
        self._n_tokens[slot] = 0


def probabilities(rows: Rows, tokens: npt.NDArray[np.intp]) -> Rows:
    """The probability that each row of logits gives its largest one, at `tokens`. [n]"""
    largest = rows[np.arange(len(rows)), tokens]
    shares: Rows = 1.0 / np.exp(rows - largest[:, None]).sum(1)
    return shares
