"""Which of several placements for a prompt: what it saves, against what it makes of the running slots. Pure.

llama.cpp computes the rows of a step together only where the streams that they belong to are neighbours, and
each further group of neighbours reads all weights once more. 60M on two processors took 63 ms for a step of
four rows in slots 0 to 3, and 112 ms in slots 0, 2, 4 and 6. All costs here are in prompt tokens: the time in
which so many are decoded.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Final

from server.engine.kv_cache import MIN_COPY_TOKENS, Placement
from server.engine.memory_policy import ANSWER_TOKENS

GROUP_TOKENS: Final = 4
"""What one more group of neighbours costs in each step. With 60M on two processors a step of one row takes as
long as 5 tokens of a prompt; but neighbours may end before the answer does."""


def n_groups(busy: Collection[int]) -> int:
    """Groups of neighbours among the slots."""
    return sum(slot - 1 not in busy for slot in busy)


def n_groups_added(slot: int, busy: Collection[int]) -> int:
    """Groups that a slot which is not busy adds: 1 without a neighbour, 0 with one, -1 between two."""
    return 1 - (slot - 1 in busy) - (slot + 1 in busy)


def gain(placement: Placement, n_in_slot: int, busy: Collection[int], n_answer: int) -> int:
    """What a placement is worth, in prompt tokens. What a slot loses counts as if it came back.

    `n_in_slot`: tokens that its slot holds now; `n_answer`: tokens of the answer, at most.
    """
    continues = placement.copy_from < 0 and placement.stored is None
    n_lost = n_in_slot - (placement.n_keep if continues else 0)
    n_steps = min(n_answer, ANSWER_TOKENS)
    return (
        placement.n_keep
        - MIN_COPY_TOKENS * (placement.copy_from >= 0)
        - n_lost
        - GROUP_TOKENS * n_steps * n_groups_added(placement.slot, busy)
    )


def choose(
    free: Sequence[int],
    busy: Collection[int],
    n_answer: int,
    place: Callable[[Collection[int]], Placement],
    length: Callable[[int], int],
) -> Placement:
    """The best placement for a prompt.

    Args:
        free: slots without a request, at least one.
        busy: slots whose rows are decoded together with those of this prompt.
        place: the best placement into some free slots (at least one), without regard to neighbours.
        length: tokens that a slot holds.
    """
    best = place(free)
    if not busy:
        return best
    best_gain = gain(best, length(best.slot), busy, n_answer)
    n_added = n_groups_added(best.slot, busy)
    for n in range(-1, n_added):
        candidates = [slot for slot in free if n_groups_added(slot, busy) == n]
        if not candidates:
            continue
        other = place(candidates)
        other_gain = gain(other, length(other.slot), busy, n_answer)
        if other_gain > best_gain:
            best, best_gain = other, other_gain
    return best
