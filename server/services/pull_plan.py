"""What a manifest that comes from a registry may say, and what is to be fetched for it. Pure."""

from __future__ import annotations

import re

import msgspec

from server.errors import RegistryError
from server.storage.manifests import CONFIG_TYPE, Layer, parse_manifest

MAX_LAYERS = 512
"""A model has a dozen; one of tensors, which is refused anyway, some thousands."""

MAX_LAYER_BYTES = 1 << 44

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_WRITTEN_DIGEST = re.compile(rb'"digest"\s*:\s*"([^"]*)"', re.IGNORECASE)


class PullPlan(msgspec.Struct, frozen=True):
    """What to fetch.

    Attributes:
        raw: the manifest, byte for byte.
        layers: each blob once, in the manifest's order, the config last.
    """

    raw: bytes
    layers: tuple[Layer, ...]

    @property
    def total_bytes(self) -> int:
        """Of all blobs."""
        return sum(layer.size_bytes for layer in self.layers)


def plan_pull(raw: bytes, repository: str) -> PullPlan:
    """Check a manifest before anything of it is believed. Raises: RegistryError."""
    try:
        manifest = parse_manifest(raw)
    except (ValueError, RecursionError) as error:
        raise _bad(f"it cannot be read: {error}") from error
    if len(manifest.layers) > MAX_LAYERS:
        raise _bad(f"it has {len(manifest.layers)} layers")
    if any(layer.kind == "tensor" for layer in manifest.layers):
        raise RegistryError(
            "this model requires MLX support, but the MLX runtime is not available",
            hint="Look for a variant of the model in the GGUF format.",
            status=200,
        )
    for written in _WRITTEN_DIGEST.findall(raw):
        # Its bytes are kept, and Ollama compares digests as texts when it looks for what is in use.
        if written and _DIGEST.fullmatch(written.decode("ascii", "replace")) is None:
            raise _bad(f"{written.decode('utf-8', 'replace')[:80]!r} is no digest")
    config = Layer(CONFIG_TYPE, manifest.config_digest, manifest.config_size_bytes)
    layers: dict[str, Layer] = {}
    for layer in (*manifest.layers, config):
        if not layer.digest:
            raise RegistryError(f"{repository}: digest is empty", status=200)
        if not 0 <= layer.size_bytes <= MAX_LAYER_BYTES:
            raise _bad(f"{layer.digest} is said to have {layer.size_bytes} bytes")
        if layers.setdefault(layer.digest, layer).size_bytes != layer.size_bytes:
            raise _bad(f"{layer.digest} is said to have two lengths")
    return PullPlan(raw, tuple(layers.values()))


def _bad(what: str) -> RegistryError:
    return RegistryError(f"the registry's manifest cannot be used: {what}", status=200)
