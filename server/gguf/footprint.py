"""What a model takes, as services tell it."""

from __future__ import annotations

import msgspec

from server.gguf.memory_shape import MemoryShape


class ModelFootprint(msgspec.Struct, frozen=True, kw_only=True):
    """What one model of the store takes.

    Attributes:
        own_bytes: what its deletion would free.
        shared_bytes: of its blobs that other models refer to as well.
        shared_with: names of those models.
        shape: what its memory follows from; None where the weights do not tell.
    """

    own_bytes: int
    shared_bytes: int = 0
    shared_with: tuple[str, ...] = ()
    shape: MemoryShape | None = None
