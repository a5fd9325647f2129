from __future__ import annotations

import hashlib
import random
import threading
from collections.abc import Callable

import pytest

from server.errors import DigestMismatch, DiskFull, RegistryError, RegistryUnreachable
from server.registry.client import RegistryClient
from server.registry.download import BlobDownload, Policy, is_passing
from server.registry.parts import Intervals
from server.registry.rate import RateLimit
from tests.registry.conftest import REPOSITORY
from tests.support.fault_proxy import served_faults
from tests.support.registry import TestRegistry

NewClient = Callable[..., RegistryClient]

QUICK = Policy(
    part_bytes=4096,
    n_streams=4,
    n_first_streams=3,
    backoff_s=0.001,
    progress_bytes=512,
    journal_bytes=8192,
    sync_bytes=32768,
    min_stolen_bytes=1024,
)
DATA = random.Random(1).randbytes(100_000)
DIGEST = f"sha256:{hashlib.sha256(DATA).hexdigest()}"


class MemorySink:
    """Bytes and a journal in memory; `room` is where the disk is full."""

    def __init__(self, digest: str = DIGEST, total_bytes: int = len(DATA), room: int | None = None) -> None:
        self.digest = digest
        self.total_bytes = total_bytes
        self.data = bytearray(total_bytes)
        self.saved: Intervals = ()
        self.n_syncs = 0
        self.written: list[tuple[int, int]] = []
        self._room = total_bytes if room is None else room

    def write_at(self, data: memoryview, offset: int) -> None:
        if offset + len(data) > self._room:
            raise DiskFull("no room left")
        self.data[offset : offset + len(data)] = data
        self.written.append((offset, offset + len(data)))

    def read_at(self, n_bytes: int, offset: int) -> bytes:
        return bytes(self.data[offset : offset + n_bytes])

    def save(self, written: Intervals) -> None:
        self.saved = written

    def sync(self, written: Intervals) -> None:
        self.n_syncs += 1
        self.saved = written


def fetch(client: RegistryClient, sink: MemorySink, policy: Policy = QUICK) -> None:
    try:
        BlobDownload(client, sink, sink.saved, policy=policy).run()
    finally:
        client.connections.close()


def n_fetched(sink: MemorySink) -> int:
    return sum(end - start for start, end in sink.written)


def test_a_blob_comes_in_parts_each_once(registry: TestRegistry, new_client: NewClient) -> None:
    registry.add_blob(REPOSITORY, DATA)
    sink = MemorySink()
    fetch(new_client(registry.host), sink)
    assert bytes(sink.data) == DATA
    assert n_fetched(sink) == len(DATA)
    assert sink.saved == ((0, len(DATA)),)
    assert sink.n_syncs >= 1
    assert registry.count("GET", "/blobs/") >= len(DATA) / QUICK.part_bytes


def test_an_empty_blob_needs_no_request(registry: TestRegistry, new_client: NewClient) -> None:
    fetch(new_client(registry.host), MemorySink(f"sha256:{hashlib.sha256(b'').hexdigest()}", 0))
    assert registry.requests == []


def test_what_is_there_is_not_fetched_again(registry: TestRegistry, new_client: NewClient) -> None:
    registry.add_blob(REPOSITORY, DATA)
    sink = MemorySink()
    sink.data[:50_000] = DATA[:50_000]
    sink.saved = ((0, 50_000),)
    fetch(new_client(registry.host), sink)
    assert bytes(sink.data) == DATA
    assert n_fetched(sink) == 50_000


def test_a_server_without_ranges_sends_it_all_at_once(registry: TestRegistry, new_client: NewClient) -> None:
    registry.add_blob(REPOSITORY, DATA)
    registry.has_ranges = False
    sink = MemorySink()
    sink.data[:10] = DATA[:10]
    sink.saved = ((0, 10),)
    fetch(new_client(registry.host), sink)
    assert bytes(sink.data) == DATA


def test_bytes_that_are_not_those_of_the_digest_are_found(
    registry: TestRegistry, new_client: NewClient
) -> None:
    registry.blobs[REPOSITORY, DIGEST] = bytes(len(DATA))
    with pytest.raises(DigestMismatch, match=f"want {DIGEST}, got sha256:"):
        fetch(new_client(registry.host), MemorySink())


def test_a_full_disk_is_told_and_leaves_what_is_there(registry: TestRegistry, new_client: NewClient) -> None:
    registry.add_blob(REPOSITORY, DATA)
    sink = MemorySink(room=50_000)
    with pytest.raises(DiskFull):
        fetch(new_client(registry.host), sink)
    n_saved = sum(end - start for start, end in sink.saved)
    assert n_saved > 0
    sink._room = len(DATA)
    sink.written.clear()
    fetch(new_client(registry.host), sink)
    assert bytes(sink.data) == DATA
    assert n_fetched(sink) == len(DATA) - n_saved


def test_what_a_registry_does_not_have_is_not_asked_for_again(
    registry: TestRegistry, new_client: NewClient
) -> None:
    with pytest.raises(RegistryError, match="file does not exist"):
        fetch(new_client(registry.host), MemorySink())
    assert registry.count("GET", "/blobs/") <= QUICK.n_streams


@pytest.mark.parametrize("kind", ["refuse", "drop", "other range", "busy"])
def test_who_never_brings_anything_is_given_up(
    registry: TestRegistry, new_client: NewClient, kind: str
) -> None:
    registry.add_blob(REPOSITORY, DATA)
    with served_faults(registry.host, 1, 1.0, (kind,)) as proxy:
        with pytest.raises(RegistryUnreachable, match="max retries exceeded: "):
            fetch(new_client(proxy.host), MemorySink())
        assert proxy.n_faults == QUICK.n_streams * QUICK.n_tries


def test_a_stream_that_stands_still_is_replaced(registry: TestRegistry, new_client: NewClient) -> None:
    registry.add_blob(REPOSITORY, DATA)
    sink = MemorySink()
    with served_faults(registry.host, 1, 0.3, ("stall",)) as proxy:
        fetch(new_client(proxy.host, stall_s=0.05), sink)
        assert proxy.n_faults > 0
    assert bytes(sink.data) == DATA


def test_a_download_that_is_stopped_ends_and_goes_on_later(
    registry: TestRegistry, new_client: NewClient
) -> None:
    registry.add_blob(REPOSITORY, DATA)
    sink = MemorySink()
    client = new_client(registry.host)
    limit = RateLimit(1)
    download = BlobDownload(client, sink, (), policy=QUICK, limits=[limit])
    failures: list[Exception] = []

    def run() -> None:
        try:
            download.run()
        except RegistryUnreachable as error:
            failures.append(error)

    running = threading.Thread(target=run)
    running.start()
    download.stop()
    running.join(10)
    assert [error.message for error in failures] == ["the download was stopped"]
    fetch(new_client(registry.host), sink)
    assert bytes(sink.data) == DATA


def test_which_refusals_may_pass() -> None:
    assert all(map(is_passing, (0, 408, 429, 500, 503)))
    assert not any(map(is_passing, (200, 206, 310, 400, 401, 403, 404, 416)))
