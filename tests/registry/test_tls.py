"""HTTPS with certificates of one's own, and proxies, as the environment names them."""

from __future__ import annotations

import datetime
import http.server
import select
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from server.errors import RegistryUnreachable
from server.registry.address import RegistryAddress
from server.registry.client import RegistryClient
from server.registry.connections import Connections
from server.registry.guard import AddressGuard, Target
from server.registry.keys import Signer
from tests.registry.conftest import REPOSITORY
from tests.support.registry import TestRegistry, served_handler, served_registry

HOST = "registry.example"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for `HOST` that signs for itself, with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(private + made.public_bytes(Encoding.PEM))
    return path


@pytest.fixture
def registry(certificate: Path) -> Iterator[TestRegistry]:
    """A registry that speaks TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with served_registry(context) as registry:
        registry.add_model(REPOSITORY, {"model": b"weights"})
        yield registry


@contextmanager
def client_of(registry: TestRegistry, folder: Path, host: str = HOST) -> Iterator[RegistryClient]:
    """A client that finds the registry under a name."""
    port = int(registry.host.split(":")[1])

    def resolve(_: str, port: int) -> list[Target]:
        return [Target(socket.AF_INET, "127.0.0.1", port)]

    connections = Connections(AddressGuard(host, resolve))
    address = RegistryAddress("https", f"{host}:{port}", REPOSITORY)
    yield RegistryClient(address, connections, Signer(folder / "key"), "test")
    connections.close()


def test_a_certificate_that_nobody_signed_for_is_refused(registry: TestRegistry, tmp_path: Path) -> None:
    with client_of(registry, tmp_path) as client:
        with pytest.raises(RegistryUnreachable, match="tls: failed to verify certificate") as caught:
            client.manifest("latest", 1 << 20)
        assert "SSL_CERT_FILE" in caught.value.hint


def test_certificates_of_the_environment_are_trusted(
    registry: TestRegistry, tmp_path: Path, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with client_of(registry, tmp_path) as client:
        assert client.manifest("latest", 1 << 20) == registry.manifests[REPOSITORY, "latest"]


def test_a_certificate_is_for_one_host(
    registry: TestRegistry, tmp_path: Path, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with client_of(registry, tmp_path, "other.example") as client:
        with pytest.raises(RegistryUnreachable, match="tls: failed to verify certificate"):
            client.manifest("latest", 1 << 20)


class _Proxy(http.server.BaseHTTPRequestHandler):
    """Passes on what it is asked to, to `target`, and notes it."""

    asked: list[tuple[str, str, str]]
    target: str

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _note(self) -> None:
        self.asked.append((self.command, self.path, self.headers.get("Proxy-Authorization", "")))

    def do_CONNECT(self) -> None:
        self._note()
        host, port = self.target.split(":")
        with socket.create_connection((host, int(port))) as upstream:
            self.send_response(200)
            self.end_headers()
            both = {self.connection: upstream, upstream: self.connection}
            while ready := select.select(list(both), [], [], 10)[0]:
                for sock in ready:
                    if not (data := sock.recv(65536)):
                        self.close_connection = True
                        return
                    both[sock].sendall(data)

    def do_GET(self) -> None:
        self._note()
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"plain")


@pytest.fixture
def new_proxy() -> Iterator[Callable[[str], tuple[str, list[tuple[str, str, str]]]]]:
    """Makes proxies before a host; gives host and port of each, and what it was asked."""
    with ExitStack() as stack:

        def make(target: str) -> tuple[str, list[tuple[str, str, str]]]:
            asked: list[tuple[str, str, str]] = []
            handler = type("Proxy", (_Proxy,), {"asked": asked, "target": target})
            return stack.enter_context(served_handler(handler)), asked

        yield make


def test_https_goes_through_a_tunnel_of_the_proxy(
    registry: TestRegistry,
    tmp_path: Path,
    certificate: Path,
    new_proxy: Callable[[str], tuple[str, list[tuple[str, str, str]]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    proxy, asked = new_proxy(registry.host)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    monkeypatch.setenv("https_proxy", f"http://me:secret@{proxy}")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with client_of(registry, tmp_path) as client:
        assert client.manifest("latest", 1 << 20) == registry.manifests[REPOSITORY, "latest"]
    port = registry.host.split(":")[1]
    assert asked == [("CONNECT", f"{HOST}:{port}", "Basic bWU6c2VjcmV0")]


def test_plain_http_asks_the_proxy_for_the_whole_url(
    tmp_path: Path,
    new_proxy: Callable[[str], tuple[str, list[tuple[str, str, str]]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    proxy, asked = new_proxy("")
    monkeypatch.setenv("http_proxy", proxy)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    connections = Connections(AddressGuard(HOST))
    address = RegistryAddress("http", HOST, REPOSITORY)
    client = RegistryClient(address, connections, Signer(tmp_path / "key"), "test")
    assert client.manifest("latest", 1 << 20) == b"plain"
    assert asked == [("GET", f"http://{HOST}/v2/{REPOSITORY}/manifests/latest", "")]
    connections.close()


def test_a_proxy_of_another_kind_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "socks5://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    connections = Connections(AddressGuard(HOST))
    address = RegistryAddress("https", HOST, REPOSITORY)
    client = RegistryClient(address, connections, Signer(tmp_path / "key"), "test")
    with pytest.raises(RegistryUnreachable, match="'socks5' is not supported"):
        client.manifest("latest", 1 << 20)
