"""Downloads behind a proxy that breaks replies, from a real registry where there is one."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import NamedTuple

import pytest

from server.errors import DigestMismatch, RegistryError, RegistryUnreachable
from server.registry.client import RegistryClient
from server.registry.download import BlobDownload
from tests.registry.conftest import REPOSITORY
from tests.registry.test_download import QUICK, MemorySink, n_fetched
from tests.support import docker_registry
from tests.support.fault_proxy import FAULTS, served_faults
from tests.support.registry import served_registry

NewClient = Callable[..., RegistryClient]

KINDS = tuple(kind for kind in FAULTS if kind != "gzip")
N_ATTEMPTS = 40


class Upstream(NamedTuple):
    """A registry: where it is, and how to put a blob into it."""

    host: str
    add: Callable[[bytes], str]


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upstream]:
    """`docker-registry`, or the tests' own where that is not installed."""
    if docker_registry.BINARY:
        with docker_registry.docker_registry(tmp_path_factory.mktemp("registry")) as host:
            yield Upstream(host, lambda data: docker_registry.add_blob(host, REPOSITORY, data))
    else:
        with served_registry() as registry:
            yield Upstream(registry.host, lambda data: registry.add_blob(REPOSITORY, data))


@pytest.mark.parametrize("seed", range(200))
def test_whatever_the_network_does_the_bytes_are_right_and_progress_never_goes_back(
    upstream: Upstream, new_client: NewClient, seed: int
) -> None:
    """And no byte comes more than twice but for errors; wrong bytes are found, thrown away, fetched anew."""
    rng = random.Random(seed)
    data = rng.randbytes(rng.randrange(1, 60_000))
    sink = MemorySink(upstream.add(data), len(data))
    share = rng.choice([0.1, 0.3, 0.6])
    kinds = (*KINDS, "corrupt") if share < 0.3 else KINDS  # with more, hardly any attempt has all bytes right
    shown = [0]
    with served_faults(upstream.host, seed, share, kinds) as proxy:
        for _ in range(N_ATTEMPTS):
            client = new_client(proxy.host, stall_s=0.1)
            download = BlobDownload(client, sink, sink.saved, policy=QUICK)
            watching = Watcher(download, shown)
            try:
                with suppress(RegistryError, RegistryUnreachable):
                    download.run()
                    break
            except DigestMismatch:
                sink = MemorySink(sink.digest, len(data))
            finally:
                watching.end()
                client.connections.close()
            assert shown == sorted(shown)
            shown = [sum(end - start for start, end in sink.saved)]
    assert bytes(sink.data) == data
    assert shown == sorted(shown)
    assert n_fetched(sink) <= 2 * len(data)


class Watcher:
    """Notes how far a download says it is, as often as it can."""

    def __init__(self, download: BlobDownload, shown: list[int]) -> None:
        self._download = download
        self._shown = shown
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._is_over.wait(0.001):
            if (completed := self._download.completed_bytes) != self._shown[-1]:
                self._shown.append(completed)

    def end(self) -> None:
        self._is_over.set()
        self._thread.join()
