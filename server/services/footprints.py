"""What models take: on the disk, alone and together with others, and in memory for any context."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

from server.errors import BadModelFile
from server.gguf.footprint import ModelFootprint
from server.gguf.memory_shape import MemoryShape, memory_shape
from server.storage.stored_model import StoredModel

MAX_SHARERS = 20
"""Names that are listed of those that share a blob."""


class Footprints:
    """Computes them, and reads each header once."""

    def __init__(self, kv_cache_type: str) -> None:
        self._kv_cache_type = kv_cache_type
        self._shapes: dict[str, MemoryShape | None] = {}  # by digest of the manifest

    def of(self, models: Iterable[StoredModel]) -> dict[str, ModelFootprint]:
        """By display name. May read many files."""
        listed = list(models)
        n_uses: Counter[str] = Counter()
        users: defaultdict[str, list[str]] = defaultdict(list)
        for stored in listed:
            for digest in stored.manifest.digests:
                n_uses[digest] += 1
                users[digest].append(stored.name.display())
        self._shapes = {stored.digest: self._shape(stored) for stored in listed}
        return {stored.name.display(): self._footprint(stored, n_uses, users) for stored in listed}

    def _footprint(
        self, stored: StoredModel, n_uses: Counter[str], users: defaultdict[str, list[str]]
    ) -> ModelFootprint:
        manifest = stored.manifest
        sizes = {layer.digest: layer.size_bytes for layer in manifest.layers}
        if manifest.config_digest:
            sizes[manifest.config_digest] = manifest.config_size_bytes
        shared = {digest for digest in sizes if n_uses[digest] > 1}
        names = {name for digest in shared for name in users[digest]} - {stored.name.display()}
        return ModelFootprint(
            own_bytes=sum(size for digest, size in sizes.items() if digest not in shared),
            shared_bytes=sum(sizes[digest] for digest in shared),
            shared_with=tuple(sorted(names)[:MAX_SHARERS]),
            shape=self._shapes[stored.digest],
        )

    def _shape(self, stored: StoredModel) -> MemoryShape | None:
        if stored.digest in self._shapes:
            return self._shapes[stored.digest]
        try:
            return memory_shape(stored.metadata(), self._kv_cache_type)
        except BadModelFile:
            return None
