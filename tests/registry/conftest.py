"""A registry of the tests' own, and clients of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from server.registry.address import RegistryAddress
from server.registry.client import RegistryClient
from server.registry.connections import Connections, Timeouts
from server.registry.guard import AddressGuard
from server.registry.keys import Signer
from tests.support.registry import TestRegistry, served_registry

REPOSITORY = "me/m"


@pytest.fixture
def registry() -> Iterator[TestRegistry]:
    with served_registry() as registry:
        yield registry


@pytest.fixture
def new_client(tmp_path: Path) -> Iterator[Callable[..., RegistryClient]]:
    """Makes clients of a host; closed at the end."""
    made: list[RegistryClient] = []

    def make(host: str, *, scheme: str = "http", stall_s: float = 20.0) -> RegistryClient:
        connections = Connections(
            AddressGuard(host.split(":")[0]), timeouts=Timeouts(5.0, stall_s), proxies={}
        )
        address = RegistryAddress(scheme, host, REPOSITORY)
        made.append(RegistryClient(address, connections, Signer(tmp_path / "key"), "ollama/0 test"))
        return made[-1]

    yield make
    for client in made:
        client.connections.close()
