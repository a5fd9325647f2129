"""A layer of a file that another process has written."""

from __future__ import annotations

from collections.abc import Generator

from server.gguf.metadata import GgufMetadata
from server.gguf.reader import read_header
from server.services.source_layer import SourceLayer
from server.storage.manifests import Layer
from server.storage.new_file import NewFile
from server.storage.store import ModelStore
from server.types.models import CreateProgress


def written_layer(
    store: ModelStore, holder: str, file: NewFile, kind: str, meanwhile: CreateProgress
) -> Generator[CreateProgress, None, SourceLayer]:
    """Check the file's header, hash it and make it a blob that is held until the model is made.

    Args:
        holder: the create that holds it.
        meanwhile: what is reported while it is read.
    Raises: BadModelFile, DiskFull, StoreError.
    """
    metadata = GgufMetadata(read_header(file.path))
    reading = file.digest()
    while True:
        try:
            next(reading)
        except StopIteration as end:
            digest: str = end.value
            break
        yield meanwhile
    store.pin(digest, holder)
    blob = file.commit(digest)
    what = "creating new layer" if blob.created else "using existing layer"
    layer = Layer(kind, blob.digest, blob.size_bytes)
    return SourceLayer(layer, metadata, f"{what} {blob.digest}")
