from __future__ import annotations

import base64
import gzip
import socket
import threading
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_ssh_public_key

from server.errors import RegistryError, RegistryUnreachable
from server.registry.address import RegistryAddress, parse_url
from server.registry.client import RegistryClient
from server.registry.connections import Connections
from server.registry.guard import AddressGuard, Target
from server.registry.keys import Signer
from tests.registry.conftest import REPOSITORY
from tests.support.registry import TestRegistry, served_registry

LIMIT = 1 << 20
NewClient = Callable[..., RegistryClient]


def test_a_manifest_comes_as_it_is(registry: TestRegistry, new_client: NewClient) -> None:
    raw = registry.add_model(REPOSITORY, {"model": b"weights"})
    assert new_client(registry.host).manifest("latest", LIMIT) == raw
    ((_, _, headers),) = registry.requests
    assert headers["Accept"] == "application/vnd.docker.distribution.manifest.v2+json"
    assert headers["User-Agent"] == "ollama/0 test"
    assert headers["Accept-Encoding"] == "identity"


def test_what_is_not_there_is_told_in_ollamas_words(registry: TestRegistry, new_client: NewClient) -> None:
    with pytest.raises(RegistryError) as caught:
        new_client(registry.host).manifest("latest", LIMIT)
    assert (caught.value.message, caught.value.status) == ("file does not exist", 404)


def test_a_connection_is_kept(registry: TestRegistry, new_client: NewClient) -> None:
    registry.add_model(REPOSITORY, {"model": b"weights"})
    client = new_client(registry.host)
    for _ in range(3):
        client.manifest("latest", LIMIT)
    assert len(client.connections._sockets) == 1


def test_a_connection_that_was_closed_meanwhile_is_made_anew(
    registry: TestRegistry, new_client: NewClient
) -> None:
    registry.add_model(REPOSITORY, {"model": b"weights"})
    client = new_client(registry.host)
    client.manifest("latest", LIMIT)
    (kept,) = client.connections._sockets
    kept.shutdown(socket.SHUT_RDWR)
    assert client.manifest("latest", LIMIT)


def test_a_token_is_fetched_once_with_a_signature(registry: TestRegistry, new_client: NewClient) -> None:
    registry.token = "secret"
    registry.add_model(REPOSITORY, {"model": b"weights"})
    client = new_client(registry.host)
    for _ in range(2):
        client.manifest("latest", LIMIT)
    assert registry.count("GET", "/token") == 1
    ((_, path, headers),) = [request for request in registry.requests if request[1].startswith("/token")]
    public, signature = headers["Authorization"].split(":")
    key = load_ssh_public_key(f"ssh-ed25519 {public}".encode())
    assert isinstance(key, Ed25519PublicKey)
    empty = "ZTNiMGM0NDI5OGZjMWMxNDlhZmJmNGM4OTk2ZmI5MjQyN2FlNDFlNDY0OWI5MzRjYTQ5NTk5MWI3ODUyYjg1NQ=="
    key.verify(base64.b64decode(signature), f"GET,http://{registry.host}{path},{empty}".encode())


def test_a_token_that_has_run_out_is_renewed(registry: TestRegistry, new_client: NewClient) -> None:
    registry.add_model(REPOSITORY, {"model": b"weights"})
    client = new_client(registry.host)
    for token in "ab":
        registry.token = token
        assert client.manifest("latest", LIMIT)
    assert registry.count("GET", "/token") == 2


def test_a_token_that_does_not_help_is_an_end(registry: TestRegistry, new_client: NewClient) -> None:
    registry.token, registry.given_token = "a", "b"
    with pytest.raises(RegistryError) as caught:
        new_client(registry.host).manifest("latest", LIMIT)
    assert (caught.value.message, caught.value.status) == ("unauthorized: access denied", 401)
    assert registry.count("GET", "/token") == 1


def test_cve_2025_51471_a_realm_of_another_host_gets_nothing(
    registry: TestRegistry, new_client: NewClient
) -> None:
    with served_registry() as other:
        registry.token, registry.realm = "secret", f"http://{other.host}/token"
        with pytest.raises(RegistryError, match="does not match original host"):
            new_client(registry.host).manifest("latest", LIMIT)
        assert other.requests == []


def test_a_redirect_is_followed_without_the_token_and_remembered(
    registry: TestRegistry, new_client: NewClient
) -> None:
    with served_registry() as store:
        registry.token = "secret"
        registry.redirect = f"http://{store.host}/elsewhere"
        digest = store.add_blob(REPOSITORY, b"0123456789")
        client = new_client(registry.host)
        for start in (2, 4):
            with client.open_blob(digest, start, start + 2, 10) as body:
                buffer = bytearray(2)
                assert body.readinto(memoryview(buffer)) == 2
                assert (body.start, bytes(buffer)) == (start, b"0123456789"[start : start + 2])
        assert registry.count("GET", "/blobs/") == 2  # refused for want of a token, and redirected
        assert store.count("GET", "/elsewhere") == 2
        assert not any("Authorization" in headers for _, _, headers in store.requests)


def test_an_address_that_has_run_out_is_asked_for_again(
    registry: TestRegistry, new_client: NewClient
) -> None:
    with served_registry() as old, served_registry() as new:
        registry.redirect = f"http://{old.host}/elsewhere"
        digest = old.add_blob(REPOSITORY, b"0123456789")
        new.add_blob(REPOSITORY, b"0123456789")
        client = new_client(registry.host)
        client.open_blob(digest, 0, 2, 10).__exit__()
        old.blobs.clear()
        registry.redirect = f"http://{new.host}/elsewhere"
        with client.open_blob(digest, 2, 4, 10) as body:
            assert body.start == 2
        assert new.count("GET", "/elsewhere") == 1


def test_redirects_come_to_an_end(registry: TestRegistry, new_client: NewClient) -> None:
    registry.redirect = f"http://{registry.host}"
    with pytest.raises(RegistryError, match=r"maximum redirects exceeded \(10\) for directURL"):
        new_client(registry.host).open_blob("sha256:" + "0" * 64, 0, 1, 10)


@pytest.mark.parametrize("location", ["", "file:///etc/passwd", "http://127.0.0.1@evil.example/"])
def test_a_redirect_to_nowhere_is_refused(
    registry: TestRegistry, new_client: NewClient, location: str
) -> None:
    from server.registry.client import _next_url

    with pytest.raises(RegistryError):
        _next_url(parse_url(f"http://{registry.host}/"), location)


def test_https_never_leads_to_http() -> None:
    from server.registry.client import _next_url

    with pytest.raises(RegistryError, match="from https to http"):
        _next_url(parse_url("https://r.example/"), "http://r.example/")


def test_cve_2026_5530_a_redirect_to_a_private_address_is_refused(registry: TestRegistry) -> None:
    """The registry is on the internet by its name, and this machine answers for it."""
    port = int(registry.host.split(":")[1])
    digest = "sha256:" + "0" * 64
    registry.redirect = "http://intern.example:80/elsewhere"

    def resolve(host: str, _: int) -> list[Target]:
        return [Target(socket.AF_INET, "8.8.8.8" if host == "r.example" else "10.0.0.1", port)]

    guard = AddressGuard("r.example", resolve)
    connections = Connections(guard, proxies={})
    connections._socket = lambda targets: socket.create_connection(("127.0.0.1", port))  # type: ignore[method-assign,assignment]
    address = RegistryAddress("http", f"r.example:{port}", REPOSITORY)
    client = RegistryClient(address, connections, Signer(__file__), "x")  # type: ignore[arg-type]
    with pytest.raises(RegistryError, match=r"intern\.example is an address of a private network"):
        client.open_blob(digest, 0, 1, 10)
    connections.close()


def test_cve_2024_12886_a_compressed_reply_is_not_unfolded(
    registry: TestRegistry, new_client: NewClient
) -> None:
    registry.headers = {"Content_Encoding": "gzip"}
    registry.manifests[REPOSITORY, "latest"] = gzip.compress(b"0" * (1 << 24))
    with pytest.raises(RegistryError, match="compressed"):
        new_client(registry.host).manifest("latest", LIMIT)
    digest = registry.add_blob(REPOSITORY, b"0123456789")
    with pytest.raises(RegistryError, match="compressed"):
        new_client(registry.host).open_blob(digest, 0, 5, 10)


def test_a_manifest_that_is_too_long_is_not_read(registry: TestRegistry, new_client: NewClient) -> None:
    registry.manifests[REPOSITORY, "latest"] = b" " * (LIMIT + 1)
    with pytest.raises(RegistryError, match="longer than"):
        new_client(registry.host).manifest("latest", LIMIT)


def test_a_blob_of_another_length_than_the_manifest_says_is_refused(
    registry: TestRegistry, new_client: NewClient
) -> None:
    digest = registry.add_blob(REPOSITORY, b"0123456789")
    client = new_client(registry.host)
    with pytest.raises(RegistryError, match="has 10 bytes where the manifest says 9"):
        client.open_blob(digest, 0, 9, 9)


def test_a_port_where_nobody_listens_is_told_in_ollamas_words(new_client: NewClient) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(RegistryUnreachable) as caught:
            new_client(host).manifest("latest", LIMIT)
    assert caught.value.message == (
        f'Get "http://{host}/v2/me/m/manifests/latest": dial tcp {host}: connect: connection refused'
    )


def test_plain_http_where_https_was_meant_is_told_in_ollamas_words(
    registry: TestRegistry, new_client: NewClient
) -> None:
    with pytest.raises(RegistryUnreachable) as caught:
        new_client(registry.host, scheme="https").manifest("latest", LIMIT)
    assert caught.value.message == (
        f'Get "https://{registry.host}/v2/me/m/manifests/latest": '
        "http: server gave HTTP response to HTTPS client"
    )
    assert "--insecure" in caught.value.hint


def test_a_name_that_nobody_has_is_told_in_ollamas_words(new_client: NewClient) -> None:
    with pytest.raises(RegistryUnreachable, match="no such host"):
        new_client("nobody.invalid").manifest("latest", LIMIT)


def test_a_wait_ends_when_it_is_given_up(new_client: NewClient) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = new_client(f"127.0.0.1:{silent.getsockname()[1]}")
        failures: list[Exception] = []

        def ask() -> None:
            try:
                client.manifest("latest", LIMIT)
            except RegistryUnreachable as error:
                failures.append(error)

        asking = threading.Thread(target=ask)
        asking.start()
        accepted, _ = silent.accept()
        accepted.recv(10)
        client.connections.abort()
        asking.join(10)
        assert len(failures) == 1
        accepted.close()
        with pytest.raises(RegistryUnreachable, match="given up"):
            client.manifest("latest", LIMIT)
