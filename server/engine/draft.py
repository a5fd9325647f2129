"""Drafts: tokens guessed from what followed the same tokens before, and whether guessing pays. Pure.

A text that is being rewritten, quoted or filled into a form repeats what stands in the prompt. The tokens
that followed the last ones at an earlier place are a guess of those to come. All of a guess is decoded in
one step beside the token that is due, and kept as far as the model would have chosen the same.

A step with more rows takes longer, and by how much depends on the machine, the quantisation and how many
others decode. So both sides of the bargain are measured: the time of a step by its number of rows, and how
often guesses come true.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np

from server.engine.batch import TokenArray
from server.engine.media import before_media

MIN_MATCH_TOKENS: Final = 3
"""Fewer equal tokens say too little about what follows."""

MIN_FOREIGN_MATCH_TOKENS: Final = 8
"""Equal tokens that are asked for before another request's text is taken as a guess."""

MAX_MATCH_TOKENS: Final = 32
"""More equal tokens make a guess no better."""

MAX_DRAFT_TOKENS: Final = 31

_ROWS: Final = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
"""Sizes of a step that are told apart; kernels work on several rows at once, so costs rise in steps."""

_SIZE_OF: Final = tuple(next(size for size in _ROWS if size >= n) for n in range(_ROWS[-1] + 1))

_GUESSED_SLOPE: Final = 0.1
"""Share of its time that each more row is thought to add to a step until that was measured. Low, so that it
is measured at all."""

_SMOOTHING: Final = 0.2
_RETRY_AFTER: Final = 256
"""Chances of a long guess after which a size that was found too slow is measured again."""

_MATCH_CLASSES: Final = ((16, 0.9), (8, 0.75), (5, 0.5), (MIN_MATCH_TOKENS, 0.3))
"""Equal tokens, and how likely each token of such a guess is thought to be before anything is known."""

FORCED: Final = -1
"""In place of equal tokens: a grammar leaves no other text."""

_FORCED_PROBABILITY: Final = 0.8
"""The same for a text that is forced, which can be spelled with other tokens."""

_ASKED_TOKENS: Final = 0.5
"""Tokens that come true each time that a grammar is asked, as long as nothing is known."""

_ASKING_LEARNING: Final = 0.05
_ASKING_RETURN: Final = 1.0 / 1024
_MIN_RETURN: Final = 2.0
"""Asking must save so many times the time that it takes."""

_PRIOR_WEIGHT: Final = 2.0
_FORGETTING: Final = 0.9
_MIN_GAIN: Final = 1.03
"""A draft must promise so many times the speed of none."""


class Match(msgspec.Struct, frozen=True):
    """A guess: `tokens` followed at another place after `n_matched` tokens that are now the last ones.

    Where `n_matched` is `FORCED`, they spell what a grammar says comes next.
    """

    tokens: TokenArray
    n_matched: int


def continuation(
    text: TokenArray, suffix: TokenArray, n_max: int, *, min_match: int, is_own: bool
) -> Match | None:
    """What followed the longest end of `suffix` that stands in `text`; the last such place of equals.

    Args:
        text: where to look. [n]
        suffix: the tokens to continue, the last one last. [m]
        n_max: most tokens of the guess.
        min_match: equal tokens that a place must have.
        is_own: `suffix` is the end of `text`, so its own end is no place.
    """
    n, m = len(text), min(len(suffix), MAX_MATCH_TOKENS)
    if m < min_match or n_max < 1:
        return None
    ends = np.flatnonzero(text[: n - 1] == suffix[-1])
    n_matched = 1
    while len(ends) and n_matched < m:
        longer = ends[ends >= n_matched]
        longer = longer[text[longer - n_matched] == suffix[-1 - n_matched]]
        if not len(longer):
            break
        ends, n_matched = longer, n_matched + 1
    if not len(ends) or n_matched < min_match:
        return None
    end = int(ends[-1])
    tokens = text[end + 1 : end + 1 + n_max]
    if is_own and len(tokens) < n_max:
        # The place overlaps the end: the text goes round in a circle, and so does the guess.
        tokens = np.resize(text[end + 1 :], n_max)
    tokens = before_media(tokens)
    return Match(tokens.copy(), n_matched) if len(tokens) else None


class StepCosts:
    """Seconds of a step by its number of rows, as measured, and estimates between and beyond."""

    def __init__(self) -> None:
        self._seconds: dict[int, float] = {}
        self._estimates: dict[int, float] = {}  # of sizes that were asked for since a step was measured
        self._chances: dict[int, int] = {}

    def measured(self, n_rows: int, seconds: float) -> None:
        """A step of decode rows alone took so long."""
        size = _size(n_rows)
        known = self._seconds.get(size)
        self._seconds[size] = seconds if known is None else known + _SMOOTHING * (seconds - known)
        self._estimates.clear()
        self._chances[size] = 0

    def seconds(self, n_rows: int) -> float:
        """What a step would take; 0 as long as nothing was measured."""
        size = _size(n_rows)
        known = self._estimates.get(size)
        if known is None:
            known = self._estimates[size] = self._estimated(size)
        return known

    def _estimated(self, size: int) -> float:
        if size in self._seconds:
            return self._seconds[size]
        below = max((known for known in self._seconds if known < size), default=0)
        above = min((known for known in self._seconds if known > size), default=0)
        if below and above:
            share = (size - below) / (above - below)
            return self._seconds[below] + share * (self._seconds[above] - self._seconds[below])
        if below:
            return self._seconds[below] * (1.0 + _GUESSED_SLOPE * (size - below))
        return self._seconds[above] if above else 0.0

    def forget(self, *, more_than: int) -> None:
        """What is known of steps of more rows is old; they are thought cheap again, and measured anew."""
        self._seconds = {size: known for size, known in self._seconds.items() if size <= _size(more_than)}
        self._estimates.clear()

    def is_due(self, n_rows: int) -> bool:
        """Count a chance that was not taken; whether it is time to look again how long such a step takes."""
        size = _size(n_rows)
        self._chances[size] = self._chances.get(size, 0) + 1
        return self._chances[size] > _RETRY_AFTER


class Acceptance:
    """How likely the next token of a guess is right, by the length of its match, for one request."""

    def __init__(self) -> None:
        self._right = [_PRIOR_WEIGHT * p for p in (*(p for _, p in _MATCH_CLASSES), _FORCED_PROBABILITY)]
        self._asked = [_PRIOR_WEIGHT] * len(self._right)

    def probability(self, n_matched: int) -> float:
        """Share of tokens that came true, between 0 and 1."""
        index = _match_class(n_matched)
        return self._right[index] / self._asked[index]

    def observed(self, n_matched: int, n_drafted: int, n_accepted: int) -> None:
        """`n_accepted` of `n_drafted` tokens came true; the first that did not hides the rest."""
        index = _match_class(n_matched)
        self._right[index] = self._right[index] * _FORGETTING + n_accepted
        self._asked[index] = self._asked[index] * _FORGETTING + n_accepted + (n_accepted < n_drafted)


class Asking:
    """Whether it pays to ask a grammar for the text that it forces, which takes 0.1 ms for each character."""

    def __init__(self) -> None:
        self._seconds = 0.0
        self._n_tokens = _ASKED_TOKENS

    def is_worth_it(self, step_s: float) -> bool:
        """`step_s`: of a step without a guess. Each time that it is not, it becomes more likely again."""
        if self._n_tokens * step_s > _MIN_RETURN * self._seconds:
            return True
        self._n_tokens += _ASKING_RETURN * (_ASKED_TOKENS - self._n_tokens)
        return False

    def took(self, seconds: float) -> None:
        """Processor time that it took to ask."""
        self._seconds += _ASKING_LEARNING * (seconds - self._seconds)

    def brought(self, n_tokens: int) -> None:
        """So many tokens came true of what was asked for."""
        self._n_tokens += _ASKING_LEARNING * (n_tokens - self._n_tokens)


def n_expected(probability: float, n_draft: int) -> float:
    """Tokens that a step yields with a draft of `n_draft` tokens: 1 + p + p^2 + ... + p^n."""
    if probability >= 1.0:
        return 1.0 + n_draft
    return float((1.0 - probability ** (n_draft + 1)) / (1.0 - probability))


def best_draft_length(
    costs: StepCosts, probability: float, *, n_available: int, n_rows: int, n_others: int
) -> int:
    """Draft tokens that make a step yield the most tokens per second, 0 when none do.

    Args:
        probability: that a token of the draft comes true, given that those before did.
        n_available: tokens of the guess.
        n_rows: rows that the step has without this draft.
        n_others: tokens that the step yields for other requests.
    """
    now_s = costs.seconds(n_rows)
    if now_s <= 0.0:
        return 0
    best, best_rate = 0, (n_others + 1) / now_s * _MIN_GAIN
    for n in draft_lengths(n_rows, n_available):
        rate = promised(costs, probability, n, n_rows=n_rows, n_others=n_others)
        if rate > best_rate:
            best, best_rate = n, rate
    return best


def promised(costs: StepCosts, probability: float, n_draft: int, *, n_rows: int, n_others: int) -> float:
    """Tokens per second of a step with a draft of `n_draft` tokens. The rest is as in `best_draft_length`."""
    return (n_others + n_expected(probability, n_draft)) / costs.seconds(n_rows + n_draft)


@functools.lru_cache(maxsize=1024)
def draft_lengths(n_rows: int, n_available: int) -> tuple[int, ...]:
    """Lengths worth a thought: those that fill up one of the sizes, and the whole guess."""
    lengths = {size - n_rows for size in _ROWS if 0 < size - n_rows <= n_available}
    if 0 < n_available <= MAX_DRAFT_TOKENS and n_rows + n_available <= _ROWS[-1]:
        lengths.add(n_available)
    return tuple(sorted(length for length in lengths if length <= MAX_DRAFT_TOKENS))


def best_match(own: TokenArray, others: Sequence[TokenArray], n_max: int) -> Match | None:
    """A guess from the request's own text, or from another one in memory when that matches longer."""
    match = continuation(own, own, n_max, min_match=MIN_MATCH_TOKENS, is_own=True)
    if match is not None and match.n_matched >= MIN_FOREIGN_MATCH_TOKENS:
        return match
    suffix = own[-MAX_MATCH_TOKENS:]
    for other in others:
        found = continuation(other, suffix, n_max, min_match=MIN_FOREIGN_MATCH_TOKENS, is_own=False)
        if found is not None and (match is None or found.n_matched > match.n_matched):
            match = found
    return match


def _size(n_rows: int) -> int:
    return _SIZE_OF[n_rows] if n_rows < len(_SIZE_OF) else n_rows


def _match_class(n_matched: int) -> int:
    if n_matched == FORCED:
        return len(_MATCH_CLASSES)
    return next(
        (index for index, (n, _) in enumerate(_MATCH_CLASSES) if n_matched >= n), len(_MATCH_CLASSES) - 1
    )
