"""What a registry can be asked: manifests, and blobs by range."""

from __future__ import annotations

import re
import secrets
import threading
import time
from collections.abc import Mapping
from urllib.parse import SplitResult, urljoin

from server.errors import RegistryError
from server.registry.address import RegistryAddress, origin_of, parse_url
from server.registry.auth import parse_challenge, text_to_sign, token_of_reply, token_url
from server.registry.connections import Body, Connections, Response
from server.registry.keys import Signer

MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
MAX_REDIRECTS = 10
"""As many as Ollama follows."""

_REDIRECTS = (301, 302, 303, 307, 308)
_EXPIRED = (401, 403, 404, 410)
"""How the place that a registry redirected to says that the address has run out."""
_MAX_TOKEN_BYTES = 1 << 20
_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")


class BlobBody:
    """A blob's bytes from `start` on. Closed when it is left, as a context manager.

    Attributes:
        is_whole: the server sends all of the blob, whatever range was asked for.
    """

    def __init__(self, response: Response, start: int, is_whole: bool) -> None:
        self.start = start
        self.is_whole = is_whole
        self._response = response

    def __enter__(self) -> BlobBody:
        return self

    def __exit__(self, *_: object) -> None:
        self._response.close()

    def readinto(self, view: memoryview) -> int:
        """Fill a buffer; less only at the end. Raises: RegistryUnreachable."""
        return self._response.readinto(view)


class RegistryClient:
    """Asks one repository of one registry. Its methods may run in any thread."""

    def __init__(
        self, address: RegistryAddress, connections: Connections, signer: Signer, user_agent: str
    ) -> None:
        self.address = address
        self.connections = connections
        self._signer = signer
        self._user_agent = user_agent
        self._origin = origin_of(parse_url(address.base))
        self._lock = threading.Lock()
        self._token = ""
        self._direct: dict[str, SplitResult] = {}

    def fork(self) -> RegistryClient:
        """Another one for the same repository, with connections of its own."""
        forked = RegistryClient(self.address, self.connections.fork(), self._signer, self._user_agent)
        forked._token = self._token
        return forked

    def manifest(self, tag: str, limit_bytes: int) -> bytes:
        """A manifest as the registry has it. Raises: RegistryError, RegistryUnreachable."""
        url = parse_url(self.address.manifest(tag))
        with self.call("GET", url, {"Accept": MANIFEST_TYPE}) as response:
            require(response)
            return response.read(limit_bytes)

    def open_blob(self, digest: str, start: int, end: int, total_bytes: int) -> BlobBody:
        """Some of a blob, or from its beginning on where the server sends no ranges.

        Where a registry redirects is remembered, and asked for again when that address has run out.
        Raises: RegistryError, RegistryUnreachable.
        """
        headers = {"Range": f"bytes={start}-{end - 1}"}
        direct = self._direct.get(digest)
        if direct is not None:
            response = self.connections.request("GET", direct, self._headers(headers))
            if response.status not in _EXPIRED and response.status not in _REDIRECTS:
                return _checked(response, start, total_bytes)
            response.close()
            self._direct.pop(digest, None)
        response = self.call("GET", parse_url(self.address.blob(digest)), headers)
        body = _checked(response, start, total_bytes)
        if origin_of(response.url) != self._origin:
            self._direct[digest] = response.url
        return body

    def call(
        self,
        method: str,
        url: SplitResult,
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
    ) -> Response:
        """Send a request, with a token where one is asked for; GET and HEAD go where they are redirected.

        Whoever is not the registry itself never sees the token (CVE-2025-51471), and plain HTTP never
        follows HTTPS. Raises: RegistryError, RegistryUnreachable.
        """
        n_tokens = 0
        for _ in range(MAX_REDIRECTS + 2):
            is_registry = origin_of(url) == self._origin
            token = self._token if is_registry else ""
            bearer = {"Authorization": f"Bearer {token}"} if token else {}
            response = self.connections.request(
                method, url, self._headers({**bearer, **(headers or {})}), body
            )
            if response.status == 401 and is_registry:
                with response:
                    challenge = response.header("WWW-Authenticate")
                if n_tokens:
                    raise _denied()
                n_tokens += 1
                self._renew(token, challenge)
                if body is not None and not isinstance(body, bytes):
                    raise RegistryError("the token has run out", status=0)
            elif response.status in _REDIRECTS and method in ("GET", "HEAD"):
                with response:
                    url = _next_url(url, response.header("Location"))
            else:
                return response
        raise RegistryError(f"maximum redirects exceeded ({MAX_REDIRECTS}) for directURL", status=310)

    def elsewhere(self, method: str, url: SplitResult, headers: Mapping[str, str], body: Body) -> Response:
        """Send a request to where the registry sends it on to, without its token. Raises: as `call`."""
        if self._origin[0] == "https" and url.scheme != "https":
            raise RegistryError("the registry redirects from https to http, refused", status=310)
        return self.connections.request(method, url, self._headers(headers), body)

    def _headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        return {"User-Agent": self._user_agent, **headers}

    def _renew(self, refused: str, challenge: str) -> None:
        """Get a token, unless another thread has got one since `refused` was sent."""
        with self._lock:
            if self._token != refused:
                return
            self._token = ""
            nonce = secrets.token_urlsafe(16)
            text = token_url(
                parse_challenge(challenge), self.address.base, now_s=int(time.time()), nonce=nonce
            )
            headers = {"Authorization": self._signer.authorization(text_to_sign(text))}
            with self.connections.request("GET", parse_url(text), self._headers(headers)) as response:
                if response.status != 200:
                    told = response.text()
                    raise RegistryError(
                        f"{response.status}: {told}" if told else str(response.status), status=401
                    )
                self._token = token_of_reply(response.read(_MAX_TOKEN_BYTES))


def require(response: Response, *allowed: int) -> None:
    """Refuse a reply that is no success, in Ollama's words. Raises: RegistryError."""
    if response.status in (allowed or (200,)):
        return
    if response.status == 404:
        raise RegistryError("file does not exist", status=404)
    if response.status == 401:
        raise _denied()
    raise RegistryError(f"{response.status}: {response.text()}", status=response.status)


def _denied() -> RegistryError:
    hint = "A registry knows you by your key; a model can be pushed to a namespace of your own alone."
    return RegistryError("unauthorized: access denied", hint=hint, status=401)


def _next_url(url: SplitResult, location: str) -> SplitResult:
    if not location:
        raise RegistryError("http: no Location header in response")
    following = parse_url(urljoin(url.geturl(), location))
    if url.scheme == "https" and following.scheme != "https":
        raise RegistryError("the registry redirects from https to http, refused", status=310)
    return following


def _checked(response: Response, start: int, total_bytes: int) -> BlobBody:
    """The body of a reply to a request for a range. Raises: RegistryError when it is not that range's."""
    try:
        require(response, 200, 206)
        response.require_plain()
        body_start = 0
        total: int | None = response.length()
        if response.status == 206:
            match = _RANGE.fullmatch(response.header("Content-Range"))
            if match is None or int(match[1]) != start:
                raise RegistryError("the registry answered with another range than was asked for")
            body_start = start
            total = int(match[3]) if match[3] != "*" else None
        if total is not None and total != total_bytes:
            raise RegistryError(
                f"the registry has {total} bytes where the manifest says {total_bytes}",
                status=response.status,
            )
    except BaseException:
        response.close()
        raise
    return BlobBody(response, body_start, response.status == 200)
