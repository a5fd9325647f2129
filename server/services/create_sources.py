"""Where a new model's layers come from: GGUF files that were uploaded, or a model that is there."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence

from server.errors import InvalidRequest
from server.gguf.merge import part_of
from server.gguf.metadata import GgufMetadata
from server.gguf.reader import is_gguf
from server.services.create_convert import converted, converted_adapter
from server.services.create_merge import SplitFile, joined, lacks_projector_type, with_projector_type
from server.services.source_layer import SourceLayer
from server.storage.manifests import Layer
from server.storage.store import ModelStore, StoredModel
from server.types.models import CreateProgress

_WEIGHT_KINDS = frozenset({"model", "projector", "adapter", "draft"})
# Tensors of parts beside the language model; Ollama leaves a file that has them as it is.
_EMBEDDED_PART_PREFIXES = ("a.", "mm.", "mtp.", "s.", "v.")

_Progress = Generator[CreateProgress, None, "list[SourceLayer]"]


def base_layers(store: ModelStore, base: StoredModel) -> list[SourceLayer]:
    """All layers of a model that is there. Raises: BlobNotFound, BadModelFile."""
    found = []
    for layer in base.manifest.layers:
        path = store.blob_path(layer.digest)
        metadata = store.read_metadata(path) if layer.kind in _WEIGHT_KINDS else None
        own = Layer(layer.kind, layer.digest, path.stat().st_size, base.name.display(), layer.name)
        found.append(SourceLayer(own, metadata, _existing(layer.digest)))
    return found


def file_layers(store: ModelStore, holder: str, files: Mapping[str, str]) -> _Progress:
    """Layers of GGUF files, by name; what each is says its metadata. Or the model of a folder of safetensors.

    What is made of them is held for `holder`.

    Raises: InvalidRequest, BlobNotFound, BadModelFile, DiskFull, StoreError.
    """
    if any(name.endswith(".safetensors") for name in files):
        return (yield from converted(store, holder, files))
    _require_gguf(store, files)
    return (yield from _gguf_layers(store, holder, files))


def adapter_layers(
    store: ModelStore, holder: str, files: Mapping[str, str], models: Sequence[SourceLayer]
) -> _Progress:
    """The layer of an adapter's files; `models`: layers that it may be for. Raises: as `file_layers`."""
    if any(name.endswith(".safetensors") for name in files):
        weights = [source.metadata for source in models if source.layer.kind == "model"]
        return (yield from converted_adapter(store, holder, files, weights[0] if weights else None))
    _require_gguf(store, files)
    if len(files) > 1:
        raise InvalidRequest("only one adapter is currently supported")
    return (yield from _gguf_layers(store, holder, files))


def draft_layers(store: ModelStore, holder: str, files: Mapping[str, str]) -> _Progress:
    """Layers of a draft model's files. Raises: as `file_layers`."""
    _require_gguf(store, files)
    return (yield from _gguf_layers(store, holder, files, kind="draft"))


def _require_gguf(store: ModelStore, files: Mapping[str, str]) -> None:
    """Raises: InvalidRequest for files that are not GGUF by name or content."""
    if any(name.endswith(".safetensors") for name in files):
        raise InvalidRequest(
            "a draft model of safetensors cannot be converted",
            hint="Convert it with llama.cpp's convert_hf_to_gguf.py.",
        )
    if any(name.endswith(".gguf") for name in files):
        return
    if not any(is_gguf(store.paths.blob(digest)) for digest in files.values()):
        raise InvalidRequest("unknown type", hint="A model is made from GGUF files.")


def _gguf_layers(store: ModelStore, holder: str, files: Mapping[str, str], kind: str = "") -> _Progress:
    found: list[SourceLayer] = []
    split: dict[str, list[SplitFile]] = {}
    for name in sorted(files):
        yield CreateProgress("parsing GGUF")
        source = _gguf_layer(store, name, files[name], kind)
        part = part_of(name, source.metadata) if source.metadata is not None else None
        if part is not None:
            split.setdefault(part.group, []).append(SplitFile(part, source, name))
        elif lacks_projector_type(source):
            found.append((yield from with_projector_type(store, holder, source)))
        else:
            found.append(source)
    for parts in split.values():
        # The first part alone says what the file is.
        first = min(parts, key=lambda file: file.part.number).source
        found.append((yield from joined(store, holder, first.layer.kind, parts)))
    return found


def _gguf_layer(store: ModelStore, file_name: str, digest: str, kind: str) -> SourceLayer:
    path = store.blob_path(digest)
    if not is_gguf(path):
        raise InvalidRequest("supplied file was not in GGUF format")
    metadata = store.read_metadata(path)
    kind = kind or gguf_kind(metadata)
    # Ollama writes a model's weights anew and forgets the file's name with it; other files keep theirs.
    source = "" if kind == "model" else file_name
    layer = Layer(kind, digest, path.stat().st_size, source)
    return SourceLayer(layer, metadata, _existing(digest))


def gguf_kind(metadata: GgufMetadata) -> str:
    """Kind of layer that a GGUF file makes."""
    if metadata.kind == "adapter":
        return "adapter"
    return "projector" if metadata.is_projector else "model"


def is_checked_by_ollama(source: SourceLayer) -> bool:
    """Whether Ollama would run these weights through its converter, and say so."""
    if source.metadata is None or source.layer.kind != "model":
        return False
    names = (tensor.name for tensor in source.metadata.header.tensors)
    return not any(name.startswith(_EMBEDDED_PART_PREFIXES) for name in names)


def _existing(digest: str) -> str:
    return f"using existing layer {digest}"
