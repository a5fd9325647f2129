"""Sending one blob: in parts, each again from where it broke off, or mounted from another repository."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol
from urllib.parse import SplitResult, parse_qsl, urlencode, urljoin

from server.errors import RegistryError, RegistryUnreachable
from server.registry.address import parse_url
from server.registry.client import MANIFEST_TYPE, RegistryClient, require
from server.registry.connections import Response
from server.registry.download import is_passing
from server.registry.rate import RateLimit

_PIECE_BYTES = 1 << 20
_RANGE = re.compile(r"(?:bytes=)?0-(\d{1,18})")
_DONE = (200, 201, 202, 204)


class UploadPolicy(NamedTuple):
    """How a blob is sent.

    Attributes:
        part_bytes: one request: what a connection that breaks may cost, as long as Ollama's shortest.
        n_tries: failures in a row after which it is given up; as Ollama.
        backoff_s: pause after the first failure, doubled with each further one; as Ollama.
    """

    part_bytes: int = 100_000_000
    n_tries: int = 6
    backoff_s: float = 1.0


USUAL = UploadPolicy()


class Source(Protocol):
    """The blob to send."""

    @property
    def digest(self) -> str: ...

    @property
    def total_bytes(self) -> int: ...

    def read_at(self, n_bytes: int, offset: int) -> bytes:
        """Some of its bytes, at least one."""
        ...


class BlobUpload:
    """Sends a blob that the registry does not have."""

    def __init__(
        self,
        client: RegistryClient,
        source: Source,
        *,
        mount_from: str = "",
        policy: UploadPolicy = USUAL,
        limits: Sequence[RateLimit] = (),
    ) -> None:
        """`mount_from`: a repository of the same registry that may have the blob."""
        self._client = client
        self._source = source
        self._mount_from = mount_from
        self._policy = policy
        self._limits = limits
        self._stopped = threading.Event()
        self._shown = 0
        self._sums: list[bytes] | None = []

    @property
    def completed_bytes(self) -> int:
        """How many bytes have been sent; never less than before."""
        return self._shown

    def run(self) -> None:
        """Do it. Raises: RegistryError, RegistryUnreachable, what the source raises."""
        if not self._is_there():
            url = self._begin()
            if url is not None:
                self._send_parts(url)
        self._shown = self._source.total_bytes

    def stop(self) -> None:
        """Have `run` end soon, in another thread."""
        self._stopped.set()
        self._client.connections.abort()

    def _is_there(self) -> bool:
        url = parse_url(self._client.address.blob(self._source.digest))
        with self._client.call("HEAD", url) as response:
            if response.status == 404:
                return False
            require(response)
            return True

    def _begin(self) -> SplitResult | None:
        """Where to send to; None when the blob was mounted."""
        url = parse_url(self._client.address.uploads())
        if self._mount_from:
            query = urlencode({"mount": self._source.digest, "from": self._mount_from})
            url = url._replace(query=query)
        with self._client.call("POST", url, {"Content-Length": "0"}) as response:
            require(response, 201, 202)
            return _session_url(response) if response.status == 202 else None

    def _send_parts(self, url: SplitResult) -> None:
        """Send part after part and finish; what fails is tried again from where the registry stands."""
        offset, n_failures = 0, 0
        while True:
            try:
                if n_failures:
                    url, offset = self._where(url, offset)
                while offset < self._source.total_bytes:
                    end = min(offset + self._policy.part_bytes, self._source.total_bytes)
                    url = self._send_part(url, offset, end)
                    offset, n_failures = end, 0
                self._finish(url)
                return
            except (RegistryError, RegistryUnreachable) as error:
                n_failures += 1
                if isinstance(error, RegistryError) and not is_passing(error.status):
                    raise
                if n_failures >= self._policy.n_tries or self._stopped.is_set():
                    raise RegistryUnreachable(f"max retries exceeded: {error.message}") from error
                self._stopped.wait(self._policy.backoff_s * 2 ** (n_failures - 1))

    def _where(self, url: SplitResult, offset: int) -> tuple[SplitResult, int]:
        """Where to go on after a failure; in a new upload when the registry cannot tell."""
        with self._client.call("GET", url) as response:
            match = _RANGE.fullmatch(response.header("Range"))
            if response.status in _DONE and match is not None:
                # A registry with nothing yet says "0-0", as one with a single byte does.
                told = int(match[1]) + 1 if match[1] != "0" else 0
                # The sum of parts is known for whole ones alone; a registry can do without it.
                self._sums = self._sums if told == offset else None
                return _session_url(response, url), told
        begun = self._begin()
        if begun is None:
            return url, self._source.total_bytes
        self._sums = []
        return begun, 0

    def _send_part(self, url: SplitResult, start: int, end: int) -> SplitResult:
        """Send a part; returns where the next one goes. A registry may send it on to another place."""
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Length": str(end - start),
            "Content-Range": f"{start}-{end - 1}",
            "X-Redirect-Uploads": "1",
        }
        digest = hashlib.md5(usedforsecurity=False)
        with self._client.call("PATCH", url, headers, self._pieces(start, end, digest)) as response:
            if response.status != 307:
                require(response, *_DONE)
                following = _session_url(response, url)
            else:
                following = _session_url(response, url, upload_header_alone=True)
                place = parse_url(urljoin(url.geturl(), response.header("Location")))
        if response.status == 307:
            digest = hashlib.md5(usedforsecurity=False)
            plain = {name: headers[name] for name in ("Content-Type", "Content-Length")}
            body = self._pieces(start, end, digest)
            with self._client.elsewhere("PUT", place, plain, body) as sent:
                require(sent, *_DONE)
        if self._sums is not None:
            self._sums.append(digest.digest())
        return following

    def _pieces(self, start: int, end: int, digest: hashlib._Hash) -> Iterator[bytes]:
        position = start
        while position < end:
            n_bytes = min(_PIECE_BYTES, end - position)
            for limit in self._limits:
                n_bytes = limit.slice_bytes(n_bytes)
            for limit in self._limits:
                limit.take(n_bytes, self._stopped.is_set)
            piece = self._source.read_at(n_bytes, position)
            if not piece or self._stopped.is_set():
                raise RegistryUnreachable("the upload was stopped")
            digest.update(piece)
            yield piece
            position += len(piece)
            self._shown = max(self._shown, position)

    def _finish(self, url: SplitResult) -> None:
        query = [*parse_qsl(url.query, keep_blank_values=True), ("digest", self._source.digest)]
        if self._sums is not None:
            whole = hashlib.md5(b"".join(self._sums), usedforsecurity=False).hexdigest()
            query.append(("etag", f"{whole}-{len(self._sums)}"))
        headers = {"Content-Type": "application/octet-stream", "Content-Length": "0"}
        with self._client.call("PUT", url._replace(query=urlencode(query)), headers) as response:
            require(response, *_DONE)


def put_manifest(client: RegistryClient, tag: str, raw: bytes) -> None:
    """Name the blobs of a model; the last step of a push. Raises: RegistryError, RegistryUnreachable."""
    url = parse_url(client.address.manifest(tag))
    with client.call("PUT", url, {"Content-Type": MANIFEST_TYPE}, raw) as response:
        require(response, *_DONE)


def _session_url(
    response: Response, base: SplitResult | None = None, *, upload_header_alone: bool = False
) -> SplitResult:
    """Where an upload goes on. Raises: RegistryError when the registry does not tell."""
    location = response.header("Docker-Upload-Location")
    if not location and not upload_header_alone:
        location = response.header("Location")
    if not location:
        if base is not None:
            return base
        raise RegistryError("http: no Location header in response")
    return parse_url(urljoin(response.url.geturl(), location))
