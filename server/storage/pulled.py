"""What a pull puts into a store: blobs out of partial downloads, and a manifest as its registry has it."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import suppress

import msgspec

from server.errors import StoreError
from server.storage.blobs import is_blob, touch, touch_if_there
from server.storage.disk import disk_errors, write_atomically
from server.storage.manifests import Layer, Manifest, parse_manifest, read_manifest
from server.storage.partials import PartialFile
from server.storage.references import find_references
from server.storage.store import ModelStore
from server.types.names import ModelName

_log = logging.getLogger("olla")


class Pulled(msgspec.Struct, frozen=True):
    """What became of the store when a manifest was written.

    Attributes:
        replaced: the model that had the name and was another, in its stored spelling.
        unused: blobs that it had and the new one has not; others may need them.
    """

    replaced: ModelName | None
    unused: frozenset[str]


def hold_blobs(store: ModelStore, layers: Iterable[Layer], holder: str) -> dict[str, Layer]:
    """Spare what a pull needs for an hour, be it there or not; returns what is not there, by digest.

    Raises: StoreError.
    """
    missing = {}
    for layer in layers:
        store.pin(layer.digest, holder)
        if not is_whole(store, layer):
            missing[layer.digest] = layer
    return missing


def is_whole(store: ModelStore, layer: Layer) -> bool:
    """Whether a blob is in the store with the length that it should have; its time is set anew."""
    path = store.paths.blob(layer.digest)
    with suppress(FileNotFoundError):
        return is_blob(path) and touch_if_there(path) and path.stat().st_size == layer.size_bytes
    return False


def add_blob(store: ModelStore, partial: PartialFile) -> None:
    """Make a whole, verified download a blob; those that pull it hold it. Raises: StoreError."""
    partial.make_blob(store.paths.blob(partial.digest))


def write_manifest(store: ModelStore, name: ModelName, raw: bytes, holder: str) -> Pulled:
    """Make a model of blobs that are there, byte for byte as its registry has it, at once and last.

    They are held no longer. `holder`: as of `hold_blobs`.
    Raises: BlobNotFound when one has gone meanwhile, DiskFull, StoreError.
    """
    manifest = parse_manifest(raw)
    with store.changing():
        stored = store.canonical(name)
        path = store.paths.manifest(stored)
        if path.is_dir():
            raise StoreError(f"{path} is a folder, where the manifest of {name.display()} belongs")
        for digest in manifest.digests:
            # Restarts the hour for which Ollama spares a blob that no manifest names.
            touch(store.blob_path(digest))
        old = _manifest_or_none(store, stored)
        write_atomically(path, raw, store.paths.temporary)
        store.unpin(manifest.digests, holder)
    is_other = old is not None and old.digest != manifest.digest
    return Pulled(stored if is_other else None, old.digests - manifest.digests if old else frozenset())


def remove_unused(store: ModelStore, digests: Iterable[str]) -> None:
    """Remove those of the blobs that no model needs any more. Raises: StoreError."""
    with store.changing(), disk_errors(store.root):
        references = find_references(store.paths)
        if references.unreadable:
            _log.warning(
                "no blobs are removed: %s cannot be read and may need them", references.unreadable[0]
            )
            return
        for digest in set(digests) - references.digests - store.held():
            store.paths.blob(digest).unlink(missing_ok=True)


def _manifest_or_none(store: ModelStore, name: ModelName) -> Manifest | None:
    try:
        return read_manifest(store.paths.manifest(name))
    except (OSError, ValueError):
        return None
