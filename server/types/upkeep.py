"""What keeping a model store clean tells: garbage, and what is broken."""

from __future__ import annotations

from typing import Literal

import msgspec


class GarbageItem(msgspec.Struct, frozen=True, kw_only=True):
    """Something in the store that no model needs.

    Attributes:
        kind: a whole blob, a download that is not finished, or a file of a program that wrote and died.
        name: path below the store's folder; of several files the first.
        what: what the bytes are, as far as that can be told, "weights: llama, 5.77M, Q8_0".
        size_bytes: what it takes on the disk.
        age_s: since it was last written or asked for.
        owner: user of the system that it belongs to, with the program where that is known.
        reason: why it is garbage, or why it is kept.
    """

    kind: Literal["blob", "partial", "temporary"]
    name: str
    what: str = ""
    size_bytes: int
    age_s: float
    owner: str = ""
    reason: str


class GarbageReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a collection has removed, or would remove.

    Attributes:
        items: removed, or with `is_dry_run` what would be.
        kept: no model needs these either, but they stay for now.
        note: why no blob is removed whatever its age, "" when blobs may be.
    """

    items: tuple[GarbageItem, ...] = ()
    kept: tuple[GarbageItem, ...] = ()
    is_dry_run: bool = False
    note: str = ""

    @property
    def size_bytes(self) -> int:
        """Of the items together."""
        return sum(item.size_bytes for item in self.items)


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is wrong in the store.

    Attributes:
        severity: an error breaks a model or a blob, a warning does not.
        place: path below the store's folder.
        what: what is wrong.
        models: names of the models that it breaks.
        advice: what to do about it.
    """

    severity: Literal["error", "warning"]
    place: str
    what: str
    models: tuple[str, ...] = ()
    advice: str = ""


class CheckProgress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a check of the store is; with a fault when one was found.

    Attributes:
        status: what is being done.
        total_bytes, completed_bytes: of the blobs that are read; 0 before that is known.
    """

    status: str
    total_bytes: int = 0
    completed_bytes: int = 0
    fault: Fault | None = None
