"""What a step that was cut off leaves of a slot."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from server.engine.kv_cache import SlotCache
from server.engine.media import stand_ins
from server.engine.slot_memory import SlotMemory

TEXT = np.array([5, 6], np.int32)
PICTURE = stand_ins(b"picture", 0, 3)
ALL = np.concatenate([TEXT, PICTURE, TEXT])


class CutOff:
    """A context with more in memory than was recorded; `removed`: what was cut, as (slot, start)."""

    def __init__(self) -> None:
        self.removed: list[tuple[int, int]] = []

    def n_cached(self, slot: int) -> int:
        return 12

    def remove(self, slot: int, start: int) -> bool:
        self.removed.append((slot, start))
        return True


@pytest.mark.parametrize(
    ("held", "left"),
    [
        ((TEXT,), TEXT),
        ((TEXT, PICTURE), TEXT),
        ((TEXT, PICTURE, TEXT), np.concatenate([TEXT, PICTURE, TEXT])),
    ],
    ids=["text", "part of a picture", "text behind a picture"],
)
def test_a_part_of_a_picture_goes_with_the_step_that_was_cut_off(held: Any, left: Any) -> None:
    context: Any = CutOff()
    states: Any = None
    cache = SlotCache(1, 16)
    for tokens in held:
        cache.append(0, tokens)
    SlotMemory(context, cache, states, None, lambda: ()).forget_unrecorded([0])
    assert cache.tokens(0).tolist() == left.tolist()
    assert context.removed == [(0, len(left))]
