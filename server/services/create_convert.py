"""A layer made of a model, or an adapter, in Hugging Face's layout."""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping
from contextlib import closing

from server.backends.quantizer import Base, convert
from server.errors import InvalidRequest
from server.gguf.metadata import GgufMetadata
from server.services.create_written import written_layer
from server.services.source_layer import NO_DIGEST, SourceLayer
from server.storage.store import ModelStore
from server.types.models import CreateProgress

_MAX_CONFIG_BYTES = 1 << 24


def converted(
    store: ModelStore, holder: str, files: Mapping[str, str]
) -> Generator[CreateProgress, None, list[SourceLayer]]:
    """The weights of a folder's files (name to digest), held until the model is made.

    Raises: BlobNotFound, InvalidRequest for a kind of model that cannot be converted, DiskFull, StoreError.
    """
    if any(name.rpartition("/")[2].startswith("adapter_model") for name in files):
        raise InvalidRequest(
            "an adapter is no model", hint="Name its folder in ADAPTER, and its model in FROM."
        )
    return (yield from _converted(store, holder, files, "model", None))


def converted_adapter(
    store: ModelStore, holder: str, files: Mapping[str, str], model: GgufMetadata | None
) -> Generator[CreateProgress, None, list[SourceLayer]]:
    """An adapter's files as a layer; `model`: the weights that it is for. Raises: as `converted`."""
    if model is None:
        raise InvalidRequest("no base model was found")
    base = Base(model.architecture, model.head_count, model.head_count_kv)
    return (yield from _converted(store, holder, files, "adapter", base))


def _converted(
    store: ModelStore, holder: str, files: Mapping[str, str], kind: str, base: Base | None
) -> Generator[CreateProgress, None, list[SourceLayer]]:
    paths = {name: store.blob_path(digest) for name, digest in files.items()}
    total = sum(path.stat().st_size for name, path in paths.items() if name.endswith(".safetensors"))
    status = f"converting {kind}"
    with store.new_file("convert-") as file:
        with closing(convert(paths, file.path, base)) as shares:
            for share in shares:
                yield CreateProgress(status, NO_DIGEST, total, int(share * total))
        done = CreateProgress(status, NO_DIGEST, total, total)
        layer = yield from written_layer(store, holder, file, kind, done)
    if kind == "model" and _sees(store, files):
        yield CreateProgress("leaving out the vision part, only text is converted")
    return [layer]


def _sees(store: ModelStore, files: Mapping[str, str]) -> bool:
    """Whether a model that has been converted had a part for pictures."""
    raw = store.read_bytes(files["config.json"], _MAX_CONFIG_BYTES)
    return bool(json.loads(raw).get("vision_config"))
