"""A layer made of a model in Hugging Face's layout."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import closing

from server.backends.quantizer import convert
from server.errors import InvalidRequest
from server.services.create_written import written_layer
from server.services.source_layer import NO_DIGEST, SourceLayer
from server.storage.store import ModelStore
from server.types.models import CreateProgress


def converted(
    store: ModelStore, files: Mapping[str, str]
) -> Generator[CreateProgress, None, list[SourceLayer]]:
    """The weights of a folder's files (name to digest), held until the model is made.

    Raises: BlobNotFound, InvalidRequest for a kind of model that cannot be converted, DiskFull, StoreError.
    """
    if any(name.rpartition("/")[2].startswith("adapter") for name in files if name.endswith(".safetensors")):
        raise InvalidRequest(
            "adapters of safetensors cannot be converted",
            hint="Convert the adapter with llama.cpp's convert_lora_to_gguf.py.",
        )
    paths = {name: store.blob_path(digest) for name, digest in files.items()}
    total = sum(path.stat().st_size for name, path in paths.items() if name.endswith(".safetensors"))
    with store.new_file("convert-") as file:
        with closing(convert(paths, file.path)) as shares:
            for share in shares:
                yield CreateProgress("converting model", NO_DIGEST, total, int(share * total))
        done = CreateProgress("converting model", NO_DIGEST, total, total)
        layer = yield from written_layer(store, file, "model", done)
    return [layer]
