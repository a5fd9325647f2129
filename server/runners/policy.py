"""Which models make room for which, and why a request waits. Pure: no clock, no process, no log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

MODELS_PER_GPU: Final = 3
"""Ollama's default of models loaded at once per GPU; a machine without one counts as one."""


class Resident(msgspec.Struct, frozen=True, kw_only=True):
    """A model that takes memory, as the policy sees it.

    Attributes:
        n_bytes: memory that it holds, or that its load was promised.
        unused_bytes: of these, what it has not touched so far, so that it still shows in what is free.
        is_busy: requests use it or wait for its load.
        is_loading: not ready yet, so its memory does not show in what is free.
        is_leaving: it takes no new requests and ends with its last; its memory comes back.
        is_kept: asked to stay for ever; goes only when nothing else can.
        last_used_s: when its last request ended, on any one clock.
    """

    name: str
    n_bytes: int
    unused_bytes: int = 0
    is_busy: bool = False
    is_loading: bool = False
    is_leaving: bool = False
    is_kept: bool = False
    last_used_s: float = 0.0


class LoadNow(msgspec.Struct, frozen=True):
    """There is room."""


class Evict(msgspec.Struct, frozen=True):
    """There will be room once these are gone."""

    names: tuple[str, ...]


class Await(msgspec.Struct, frozen=True):
    """Nothing can be done now.

    Attributes:
        reason: for the one who waits.
        is_unloading: room is being made already; otherwise other requests have to end first.
    """

    reason: str
    is_unloading: bool = False


Plan = LoadNow | Evict | Await


def max_loaded_models(n_gpus: int) -> int:
    """Models that may be loaded at once where nobody has said so."""
    return MODELS_PER_GPU * max(n_gpus, 1)


def plan_load(
    needed_bytes: int,
    residents: Sequence[Resident],
    *,
    max_loaded: int,
    free_bytes: int,
    may_drain: bool = False,
) -> Plan:
    """What to do so that a model of `needed_bytes` can be loaded beside `residents`.

    A model that finds nobody else is always loaded: what does not fit then is for the engine to say.

    Args:
        free_bytes: as measured; models that load do not show in it yet, and others in part.
        may_drain: a busy model, too, may be told to end with its present requests.
    """
    staying = [resident for resident in residents if not resident.is_leaving]
    leaving = [resident for resident in residents if resident.is_leaving]
    promised_bytes = sum(r.n_bytes if r.is_loading else r.unused_bytes for r in residents)
    room = _Room(needed_bytes, max_loaded, free_bytes - promised_bytes)
    if room.suffices(residents, freed_bytes=0):
        return LoadNow()
    freed_bytes = sum(r.n_bytes for r in leaving)
    if room.suffices(staying, freed_bytes=freed_bytes):
        is_unloading = not any(r.is_busy for r in leaving)
        return Await(f"waits for {_names(leaving)} to unload", is_unloading=is_unloading)
    victims = evictions_for(room, staying, freed_bytes=freed_bytes, may_drain=may_drain)
    if victims:
        return Evict(victims)
    return Await(_busy_reason(room, residents))


class _Room(msgspec.Struct, frozen=True):
    """What one load asks for.

    Attributes:
        free_bytes: free now, less what was promised and is not used so far.
    """

    needed_bytes: int
    max_loaded: int
    free_bytes: int

    def suffices(self, others: Sequence[Resident], *, freed_bytes: int) -> bool:
        """Whether the load can start beside `others` once `freed_bytes` have come back."""
        if not others:
            return True
        fits = self.free_bytes + freed_bytes >= self.needed_bytes
        return fits and len(others) < self.max_loaded


def evictions_for(
    room: _Room, staying: Sequence[Resident], *, freed_bytes: int, may_drain: bool
) -> tuple[str, ...]:
    """Models to unload, least recently used first, and none that could be spared; empty when none would do.

    Idle models go before busy ones, which go only with `may_drain`, and models kept for ever go last.
    A model that is loading is never taken.
    """
    candidates = [r for r in staying if not r.is_loading and (may_drain or not r.is_busy)]
    candidates.sort(key=lambda r: (r.is_busy, r.is_kept, r.last_used_s, r.name))
    victims: list[Resident] = []
    for candidate in candidates:
        victims.append(candidate)
        if _suffices_without(room, staying, victims, freed_bytes):
            return _spare(room, staying, victims, freed_bytes)
    return ()


def _suffices_without(
    room: _Room, staying: Sequence[Resident], victims: Sequence[Resident], freed_bytes: int
) -> bool:
    remaining = [r for r in staying if r not in victims]
    return room.suffices(remaining, freed_bytes=freed_bytes + sum(r.n_bytes for r in victims))


def _spare(
    room: _Room, staying: Sequence[Resident], victims: Sequence[Resident], freed_bytes: int
) -> tuple[str, ...]:
    """The victims without those that need not go after all, the most recently used spared first."""
    kept = list(victims)
    for victim in reversed(victims):
        fewer = [r for r in kept if r is not victim]
        if fewer and _suffices_without(room, staying, fewer, freed_bytes):
            kept = fewer
    return tuple(r.name for r in kept)


def _busy_reason(room: _Room, residents: Sequence[Resident]) -> str:
    if len(residents) >= room.max_loaded:
        n = len(residents)
        return f"waits for a loaded model to become idle: {n} of {room.max_loaded} are loaded"
    needed, free = room.needed_bytes / 2**30, max(room.free_bytes, 0) / 2**30
    return f"waits for memory: needs {needed:.1f} GiB, {free:.1f} GiB are free"


def _names(residents: Sequence[Resident]) -> str:
    return ", ".join(r.name for r in residents)
