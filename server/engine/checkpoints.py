"""Where in a prompt the state of a recurrent model is worth keeping. Pure.

Such a state stands for all tokens up to its place and cannot be cut, so a prompt can only go on from a place
at which a state was kept. The places are those from which the next prompt of a conversation may differ.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from server.engine.batch import TokenArray

MIN_CHECKPOINT_TOKENS: Final = 32
"""Shorter beginnings are decoded again in no time."""


def checkpoint_lengths(prompt: TokenArray, ends: TokenArray) -> tuple[int, ...]:
    """Tokens of a prompt after which its state is kept, ascending.

    That is before its last message, for when that is edited; after its first one, which is often a system
    prompt that others share; and before its last token, for when it comes again or its answer is rewritten.
    `ends`: tokens that end a message.
    """
    after_ends = np.flatnonzero(np.isin(prompt, ends)) + 1
    places = {len(prompt) - 1}
    if len(after_ends) > 1:
        places |= {int(after_ends[0]), int(after_ends[-2])}
    return tuple(sorted(place for place in places if MIN_CHECKPOINT_TOKENS <= place < len(prompt)))
