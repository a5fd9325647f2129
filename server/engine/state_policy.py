"""What is worth keeping of the state of a conversation, and when it pays to put it back. Pure.

The state of a slot is what llama.cpp copies out of it (keys and values, or a recurrent state), with the
tokens that it stands for. It is kept in memory and on disk, each bounded in bytes, the least recently used
going first.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, TypeVar

import msgspec

from server.engine.batch import TokenArray
from server.engine.kv_cache import common_prefix
from server.engine.media import whole_spans

MIN_HOST_TOKENS: Final = 128
"""A slot that would lose fewer tokens is not copied out: they are decoded again in no time."""

LONG_TAIL_TOKENS: Final = 1024
"""A loss of this many tokens is worth a copy even where most of the slot stays (a long system prompt)."""

REPLACED_TAIL_PART: Final = 4
"""A state of which another one lacks no more than one part in so many is not kept beside it."""

MIN_DISK_TOKENS: Final = 256
"""Shorter conversations are not written to disk."""

FRESH_SHARE: Final = 0.1
"""Share of a conversation that may be missing on disk for a while: a long one is not written each turn."""

SAVE_DELAY_S: Final = 0.5
"""Idle time before a conversation is written; requests that follow each other closely are not disturbed."""

RESAVE_DELAY_S: Final = 30.0
"""Idle time before a conversation that is mostly on disk is written again."""

RESTORE_OVERHEAD_S: Final = 0.001
"""What a restore costs beside its bytes."""

_SMOOTHING: Final = 0.3
_MIN_MEASURED_BYTES: Final = 1 << 20

K = TypeVar("K")


class Rate:
    """Bytes per second of one kind of copy, measured as it goes."""

    def __init__(self, bytes_per_s: float) -> None:
        self.bytes_per_s = bytes_per_s

    def seconds(self, n_bytes: int) -> float:
        """How long a copy of `n_bytes` is expected to take."""
        return n_bytes / self.bytes_per_s

    def measured(self, n_bytes: int, seconds: float) -> None:
        """A copy took this long. Small ones say nothing about the rate."""
        if n_bytes >= _MIN_MEASURED_BYTES and seconds > 0:
            self.bytes_per_s += _SMOOTHING * (n_bytes / seconds - self.bytes_per_s)


class Offer(msgspec.Struct, frozen=True):
    """A state that could be put into a slot for a prompt.

    Attributes:
        n_shared: tokens of the prompt that it would save from being decoded.
        restore_s: how long it takes to put it back.
    """

    n_shared: int
    restore_s: float


def gain_s(offer: Offer, n_kept: int, prefill_tokens_per_s: float) -> float:
    """Seconds that an offer saves against a slot that already has `n_kept` tokens of the prompt."""
    prefill_s = (offer.n_shared - n_kept) / max(prefill_tokens_per_s, 1e-9)
    return prefill_s - offer.restore_s - RESTORE_OVERHEAD_S


def n_usable(tokens: TokenArray, prompt: TokenArray, *, whole_only: bool) -> int:
    """Tokens at the start of a prompt that a state of `tokens` stands for; at least one is left to decode.

    `whole_only`: a state that cannot be cut helps only when the prompt goes on where it ends.
    """
    n = whole_spans(prompt, common_prefix(tokens, prompt[:-1]))
    return 0 if whole_only and n < len(tokens) else n


def is_beginning(a: TokenArray, b: TokenArray) -> bool:
    """Whether `b` begins with all of `a`."""
    return len(a) <= len(b) and common_prefix(a, b) == len(a)


def replaces(new: TokenArray, old: TokenArray, *, whole_only: bool) -> bool:
    """Whether a state of `old` is of little use beside one of `new`.

    It is when only the last turn differs: models that think are not shown their earlier thoughts again, so
    each turn of theirs leaves the way of the one before, and a state of each would fill the cache.
    """
    n_shared = common_prefix(new, old)
    if whole_only:
        return n_shared == len(new) == len(old)
    return len(old) - n_shared <= min(len(old) // REPLACED_TAIL_PART, LONG_TAIL_TOKENS)


def is_worth_copying(n_tokens: int, n_kept: int) -> bool:
    """Whether a slot of `n_tokens` tokens is copied out before all but `n_kept` of them are lost."""
    n_lost = n_tokens - n_kept
    return n_lost >= LONG_TAIL_TOKENS or (n_lost >= MIN_HOST_TOKENS and 2 * n_lost > n_tokens)


def save_delay_s(n_tokens: int, n_on_disk: int) -> float | None:
    """How long a slot must have been idle before it is written to disk; None: it is not written."""
    n_missing = n_tokens - n_on_disk
    if n_tokens < MIN_DISK_TOKENS or n_missing <= 0:
        return None
    return SAVE_DELAY_S if n_missing >= FRESH_SHARE * n_tokens else RESAVE_DELAY_S


def evictions(sizes: Iterable[tuple[K, int]], needed_bytes: int, limit_bytes: int) -> list[K] | None:
    """What has to go so that `needed_bytes` more fit within the limit. None: they never fit.

    `sizes`: (what, bytes), those to go first in front.
    """
    if needed_bytes > limit_bytes:
        return None
    entries = list(sizes)
    total_bytes = sum(n_bytes for _, n_bytes in entries) + needed_bytes
    victims: list[K] = []
    for what, n_bytes in entries:
        if total_bytes <= limit_bytes:
            break
        victims.append(what)
        total_bytes -= n_bytes
    return victims
