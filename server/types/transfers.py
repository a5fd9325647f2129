"""What is pulled and pushed."""

from __future__ import annotations

from typing import Literal

import msgspec

TransferKind = Literal["pull", "push"]
TransferState = Literal["waiting", "running", "paused", "done", "failed", "cancelled"]


class TransferRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A model to pull or push.

    Attributes:
        insecure: over plain HTTP.
        limit_bytes_per_s: for this transfer alone; 0: no limit of its own.
    """

    model: str
    insecure: bool = False
    limit_bytes_per_s: int = 0


class TransferProgress(msgspec.Struct, frozen=True):
    """A status line in Ollama's words; the numbers are 0 where there are none."""

    status: str
    digest: str = ""
    total_bytes: int = 0
    completed_bytes: int = 0


class TransferInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A transfer, for lists.

    Attributes:
        id: counts up from 1 while a server runs.
        model: display name.
        status: what it does, in Ollama's words; why it failed when it has.
        total_bytes: of all its blobs, 0 before the manifest is there.
        completed_bytes: of these; never less than before.
        bytes_per_s: of the last seconds.
        remaining_s: at this rate, None when it cannot be told.
        limit_bytes_per_s: its own limit, 0 for none.
        insecure: over plain HTTP.
        n_followers: how many callers wait for it; without any it is cancelled, unless it was started to go
            on alone.
        started_at: Unix time, seconds.
    """

    id: int
    kind: TransferKind
    model: str
    state: TransferState
    status: str = ""
    total_bytes: int = 0
    completed_bytes: int = 0
    bytes_per_s: float = 0.0
    remaining_s: float | None = None
    limit_bytes_per_s: int = 0
    insecure: bool = False
    n_followers: int = 0
    started_at: float = 0.0


class TransferList(msgspec.Struct, frozen=True, kw_only=True):
    """All transfers: those under way in their order, then those that have ended, latest first.

    Attributes:
        limit_bytes_per_s: of all together, 0 for none.
    """

    transfers: tuple[TransferInfo, ...] = ()
    limit_bytes_per_s: int = 0


class PartialDownload(msgspec.Struct, frozen=True, kw_only=True):
    """A blob that is not whole yet and lies in the store, to be gone on with by the next pull of its model.

    Attributes:
        digest: "sha256:" with 64 hex digits.
        model: for which it was fetched last, "" when not known.
        total_bytes: 0 when not known.
        size_bytes: what it takes on the disk.
        modified_at: Unix time of the last byte, seconds.
        is_in_use: somebody fetches it now; what an Ollama does cannot be told.
        program: who began it; what an Ollama has left is taken over by a pull, and never removed by hand.
    """

    digest: str
    model: str = ""
    total_bytes: int = 0
    completed_bytes: int = 0
    size_bytes: int = 0
    modified_at: float = 0.0
    is_in_use: bool = False
    program: Literal["olla", "Ollama"] = "olla"
