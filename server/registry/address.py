"""Where a model lies in a registry, and the URLs of its parts there."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit

import msgspec

from server.errors import InvalidRequest, RegistryError
from server.types.names import ModelName

_PORTS = {"http": 80, "https": 443}


class RegistryAddress(msgspec.Struct, frozen=True):
    """A registry and a repository in it.

    Attributes:
        scheme: "https", or "http" where the caller said that this is wanted.
        host: with the port when the name has one.
        repository: namespace and model.
    """

    scheme: str
    host: str
    repository: str

    @classmethod
    def of(cls, name: ModelName, *, insecure: bool) -> RegistryAddress:
        """The address of a model; `insecure` is plain HTTP, as in Ollama."""
        return cls("http" if insecure else "https", name.host, f"{name.namespace}/{name.model}")

    @property
    def base(self) -> str:
        """URL of the repository."""
        return f"{self.scheme}://{self.host}/v2/{self.repository}"

    def manifest(self, tag: str) -> str:
        """URL of a manifest."""
        return f"{self.base}/manifests/{tag}"

    def blob(self, digest: str) -> str:
        """URL of a blob."""
        return f"{self.base}/blobs/{digest}"

    def uploads(self) -> str:
        """URL where uploads begin."""
        return f"{self.base}/blobs/uploads/"


def check_scheme(name: str, *, insecure: bool) -> None:
    """Refuse a name that asks for plain HTTP by its scheme alone. Raises: InvalidRequest."""
    if name.lower().startswith("http://") and not insecure:
        raise InvalidRequest("insecure protocol http", hint="Add --insecure to use plain HTTP.")


def origin_of(url: SplitResult) -> tuple[str, str, int]:
    """Scheme, host and port: whom a token may be shown to."""
    return url.scheme, (url.hostname or "").lower(), url.port or _PORTS[url.scheme]


def parse_url(text: str) -> SplitResult:
    """A URL of a reply, taken apart once. Raises: RegistryError for one that is not plainly HTTP."""
    try:
        url = urlsplit(text)
        is_good = url.scheme in _PORTS and bool(url.hostname) and (url.port is None or url.port > 0)
    except ValueError:
        is_good = False
    # What other parsers read differently: user names, backslashes, blanks and control characters.
    if not is_good or "@" in url.netloc or any(c <= " " or c in '\\"<>^`{|}' or c >= "\x7f" for c in text):
        raise RegistryError(f"the registry gave an address that cannot be used: {text[:200]!r}")
    return url


def shown(url: SplitResult) -> str:
    """A URL for people and logs, without its query: signatures stand there."""
    return f"{url.scheme}://{url.netloc}{url.path}"
