"""Where things lie in a model store, and what a digest may look like."""

from __future__ import annotations

import re
from pathlib import Path

from server.errors import InvalidRequest
from server.types.names import ModelName

_DIGEST = re.compile(r"sha256[:-]([0-9a-fA-F]{64})")


def normal_digest(text: str) -> str:
    """`sha256:` and 64 lower-case hex digits, from this form or the one of file names, `sha256-...`.

    Raises: InvalidRequest for anything else, so that no digest can name a path outside the store.
    """
    match = _DIGEST.fullmatch(text)
    if match is None:
        raise InvalidRequest("invalid digest format")
    return f"sha256:{match[1].lower()}"


class StorePaths:
    """Paths of a store in Ollama's layout.

    Everything of our own lies below `.olla`, for Ollama removes what it does not know from `blobs` and takes
    any file that is deep enough in `manifests` for a model.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.manifests = root / "manifests"
        self.blobs = root / "blobs"
        self.own = root / ".olla"
        self.lock = self.own / "lock"
        self.temporary = self.own / "tmp"
        self.pins = self.own / "pins"
        self.partials = self.own / "partial"

    def blob(self, digest: str) -> Path:
        """File of a blob. Raises: InvalidRequest for a digest of a wrong form."""
        return self.blobs / normal_digest(digest).replace(":", "-")

    def manifest(self, name: ModelName) -> Path:
        """File of a manifest."""
        return self.manifests / name.relative_path()
