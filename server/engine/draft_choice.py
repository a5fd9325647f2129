"""Whether the guesses of a draft model pay, and how many of them. Pure.

A draft model is asked token by token, and each token costs a step of its own, which all requests that ask
share. So its time is part of the bargain of `server.engine.draft`. A guess that was found in a text costs
nothing and wins where it promises as much.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from server.engine.draft import StepCosts, draft_lengths, n_expected

MAX_ASKED_TOKENS: Final = 16
"""Most tokens that a draft model is asked for at a time."""

USUAL_PROBABILITY: Final = 0.7
"""How likely a draft model's token is thought to be right before anything is known."""

_LENGTHS: Final = (1, 2, 3, 4, 5, 6, 8, 10, 12, MAX_ASKED_TOKENS)

_CLASSES: Final = ((0.95, 0.9), (0.8, 0.75), (0.5, 0.5), (0.0, 0.2))
"""The probability that the draft model itself gives a token, and how likely it is thought to be right."""

_PRIOR_WEIGHT: Final = 2.0
_FORGETTING: Final = 0.98
_LEARNING: Final = 0.1
_RETURN: Final = 1.0 / 256
"""Share of the way back to `USUAL_PROBABILITY` for each step in which nobody was asked."""

_MIN_GAIN: Final = 1.03
"""The draft model must promise so many times the speed that there is without."""

_ANSWER_TOKENS: Final = 256
"""How long an answer is thought to become that has no bound of its own."""


class Trust:
    """How often a draft model's tokens come true for one request.

    Attributes:
        mean: how likely its next token is right, before it was asked.
    """

    def __init__(self, mean: float = USUAL_PROBABILITY) -> None:
        self.mean = mean
        self._right = [_PRIOR_WEIGHT * p for _, p in _CLASSES]
        self._asked = [_PRIOR_WEIGHT] * len(_CLASSES)

    def probability(self, confidence: float) -> float:
        """How likely a token is right that the draft model gives the probability `confidence`."""
        index = _class_of(confidence)
        return self._right[index] / self._asked[index]

    def observed(self, confidences: Sequence[float], n_accepted: int) -> None:
        """The first `n_accepted` tokens of a draft came true; the first that did not hides the rest."""
        for confidence in confidences[: n_accepted + 1]:
            index = _class_of(confidence)
            is_right = n_accepted > 0
            n_accepted -= 1
            self._right[index] = self._right[index] * _FORGETTING + is_right
            self._asked[index] = self._asked[index] * _FORGETTING + 1
            self.mean += _LEARNING * (is_right - self.mean)

    def given_up(self, confidence: float) -> None:
        """A draft ended before a token that was given so little: as good as a token that is seldom right."""
        self.mean += _LEARNING * (self.probability(confidence) - self.mean)

    def not_asked(self) -> None:
        """A step passed without the draft model; a failure is forgotten after some hundreds of these."""
        self.mean += _RETURN * (USUAL_PROBABILITY - self.mean)


class Option(msgspec.Struct, frozen=True):
    """What may be guessed for one request.

    Attributes:
        n_max: most tokens that the draft model may be asked for; 0: it cannot be.
        probability: that its next token is right.
        n_found: tokens of the guess that was found in a text.
        expected: tokens that the step yields with that guess; 1 without.
    """

    n_max: int
    probability: float
    n_found: int = 0
    expected: float = 1.0


class Choice(msgspec.Struct, frozen=True):
    """How many tokens the draft model is asked for.

    Attributes:
        n_tokens: for each of those who ask; 0: nobody does.
        asks: whether each request asks; the others keep what was found for them.
        tokens_per_s: what is promised, all requests together; 0 while nothing is known.
        gain: times the speed without the draft model; 1 where nobody asks.
    """

    n_tokens: int
    asks: tuple[bool, ...]
    tokens_per_s: float = 0.0
    gain: float = 1.0


def choose(
    costs: StepCosts, asking_s: Callable[[int], float], options: Sequence[Option], *, n_rows_max: int
) -> Choice:
    """The number of tokens that promises the most per second.

    Args:
        costs: seconds of a step of the model.
        asking_s: seconds of a step of the draft model by its number of rows.
        options: one for each request that has a row in the step.
        n_rows_max: most rows of a step.
    """
    nobody = Choice(0, (False,) * len(options))
    n_rows = len(options) + sum(option.n_found for option in options)
    now_s = costs.seconds(n_rows)
    if now_s <= 0.0:
        return nobody
    plain = sum(option.expected for option in options) / now_s
    best = msgspec.structs.replace(nobody, tokens_per_s=plain)
    for n_tokens in _LENGTHS:
        expected = [_expected(option, n_tokens) for option in options]
        asks = tuple(n > option.expected for n, option in zip(expected, options, strict=True))
        if not any(asks):
            continue
        pairs = list(zip(options, asks, strict=True))
        n_rows = len(options) + sum(min(n_tokens, o.n_max) if ask else o.n_found for o, ask in pairs)
        if n_rows > n_rows_max:
            break
        seconds = costs.seconds(n_rows) + sum(
            asking_s(sum(ask and o.n_max > asked for o, ask in pairs)) for asked in range(n_tokens)
        )
        rate = sum(max(n, o.expected) for n, o in zip(expected, options, strict=True)) / seconds
        if rate > max(best.tokens_per_s, plain * _MIN_GAIN):
            best = Choice(n_tokens, asks, rate, rate / plain)
    return best


def is_worth_reading(
    choice: Choice, seconds_per_token: float, *, n_missing: int, tokens_per_s: float, n_left: int
) -> bool:
    """Whether it pays to have the draft model read a text that it has not seen.

    Args:
        choice: what would be chosen had it read the text.
        seconds_per_token: of the answer, now.
        n_missing: tokens to read.
        tokens_per_s: how fast it reads; 0: not known yet.
        n_left: most tokens that the answer still gets.
    """
    if not any(choice.asks) or tokens_per_s <= 0.0:
        return False
    saved_s = min(n_left, _ANSWER_TOKENS) * seconds_per_token * (1.0 - 1.0 / choice.gain)
    return saved_s > n_missing / tokens_per_s


def paying_length(costs: StepCosts, probabilities: Sequence[float], *, n_rows: int, n_others: int) -> int:
    """Tokens of a draft that are worth their rows now that its time is spent; 0 when none are.

    Args:
        probabilities: that each token is right, given that those before it are.
        n_rows: rows that the step has without this draft.
        n_others: tokens that the step yields for other requests.
    """
    best, best_rate = 0, (n_others + 1) / max(costs.seconds(n_rows), 1e-9)
    expected, together, n_counted = 1.0, 1.0, 0
    for n in draft_lengths(n_rows, len(probabilities)):
        for probability in probabilities[n_counted:n]:
            together *= probability
            expected += together
        n_counted = n
        rate = (n_others + expected) / max(costs.seconds(n_rows + n), 1e-9)
        if rate > best_rate:
            best, best_rate = n, rate
    return best


def _expected(option: Option, n_tokens: int) -> float:
    return n_expected(option.probability, min(n_tokens, option.n_max)) if option.n_max else 0.0


def _class_of(confidence: float) -> int:
    return next(index for index, (least, _) in enumerate(_CLASSES) if confidence >= least or not least)
