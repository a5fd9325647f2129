"""A layer of a model in the making."""

from __future__ import annotations

import msgspec

from server.gguf.metadata import GgufMetadata
from server.storage.manifests import Layer

NO_DIGEST = "0000000000000000000"
"""What Ollama gives as the digest of work that has none yet."""


class SourceLayer(msgspec.Struct, frozen=True):
    """A layer of the new model.

    Attributes:
        metadata: of a GGUF layer, None for others.
        status: what its line in the progress says, "" for none.
    """

    layer: Layer
    metadata: GgufMetadata | None = None
    status: str = ""
