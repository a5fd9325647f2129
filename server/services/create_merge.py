"""Layers whose bytes are made of other files: the parts of a split one, a projector of an old form."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from typing import NamedTuple

from server.gguf.merge import Part, in_order, merged, merged_bytes, rewritten
from server.gguf.metadata import GgufMetadata
from server.gguf.raw import raw_records
from server.gguf.writer import Value, record
from server.services.source_layer import NO_DIGEST, SourceLayer
from server.storage.disk import disk_errors, require_room
from server.storage.manifests import Layer
from server.storage.store import ModelStore
from server.types.models import CreateProgress

_REPORT_BYTES = 1 << 26  # written between two reports


class SplitFile(NamedTuple):
    """The parts of one file: which it is, its layer, and the name under which it came."""

    part: Part
    source: SourceLayer
    name: str


def joined(
    store: ModelStore, holder: str, kind: str, files: Sequence[SplitFile]
) -> Generator[CreateProgress, None, SourceLayer]:
    """One layer of all parts, held until the model is made.

    Raises: InvalidRequest, BadModelFile, DiskFull, StoreError.
    """
    parts = [(file.part, file.source.metadata.header) for file in files if file.source.metadata is not None]
    headers = in_order(parts, files[0].name)
    total = merged_bytes(headers)
    with disk_errors(store.root):
        require_room(store.root, total, "merging the parts")
    status = f"merging {len(headers)} parts"
    return (yield from _written(store, holder, kind, merged(headers), status, total))


def with_projector_type(
    store: ModelStore, holder: str, source: SourceLayer
) -> Generator[CreateProgress, None, SourceLayer]:
    """A projector of LLaVA's first form, which does not say its type, saying "mlp" as llama.cpp wants it.

    Raises: BadModelFile, DiskFull, StoreError.
    """
    assert source.metadata is not None
    header = source.metadata.header
    added = record("clip.projector_type", Value("str", "mlp"))
    records = [*raw_records(header).values(), added]
    status = "updating GGUF projector metadata"
    return (
        yield from _written(
            store, holder, "projector", rewritten([header], records), status, header.file_bytes
        )
    )


def lacks_projector_type(source: SourceLayer) -> bool:
    """Whether a layer is a projector of LLaVA's first form."""
    metadata = source.metadata
    if source.layer.kind != "projector" or metadata is None or metadata.architecture != "clip":
        return False
    keys = metadata.header.metadata
    has_type = "clip.projector_type" in keys or "clip.vision.projector_type" in keys
    return metadata.get("has_vision_encoder") is True and not has_type


def _written(
    store: ModelStore, holder: str, kind: str, pieces: Iterable[bytes], status: str, total: int
) -> Generator[CreateProgress, None, SourceLayer]:
    """A blob of these bytes as a layer."""
    n_written = n_told = 0
    yield CreateProgress(status, NO_DIGEST, total, 0)
    with store.open_blob_writer() as writer:
        for piece in pieces:
            writer.write(piece)
            n_written += len(piece)
            if n_written - n_told >= _REPORT_BYTES:
                n_told = n_written
                yield CreateProgress(status, NO_DIGEST, total, min(n_written, total))
        store.pin(writer.digest(), holder)
        blob = writer.commit()
    yield CreateProgress(status, NO_DIGEST, total, total)
    metadata: GgufMetadata = store.read_metadata(store.blob_path(blob.digest))
    what = "creating new layer" if blob.created else "using existing layer"
    layer = Layer(kind, blob.digest, blob.size_bytes)
    return SourceLayer(layer, metadata, f"{what} {blob.digest}")
