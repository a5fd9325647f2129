"""HTTP/1.1 to registries and where they redirect, over vetted connections that are kept and can be given up.

Synchronous, on `http.client`: a stream is a thread that spends its time in the kernel. On the event loop the
same bytes cost three times the processor time, and the answers of models would wait for them.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import NamedTuple
from urllib.parse import SplitResult

from server.errors import RegistryError, RegistryUnreachable
from server.registry import proxies
from server.registry.address import origin_of, shown
from server.registry.guard import AddressGuard, Target

CONNECT_S = 15.0
"""Longest wait for a connection and its handshake; a host that takes longer rarely answers later."""

STALL_S = 30.0
"""Longest wait for the next byte, as in Ollama."""

_MAX_TEXT_BYTES = 1 << 12  # of a reply that is only shown

Body = bytes | Iterable[bytes]


class Timeouts(NamedTuple):
    """How long to wait, seconds."""

    connect_s: float = CONNECT_S
    stall_s: float = STALL_S


USUAL = Timeouts()


class NotConnected(OSError):
    """Why there is no connection to an address."""

    def __init__(self, place: str, reason: OSError) -> None:
        super().__init__(str(reason))
        self.place = place
        self.reason = reason


class Response:
    """A reply whose body is not read yet. Closed when it is left, as a context manager."""

    def __init__(self, reply: http.client.HTTPResponse, url: SplitResult, method: str) -> None:
        self.status = reply.status
        self.url = url
        self._reply = reply
        self._method = method
        self._is_open = True
        self.give_back: Callable[[], None] = lambda: None
        self.drop: Callable[[], None] = lambda: None

    def __enter__(self) -> Response:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def header(self, name: str) -> str:
        """A header, "" when there is none."""
        return self._reply.getheader(name) or ""

    def length(self) -> int | None:
        """What Content-Length says."""
        text = self.header("Content-Length")
        return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None

    def read(self, limit_bytes: int) -> bytes:
        """The whole body. Raises: RegistryError when it is longer or compressed, RegistryUnreachable."""
        self.require_plain()
        try:
            data = self._reply.read(limit_bytes + 1)
        except (OSError, http.client.HTTPException) as error:
            raise fault(self._method, self.url, error) from error
        if len(data) > limit_bytes:
            raise RegistryError(f"{shown(self.url)}: the reply is longer than {limit_bytes} bytes")
        if (announced := self.length()) is not None and self._method != "HEAD" and len(data) < announced:
            raise fault(self._method, self.url, http.client.IncompleteRead(data))
        return data

    def text(self) -> str:
        """The beginning of the body, for people."""
        with suppress(OSError, http.client.HTTPException):
            text = self._reply.read(_MAX_TEXT_BYTES).decode("utf-8", "replace")
            return "".join(c if c.isprintable() or c == "\n" else " " for c in text).strip()
        return ""

    def readinto(self, view: memoryview) -> int:
        """Fill a buffer; less only at the end of the body. Raises: RegistryUnreachable."""
        try:
            return self._reply.readinto(view)
        except (OSError, http.client.HTTPException, ValueError, AttributeError) as error:
            # The latter two: the connection was closed by `abort` at this moment.
            raise fault(self._method, self.url, error) from error

    def require_plain(self) -> None:
        """Refuse a compressed body: digests and lengths are of what is stored, and a small one may unfold
        without end (CVE-2024-12886). Raises: RegistryError.
        """
        encoding = self.header("Content-Encoding")
        if encoding.lower() not in ("", "identity"):
            raise RegistryError(
                f"{shown(self.url)}: the reply is compressed ({encoding[:20]}), which was not asked for",
                status=self.status,
            )

    def close(self) -> None:
        """Let the connection go, to others when the body is at its end; again is harmless."""
        if not self._is_open:
            return
        self._is_open = False
        if self._reply.isclosed():
            self.give_back()
        else:
            self.drop()
        self._reply.close()


class Connections:
    """The connections of one transfer. Any number of threads may ask at once."""

    def __init__(
        self,
        guard: AddressGuard,
        *,
        timeouts: Timeouts = USUAL,
        proxies: Mapping[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`proxies` and `tls`: None for those of the environment."""
        self._guard = guard
        self._timeouts = timeouts
        self._proxies = proxies
        self._tls = tls
        self._lock = threading.Lock()
        self._idle: dict[tuple[str, str, int], list[http.client.HTTPConnection]] = {}
        self._sockets: set[socket.socket] = set()
        self._is_aborted = False

    def request(
        self,
        method: str,
        url: SplitResult,
        headers: Mapping[str, str],
        body: Body | None = None,
    ) -> Response:
        """Send a request and read the head of its reply; redirects are not followed.

        Raises: RegistryUnreachable, RegistryError for a host that may not be connected to.
        """
        try:
            connection, is_fresh = self._connection(url)
            try:
                return self._exchange(connection, method, url, headers, body)
            except (ConnectionError, http.client.RemoteDisconnected):
                # The other side has closed a kept connection. What was sent was not looked at.
                if is_fresh or not (body is None or isinstance(body, bytes)) or self._is_aborted:
                    raise
                return self._exchange(self._connect(url), method, url, headers, body)
        except (OSError, http.client.HTTPException, ValueError, AttributeError) as error:
            raise fault(method, url, error) from error

    def fork(self) -> Connections:
        """Others by the same rules."""
        return Connections(self._guard, timeouts=self._timeouts, proxies=self._proxies, tls=self._tls)

    def abort(self) -> None:
        """End everything that goes on, in other threads; nothing can be asked any more."""
        with self._lock:
            self._is_aborted = True
            sockets = list(self._sockets)
        for sock in sockets:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close what is kept open."""
        self.abort()
        with self._lock:
            idle = [connection for kept in self._idle.values() for connection in kept]
            self._idle.clear()
        for connection in idle:
            connection.close()

    def _exchange(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        url: SplitResult,
        headers: Mapping[str, str],
        body: Body | None,
    ) -> Response:
        proxy = proxies.proxy_for(url, self._proxies) if url.scheme == "http" else None
        path = (url.path or "/") + (f"?{url.query}" if url.query else "")
        target = f"http://{url.netloc}{path}" if proxy else path
        extra = proxies.authorization(proxy) if proxy else {}
        plain = {"Host": url.netloc, "Accept-Encoding": "identity", **extra, **headers}
        sock = connection.sock
        try:
            with suppress(ConnectionError):
                # A server may refuse before it has read all; then its reply tells more than the broken pipe.
                connection.request(method, target, body=body, headers=plain)
            reply = connection.getresponse()
        except BaseException:
            self._drop(connection, sock)
            raise
        response = Response(reply, url, method)
        response.drop = lambda: self._drop(connection, sock)
        response.give_back = lambda: self._give_back(connection, sock, url)
        if method == "HEAD" or reply.isclosed():
            response.close()
        return response

    def _connection(self, url: SplitResult) -> tuple[http.client.HTTPConnection, bool]:
        """A connection that was kept, or a new one."""
        with self._lock:
            kept = self._idle.get(origin_of(url))
            if kept:
                return kept.pop(), False
        return self._connect(url), True

    def _connect(self, url: SplitResult) -> http.client.HTTPConnection:
        _, host, port = origin_of(url)
        proxy = proxies.proxy_for(url, self._proxies)
        connection = http.client.HTTPConnection(host, port, timeout=self._timeouts.stall_s)
        if proxy is None:
            sock = self._socket(self._guard.targets(host, port))
        else:
            self._guard.check_literal(host)
            proxy_host, proxy_port = proxy.hostname or "", proxy.port or 80
            sock = self._socket(_all_targets(proxy_host, proxy_port))
        try:
            if proxy is not None and url.scheme == "https":
                proxies.open_tunnel(sock, host, port, proxy)
            if url.scheme == "https":
                sock = self._encrypted(sock, host)
            sock.settimeout(self._timeouts.stall_s)
        except BaseException:
            self._forget(sock)
            raise
        connection.sock = sock
        # A connection that is gone is made anew here, where its address is vetted, and nowhere else.
        connection.auto_open = 0
        return connection

    def _socket(self, targets: list[Target]) -> socket.socket:
        """A connected socket. Raises: OSError, the last one's."""
        failure = NotConnected("", OSError("no address"))
        for family, address, port in targets:
            sock = socket.socket(family, socket.SOCK_STREAM)
            try:
                self._remember(sock)
                sock.settimeout(self._timeouts.connect_s)
                sock.connect((address, port))
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return sock
            except OSError as error:
                self._forget(sock)
                failure = NotConnected(f"{address}:{port}", error)
        raise failure

    def _encrypted(self, sock: socket.socket, host: str) -> socket.socket:
        with self._lock:
            if self._tls is None:
                self._tls = tls_context()
            tls = self._tls
        encrypted = tls.wrap_socket(sock, server_hostname=host)
        self._remember(encrypted)
        self._sockets.discard(sock)
        return encrypted

    def _remember(self, sock: socket.socket) -> None:
        with self._lock:
            if self._is_aborted:
                sock.close()
                raise ConnectionAbortedError("given up")
            self._sockets.add(sock)

    def _forget(self, sock: socket.socket) -> None:
        with self._lock:
            self._sockets.discard(sock)
        sock.close()

    def _drop(self, connection: http.client.HTTPConnection, sock: socket.socket) -> None:
        connection.close()
        self._forget(sock)

    def _give_back(
        self, connection: http.client.HTTPConnection, sock: socket.socket, url: SplitResult
    ) -> None:
        if connection.sock is None or self._is_aborted:
            self._drop(connection, sock)
            return
        with self._lock:
            self._idle.setdefault(origin_of(url), []).append(connection)


def tls_context() -> ssl.SSLContext:
    """Certificates are checked against SSL_CERT_FILE, SSL_CERT_DIR or the system's, else those of certifi."""
    context = ssl.create_default_context()
    places = ssl.get_default_verify_paths()
    if not (places.cafile or places.capath or context.cert_store_stats()["x509_ca"]):
        import certifi

        context.load_verify_locations(certifi.where())
    return context


def fault(method: str, url: SplitResult, error: Exception) -> RegistryUnreachable:
    """What went wrong with a connection, in Ollama's words where it has some."""
    reason, hint = _reason(url, error)
    return RegistryUnreachable(f'{method.capitalize()} "{shown(url)}": {reason}', hint=hint)


def _reason(url: SplitResult, error: Exception) -> tuple[str, str]:
    place = url.netloc
    if isinstance(error, NotConnected):
        place, error = error.place, error.reason
    if isinstance(error, ssl.SSLCertVerificationError):
        hint = "Set SSL_CERT_FILE to the certificates that sign for this host."
        return f"tls: failed to verify certificate: {error.verify_message}", hint
    if isinstance(error, ssl.SSLError) and error.reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"):
        return "http: server gave HTTP response to HTTPS client", "Add --insecure to use plain HTTP."
    if isinstance(error, socket.gaierror):
        return f"dial tcp: lookup {url.hostname}: no such host", "Check the name and the network."
    if isinstance(error, ConnectionRefusedError):
        return f"dial tcp {place}: connect: connection refused", ""
    if isinstance(error, TimeoutError):
        return f"{place}: i/o timeout", ""
    if isinstance(error, http.client.RemoteDisconnected | http.client.IncompleteRead | ConnectionResetError):
        return "unexpected EOF", ""
    return str(error) or type(error).__name__, ""


def _all_targets(host: str, port: int) -> list[Target]:
    from server.registry.guard import resolve

    return resolve(host, port)
