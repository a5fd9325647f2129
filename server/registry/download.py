"""Fetching one blob: ranges in parallel, each from where it broke off, hashed while they come.

The threads: some streams that fetch, one that hashes what is there without a gap from the beginning, and one
that keeps the journal. Knows no store: what it writes to is a `Sink`.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from server.errors import DigestMismatch, RegistryError, RegistryUnreachable
from server.registry.client import BlobBody, RegistryClient
from server.registry.parts import MIN_STOLEN_BYTES, Claim, Coverage, Intervals, PartPlan, Ramp
from server.registry.rate import RateLimit

PIECE_BYTES = 1 << 20
"""One read and one write: large enough that threads seldom hold the interpreter."""

_MIN_PIECE_BYTES = 1 << 14
_PIECE_S = 0.25  # a piece that takes longer is made smaller, so that progress is seen
_TICK_S = 0.2  # how often threads that wait look whether it is over


class Policy(NamedTuple):
    """How a blob is fetched.

    Attributes:
        part_bytes: one request. What a kill loses is less than this, by the journal; a request's round trip
            and a server's first read are a hundredth of the time of 32 MiB at 1 Gbit/s.
        n_streams: connections at once. One stream of a content network brings some tens of MB/s over a long
            way; more than eight gain nothing on a line that eight fill, and some networks refuse them.
        n_first_streams: with so many it begins, and with no more it goes on while they are fast.
        fast_bytes_per_s: what counts as fast: from there on it is processors that are busy, and more threads
            are in each other's way.
        n_tries: failures in a row, without progress, after which a stream ends; as Ollama.
        backoff_s: pause after the first failure, doubled with each further one; as Ollama.
        progress_bytes: what counts as progress.
        journal_bytes: the journal is written whenever so much has come, and each second.
        sync_bytes: what has come is put on the disk whenever it is so much.
    """

    part_bytes: int = 32 << 20
    n_streams: int = 8
    n_first_streams: int = 2
    fast_bytes_per_s: int = 200_000_000
    n_tries: int = 6
    backoff_s: float = 1.0
    progress_bytes: int = 1 << 16
    journal_bytes: int = 16 << 20
    journal_s: float = 1.0
    sync_bytes: int = 512 << 20
    min_stolen_bytes: int = MIN_STOLEN_BYTES


USUAL = Policy()


class Sink(Protocol):
    """Where the bytes go; all methods may be called in any thread."""

    @property
    def digest(self) -> str: ...

    @property
    def total_bytes(self) -> int: ...

    def write_at(self, data: memoryview, offset: int) -> None:
        """Write all of it."""
        ...

    def read_at(self, n_bytes: int, offset: int) -> bytes:
        """Read some of what was written."""
        ...

    def save(self, written: Intervals) -> None:
        """Note what is there."""
        ...

    def sync(self, written: Intervals) -> None:
        """Put it on the disk, and note that."""
        ...


class BlobDownload:
    """Fetches what is missing of a blob and verifies the whole."""

    def __init__(
        self,
        client: RegistryClient,
        sink: Sink,
        written: Intervals,
        *,
        policy: Policy = USUAL,
        limits: Sequence[RateLimit] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`written`: what is there already."""
        self._client = client
        self._sink = sink
        self._policy = policy
        self._limits = limits
        self._clock = clock
        lock = threading.RLock()
        self._changed = threading.Condition(lock)
        self._journal_due = threading.Condition(lock)
        self._plan = PartPlan(Coverage(sink.total_bytes, written), policy.part_bytes, policy.min_stolen_bytes)
        self._ramp = Ramp(policy.fast_bytes_per_s, clock(), self.completed_bytes)
        self._may_all_begin = threading.Event()
        self._failure: Exception | None = None
        self._is_stopped = False
        self._has_ranges = False
        self._sequential: Claim | None = None
        self._n_streams = 0
        self._hashed = 0
        self._saved = self.completed_bytes
        self._digest = ""

    @property
    def completed_bytes(self) -> int:
        """How many bytes are there; never less than before."""
        return self._plan.coverage.n_bytes

    def run(self) -> None:
        """Do it; returns when the blob is whole and verified.

        Raises: DigestMismatch, RegistryError, RegistryUnreachable, what the sink raises; RegistryUnreachable
            also after `stop`. What was fetched can be gone on with in any case but that of DigestMismatch.
        """
        missing = self._sink.total_bytes - self.completed_bytes
        n_parts = -(-missing // self._policy.part_bytes)
        self._n_streams = min(self._policy.n_streams, max(n_parts, 1)) if missing else 0
        first = [self._stream] * min(self._policy.n_first_streams, self._n_streams)
        later = [self._later_stream] * (self._n_streams - len(first))
        work = [*first, *later, self._hash, self._keep_journal]
        threads = [threading.Thread(target=self._guarded, args=(task,), daemon=True) for task in work]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self._guarded(lambda: self._sink.save(self._plan.coverage.intervals()))
        if self._failure is not None:
            raise self._failure
        if not self._plan.coverage.is_complete:
            raise RegistryUnreachable("the download was stopped", hint="Pull again to go on with it.")
        if self._digest != self._sink.digest:
            raise DigestMismatch(
                "digest mismatch, file must be downloaded again: "
                f"want {self._sink.digest}, got {self._digest}",
                hint="What came is not what the registry's manifest names; it was thrown away.",
            )

    def stop(self) -> None:
        """Have `run` end soon, in another thread."""
        with self._changed:
            self._is_stopped = True
            self._may_all_begin.set()
            self._changed.notify_all()
            self._journal_due.notify()
        self._client.connections.abort()

    def _guarded(self, task: Callable[[], None]) -> None:
        try:
            task()
        except Exception as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        with self._changed:
            if self._failure is None and not self._is_over():
                self._failure = error
            self._may_all_begin.set()
            self._changed.notify_all()
            self._journal_due.notify()
        # Streams that wait for bytes must not be waited for.
        self._client.connections.abort()

    def _is_over(self) -> bool:
        return self._is_stopped or self._failure is not None

    def _later_stream(self) -> None:
        """A stream that begins when those that have begun are slow, or have failed."""
        while not self._may_all_begin.wait(_TICK_S):
            with self._changed:
                if self._ramp.look(self.completed_bytes, self._clock()):
                    self._may_all_begin.set()
        self._stream()

    def _stream(self) -> None:
        """Fetch part after part until there is none."""
        n_failures = 0
        while (claim := self._next_claim()) is not None:
            before = claim.position
            try:
                self._fetch(claim)
                n_failures = 0
            except (RegistryUnreachable, RegistryError) as error:
                if claim.position - before >= min(self._policy.progress_bytes, self._policy.part_bytes):
                    n_failures = 0
                n_failures += 1
                if not self._may_try_again(error, n_failures):
                    return
            finally:
                self._release(claim)
            if n_failures:
                self._pause(self._policy.backoff_s * 2 ** (n_failures - 1))
        if self._plan.coverage.is_complete:
            # Others may still wait for bytes that came over another connection.
            self._client.connections.abort()

    def _may_try_again(self, error: RegistryUnreachable | RegistryError, n_failures: int) -> bool:
        """Whether a stream goes on after a failure; the last one that does not fails the download."""
        self._may_all_begin.set()
        if self._plan.coverage.is_complete:
            return False
        if isinstance(error, RegistryError) and not is_passing(error.status):
            self._fail(error)
            return False
        if n_failures < self._policy.n_tries:
            return not self._is_over()
        with self._changed:
            self._n_streams -= 1
            is_last = self._n_streams == 0
        if is_last:
            hint = error.hint or "Pull again to go on from where it stands."
            self._fail(RegistryUnreachable(f"max retries exceeded: {error.message}", hint=hint))
        return False

    def _next_claim(self) -> Claim | None:
        """A part to fetch, once there is one; None at the end."""
        with self._changed:
            while not self._is_over() and not self._plan.coverage.is_complete:
                if self._sequential is None and (claim := self._plan.claim(self._clock())):
                    return claim
                self._changed.wait(_TICK_S)
        return None

    def _fetch(self, claim: Claim) -> None:
        total = self._sink.total_bytes
        with self._client.open_blob(self._sink.digest, claim.position, claim.end, total) as body:
            buffer = memoryview(bytearray(min(PIECE_BYTES, max(total, 1))))
            if not body.is_whole:
                self._has_ranges = True
            elif not self._go_sequential(claim, body, buffer):
                return
            n_piece = min(_MIN_PIECE_BYTES * 4, len(buffer))
            while (n_wanted := self._begin(claim, n_piece)) > 0:
                began = self._clock()
                self._take_budget(n_wanted)
                n_read = body.readinto(buffer[:n_wanted])
                if n_read:
                    self._sink.write_at(buffer[:n_read], claim.position)
                    self._advance(claim, n_read)
                if n_read < n_wanted:
                    raise RegistryUnreachable("unexpected EOF")
                took_s = self._clock() - began
                n_piece = n_piece // 2 if took_s > _PIECE_S else n_piece * 2
                n_piece = min(max(n_piece, _MIN_PIECE_BYTES), len(buffer))

    def _advance(self, claim: Claim, n_bytes: int) -> None:
        """Note what was written; others are woken only when there is enough for them to do."""
        with self._changed:
            self._plan.advance(claim, n_bytes, self._clock())
            coverage = self._plan.coverage
            if coverage.is_complete:
                self._may_all_begin.set()
            if coverage.is_complete or coverage.frontier - self._hashed >= PIECE_BYTES:
                self._changed.notify_all()
            if self._is_journal_due():
                self._journal_due.notify()

    def _begin(self, claim: Claim, n_bytes: int) -> int:
        """How many bytes to read next; 0 when the claim is done or everything is over."""
        for limit in self._limits:
            n_bytes = limit.slice_bytes(n_bytes)
        with self._changed:
            if self._is_over() or self._plan.coverage.is_complete:
                return 0
            return self._plan.begin(claim, n_bytes)

    def _take_budget(self, n_bytes: int) -> None:
        for limit in self._limits:
            limit.take(n_bytes, self._is_over)

    def _go_sequential(self, claim: Claim, body: BlobBody, buffer: memoryview) -> bool:
        """Read a blob that comes from its beginning alone up to the claim; False when another stream does."""
        with self._changed:
            if self._has_ranges:
                raise RegistryError("the registry sent the whole blob for a part of it")
            if self._sequential is not None:
                return False
            self._sequential = claim
            self._plan.extend(claim)
        position = body.start
        while position < claim.position and not self._is_over():
            n_wanted = min(len(buffer), claim.position - position)
            self._take_budget(n_wanted)
            n_read = body.readinto(buffer[:n_wanted])
            position += n_read
            if n_read < n_wanted:
                raise RegistryUnreachable("unexpected EOF")
        return True

    def _release(self, claim: Claim) -> None:
        with self._changed:
            self._plan.release(claim)
            if self._sequential is claim:
                self._sequential = None
            self._changed.notify_all()

    def _pause(self, seconds: float) -> None:
        until = self._clock() + seconds
        with self._changed:
            while not self._is_over() and (left := until - self._clock()) > 0:
                self._changed.wait(left)

    def _hash(self) -> None:
        """Hash what is there from the beginning, and wait for more, to the end."""
        hasher = hashlib.sha256()
        while self._hashed < self._sink.total_bytes:
            with self._changed:
                while (ready := self._plan.coverage.frontier) == self._hashed and not self._is_over():
                    self._changed.wait(_TICK_S)
            if self._is_over():
                return
            piece = self._sink.read_at(min(PIECE_BYTES, ready - self._hashed), self._hashed)
            if not piece:
                raise RegistryUnreachable("the file of the download has got shorter meanwhile")
            hasher.update(piece)
            self._hashed += len(piece)
        self._digest = f"sha256:{hasher.hexdigest()}"

    def _keep_journal(self) -> None:
        """Note what is there, in time."""
        synced = self._saved
        self._sink.save(self._plan.coverage.intervals())
        while True:
            with self._changed:
                self._journal_due.wait_for(self._is_journal_due, self._policy.journal_s)
                if self._is_over() or self._plan.coverage.is_complete:
                    return
                written = self._plan.coverage.intervals()
                saved_now = self._plan.coverage.n_bytes
            if saved_now == self._saved:
                continue
            self._saved = saved_now
            if saved_now - synced >= self._policy.sync_bytes:
                self._sink.sync(written)
                synced = saved_now
            else:
                self._sink.save(written)

    def _is_journal_due(self) -> bool:
        coverage = self._plan.coverage
        is_much = coverage.n_bytes - self._saved >= self._policy.journal_bytes
        return self._is_over() or coverage.is_complete or is_much


def is_passing(status: int) -> bool:
    """Whether a refusal may be gone the next time: a reply that is none, too many requests, or a fault."""
    return status in (0, 408, 425, 429) or status >= 500
