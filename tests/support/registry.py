"""A small registry on a real socket: manifests, blobs by range, uploads in pieces, mounts and tokens."""

from __future__ import annotations

import hashlib
import json
import re
import ssl
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
_BLOB = re.compile(r"/v2/(.+)/blobs/(sha256:[0-9a-f]{64})")
_UPLOAD = re.compile(r"/v2/(.+)/blobs/uploads/(.*)")
_MANIFEST = re.compile(r"/v2/(.+)/manifests/([^/]+)")


UploadFault = Literal["", "busy", "half", "lost"]


class TestRegistry:
    """What the registry holds, and how it behaves.

    Attributes:
        blobs: bytes by (repository, digest).
        manifests: bytes by (repository, tag).
        requests: (method, path, headers) of all requests, in order.
        token: when set, requests without it are refused with a challenge.
        given_token: what is given to who asks for a token, "" for the right one.
        realm: where the challenge sends for tokens; None: to the registry itself.
        has_ranges: False: every blob is sent whole, whatever was asked for.
        hold_after: so many bytes of a range are sent at once, the rest when `released` is set; None: all.
        redirect: prefix of the URLs to which requests for blobs are redirected.
        redirect_uploads: parts of uploads are sent to another path without a token.
        upload_faults: what becomes of the next parts: refused, taken half, or their upload forgotten.
        headers: added to every reply with a blob or manifest.
    """

    __test__ = False

    def __init__(self) -> None:
        self.blobs: dict[tuple[str, str], bytes] = {}
        self.manifests: dict[tuple[str, str], bytes] = {}
        self.uploads: dict[str, bytearray] = {}
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.token = ""
        self.given_token = ""
        self.realm: str | None = None
        self.has_ranges = True
        self.hold_after: int | None = None
        self.released = threading.Event()
        self.redirect = ""
        self.redirect_uploads = False
        self.upload_faults: list[UploadFault] = []
        self.headers: dict[str, str] = {}
        self.host = ""
        self.lock = threading.Lock()

    def add_blob(self, repository: str, data: bytes) -> str:
        """Put a blob in; returns its digest."""
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        self.blobs[repository, digest] = data
        return digest

    def add_model(self, repository: str, layers: dict[str, bytes], tag: str = "latest") -> bytes:
        """Put a model in, with layers by the last part of their types; returns its manifest."""
        config = json.dumps({"model_format": "gguf", "model_family": "test", "os": "linux"}).encode()
        manifest: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": {
                "mediaType": "application/vnd.docker.container.image.v1+json",
                "digest": self.add_blob(repository, config),
                "size": len(config),
            },
            "layers": [
                {
                    "mediaType": f"application/vnd.ollama.image.{kind}",
                    "digest": self.add_blob(repository, data),
                    "size": len(data),
                }
                for kind, data in layers.items()
            ],
        }
        raw = json.dumps(manifest, indent=2).encode()
        self.manifests[repository, tag] = raw
        return raw

    def count(self, method: str, part: str) -> int:
        """How many requests of a method had something in their path."""
        return sum(m == method and part in path for m, path, _ in self.requests)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    registry: TestRegistry

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except OSError:
            self.close_connection = True

    def _answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", headers.pop("length", str(len(body))))
        self.end_headers()
        if self.command != "HEAD":
            self._send(body, None if status != 206 else self.registry.hold_after)

    def _send(self, body: bytes, hold_after: int | None) -> None:
        """A body, or its beginning and then, if the client is there still, the rest."""
        if hold_after is None or len(body) <= hold_after:
            self.wfile.write(body)
            return
        self.wfile.write(body[:hold_after])
        self.registry.released.wait(60)
        with suppress(ConnectionError):
            self.wfile.write(body[hold_after:])

    def _begin(self) -> bool:
        """Note the request; False when it was answered for want of a token."""
        registry = self.registry
        with registry.lock:
            registry.requests.append((self.command, self.path, dict(self.headers.items())))
        is_free = self.path.startswith(("/token", "/elsewhere", "/part"))
        if not registry.token or is_free or self.headers["Authorization"] == f"Bearer {registry.token}":
            return True
        self._body()
        realm = registry.realm or f"http://{registry.host}/token"
        challenge = f'Bearer realm="{realm}",service="test",scope="repository:x:pull repository:x:push"'
        self._answer(401, b"{}", WWW_Authenticate=challenge)
        return False

    def _own(self, path: str) -> str:
        """A whole URL: Ollama takes no other for uploads."""
        return f"http://{self.registry.host}{path}"

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", "0")))

    def do_GET(self) -> None:
        if not self._begin():
            return
        path = urlsplit(self.path).path
        if path == "/token":
            self._answer(
                200, json.dumps({"token": self.registry.given_token or self.registry.token}).encode()
            )
        elif path.startswith("/elsewhere"):
            self._blob(path.removeprefix("/elsewhere"))
        elif match := _MANIFEST.fullmatch(path):
            found = self.registry.manifests.get((match[1], match[2]))
            if found is None:
                self._answer(404, b'{"errors":[{"code":"MANIFEST_UNKNOWN"}]}')
            else:
                self._answer(200, found, Content_Type=MANIFEST_TYPE, **self.registry.headers)
        elif match := _UPLOAD.fullmatch(path):
            upload = self.registry.uploads.get(match[2])
            if upload is None:
                self._answer(404)
            else:
                self._answer(204, Range=f"0-{len(upload) - 1}", Location=self.path)
        elif self.registry.redirect and _BLOB.fullmatch(path):
            self._answer(307, Location=f"{self.registry.redirect}{path}")
        else:
            self._blob(path)

    do_HEAD = do_GET

    def _blob(self, path: str) -> None:
        match = _BLOB.fullmatch(path)
        data = self.registry.blobs.get((match[1], match[2])) if match else None
        if data is None:
            self._answer(404, b'{"errors":[{"code":"BLOB_UNKNOWN"}]}')
            return
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if wanted is None or not self.registry.has_ranges:
            self._answer(200, data, **self.registry.headers)
            return
        start, end = int(wanted[1]), min(int(wanted[2]) + 1, len(data))
        place = f"bytes {start}-{end - 1}/{len(data)}"
        self._answer(206, data[start:end], Content_Range=place, **self.registry.headers)

    def do_POST(self) -> None:
        if not self._begin():
            return
        self._body()
        url = urlsplit(self.path)
        match = _UPLOAD.fullmatch(url.path)
        assert match
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        source = (query.get("from", ""), query.get("mount", ""))
        if source in self.registry.blobs:
            self.registry.blobs[match[1], source[1]] = self.registry.blobs[source]
            self._answer(201)
            return
        upload = uuid.uuid4().hex
        self.registry.uploads[upload] = bytearray()
        self._answer(202, Location=self._own(f"/v2/{match[1]}/blobs/uploads/{upload}?state=1"))

    def do_PATCH(self) -> None:
        if not self._begin():
            return
        match = _UPLOAD.fullmatch(urlsplit(self.path).path)
        upload = self.registry.uploads.get(match[2]) if match else None
        if upload is None:
            self._body()
            self._answer(404)
            return
        start = int(self.headers["Content-Range"].split("-")[0])
        if self.registry.redirect_uploads:
            assert match
            place, following = self._own(f"/part/{match[2]}/{start}"), self._own(self.path)
            self._answer(307, Location=place, Docker_Upload_Location=following, Connection="close")
            self.close_connection = True
            return
        body = self._body()
        fault = self.registry.upload_faults.pop(0) if self.registry.upload_faults else ""
        if fault:
            if fault == "half":
                upload += body[: len(body) // 2]
            elif fault == "lost":
                assert match
                del self.registry.uploads[match[2]]
            self._answer(429, b"")
            return
        if start != len(upload):
            self._answer(416)
            return
        upload += body
        self._answer(202, Location=self._own(self.path), Range=f"0-{len(upload) - 1}")

    def do_PUT(self) -> None:
        if not self._begin():
            return
        body = self._body()
        url = urlsplit(self.path)
        if url.path.startswith("/part/"):
            _, _, name, start = url.path.split("/")
            upload = self.registry.uploads[name]
            upload[int(start) :] = body
            self._answer(200)
        elif match := _MANIFEST.fullmatch(url.path):
            self.registry.manifests[match[1], match[2]] = body
            self._answer(201)
        elif match := _UPLOAD.fullmatch(url.path):
            upload = self.registry.uploads.pop(match[2], bytearray())
            data = bytes(upload) + body
            wanted = parse_qs(url.query)["digest"][0]
            if f"sha256:{hashlib.sha256(data).hexdigest()}" != wanted:
                self._answer(400, b'{"errors":[{"code":"DIGEST_INVALID"}]}')
                return
            self.registry.blobs[match[1], wanted] = data
            self._answer(201)


@contextmanager
def served_registry(tls: ssl.SSLContext | None = None) -> Iterator[TestRegistry]:
    """A registry that answers on a port of its own until the end of the block."""
    registry = TestRegistry()
    with served_handler(type("Handler", (_Handler,), {"registry": registry}), tls) as host:
        registry.host = host
        yield registry


@contextmanager
def served_handler(handler: type[BaseHTTPRequestHandler], tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """Answers on a port of its own until the end of the block; gives host and port."""
    server = _Server(("127.0.0.1", 0), handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def handle_error(self, *_: object) -> None:
        """A client may leave at any time."""
