"""Which machines a transfer may connect to.

A registry on the public internet has no business with this machine or its network: an address in a private
range, be it in a redirect or by DNS, is refused. A registry that is itself private may name others like it.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable
from typing import NamedTuple

from server.errors import RegistryError

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


class Target(NamedTuple):
    """A resolved address that may be connected to."""

    family: int
    address: str
    port: int


Resolve = Callable[[str, int], list[Target]]


def resolve(host: str, port: int) -> list[Target]:
    """All addresses of a host. Raises: OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return [Target(family, str(place[0]), port) for family, _, _, _, place in found]


def is_private(address: str) -> bool:
    """Whether an address is anything but one of the public internet."""
    return not _inner(address).is_global


def _inner(text: str) -> IPAddress:
    """An address; of those of IPv6 that stand for one of IPv4, that one."""
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        return address.ipv4_mapped or address.sixtofour or address
    return address


class AddressGuard:
    """Vets every connection of one transfer. What the registry is, is decided by its first resolution."""

    def __init__(self, registry_host: str, resolve: Resolve = resolve) -> None:
        """`registry_host`: without a port."""
        self._registry_host = registry_host.lower()
        self._resolve = resolve
        self._registry: list[Target] | None = None

    def targets(self, host: str, port: int) -> list[Target]:
        """Where to connect for a host. Raises: OSError, RegistryError when it may not be connected to."""
        found = self._resolve(host, port)
        if self._registry is None:
            is_registry = host.lower() == self._registry_host
            self._registry = found if is_registry else self._resolve(self._registry_host, port)
        allowed = [target for target in found if self._may(target.address)]
        if not allowed:
            raise RegistryError(
                f"{host} is an address of a private network, where {self._registry_host} may not send us",
                hint="Only a registry that is on a private network itself may redirect there.",
            )
        return allowed

    def check_literal(self, host: str) -> None:
        """Refuse a host that is written as a forbidden address; a proxy resolves all others.

        Raises: RegistryError.
        """
        try:
            ipaddress.ip_address(host)
        except ValueError:
            return
        if host != self._registry_host and is_private(host):
            raise RegistryError(f"{host} is an address of a private network, refused as a redirect")

    def _may(self, address: str) -> bool:
        if not is_private(address):
            return True
        registry = [target.address for target in self._registry or ()]
        if not registry or not all(map(is_private, registry)):
            return False
        # Link-local addresses hold the credentials of cloud machines.
        return not _inner(address).is_link_local or address in registry
