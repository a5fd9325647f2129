"""A place in the pool: a runner, who holds it, and how long it stays."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

from server.backends.base import LoadedInfo
from server.runners.policy import Resident
from server.runners.runner import LoadTarget, Runner
from server.types.models import RunnerState, RunningModel


class Entry:
    """Bookkeeping of the pool for one runner; only the pool changes it.

    Attributes:
        n_pins: requests that use the model or wait for its load. No entry with pins is unloaded.
        keep_alive_s: how long the model stays after its last request; inf: for ever.
        is_retiring: takes no new requests, and ends with its last.
        last_used_s, expires_at_s: loop time; `expires_at_s` is None while no timer runs.
    """

    def __init__(self, runner: Runner, keep_alive_s: float) -> None:
        self.runner = runner
        self.keep_alive_s = keep_alive_s
        self.n_pins = 0
        self.is_retiring = False
        self.last_used_s = 0.0
        self.expires_at_s: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def name(self) -> str:
        """The name that the model was loaded under."""
        return self.runner.target.name

    @property
    def n_bytes(self) -> int:
        """Memory: as loaded, or as promised to the load."""
        info = self._info
        if info is None:
            return self.runner.target.needed_bytes
        return info.weights_bytes + info.kv_bytes + info.compute_bytes

    @property
    def n_waiting(self) -> int:
        """Requests that wait for a load that another request began."""
        return max(0, self.n_pins - 1) if self.runner.is_loading else 0

    @property
    def _info(self) -> LoadedInfo | None:
        """The model as it is now, or as it was before its worker was lost."""
        if self.runner.info is None:
            return None
        return self.runner.backend.stats().loaded or self.runner.info

    def serves(self, target: LoadTarget) -> bool:
        """Whether a request for `target` can be given this entry now."""
        return (
            not self.is_retiring
            and self.runner.can_serve
            and self.runner.backend.is_usable
            and target.is_same_load(self.runner.target)
        )

    def start_timer(self, on_expiry: Callable[[Entry], None]) -> None:
        """From now on the model stays `keep_alive_s`; a running timer is replaced."""
        self.stop_timer()
        if self.keep_alive_s < math.inf:
            loop = asyncio.get_running_loop()
            self.expires_at_s = loop.time() + max(self.keep_alive_s, 0.0)
            self._timer = loop.call_at(self.expires_at_s, on_expiry, self)

    def stop_timer(self) -> None:
        """The model stays while it is used."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.expires_at_s = None

    def unused_bytes(self, resident_bytes: Callable[[int], int | None]) -> int:
        """Of its memory what its worker has not touched; that of a GPU is all taken at the load."""
        info = self._info
        if info is None or info.vram_bytes:
            return 0
        taken_bytes = resident_bytes(self.runner.backend.stats().pid)
        return 0 if taken_bytes is None else max(0, self.n_bytes - taken_bytes)

    def for_policy(self, resident_bytes: Callable[[int], int | None]) -> Resident:
        """The entry as the policy sees it. `resident_bytes`: memory of a process id, None when unknown."""
        return Resident(
            name=self.name,
            n_bytes=self.n_bytes,
            unused_bytes=self.unused_bytes(resident_bytes),
            is_busy=self.n_pins > 0,
            is_loading=self.runner.is_loading,
            is_leaving=self.is_retiring or not self.runner.can_serve,
            is_kept=self.keep_alive_s == math.inf,
            last_used_s=self.last_used_s,
        )

    def snapshot(self, now_s: float, wall_s: float) -> RunningModel:
        """The entry as people see it. `now_s` is loop time, `wall_s` Unix time, of the same moment."""
        runner, stats = self.runner, self.runner.backend.stats()
        info = self._info
        parts = info.device_parts if info else ()
        state: RunnerState = "stopping"
        if not self.is_retiring and runner.state != "stopped" and runner.state != "failed":
            state = runner.state
        expires_in_s = self.keep_alive_s if self.expires_at_s is None else self.expires_at_s - now_s
        return RunningModel(
            name=self.name,
            digest=runner.target.digest,
            details=runner.target.details,
            size_bytes=self.n_bytes,
            size_vram_bytes=info.vram_bytes if info else 0,
            expires_at=wall_s + (0.0 if state == "stopping" else expires_in_s),
            n_ctx=info.n_ctx if info else runner.target.params.n_ctx,
            state=state,
            load_fraction=runner.load_fraction,
            n_slots=info.n_slots if info else runner.target.params.n_slots,
            n_busy_slots=stats.n_busy_slots,
            n_kv_tokens=stats.n_kv_tokens,
            host_cache_bytes=stats.host_cache_bytes,
            weights_bytes=info.weights_bytes if info else 0,
            kv_bytes=info.kv_bytes if info else 0,
            tokens_per_s=stats.tokens_per_s,
            pid=stats.pid,
            has_draft_model=info.has_draft_model if info else False,
            draft_refusal=info.draft_refusal if info else "",
            n_layers=sum(part.n_layers for part in parts),
            n_gpu_layers=sum(part.n_layers for part in parts if part.is_gpu),
            device_parts=parts,
        )
