"""Quantising the weights of a model in the making."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing

from server.backends.quantizer import quantize
from server.errors import StoreError
from server.gguf.quantization import UNQUANTIZED, QuantizeType, overrides, quantize_type
from server.services.create_written import written_layer
from server.services.source_layer import NO_DIGEST, SourceLayer
from server.storage.store import ModelStore
from server.types.models import CreateProgress, CreateRequest


def wanted_type(request: CreateRequest, source: SourceLayer) -> QuantizeType | None:
    """The type that a layer is to be quantised to; None when it stays as it is.

    Raises: StoreError and InvalidRequest for a type that is none or for weights that are quantised already.
    """
    kind = source.layer.kind
    asked = {"model": request.quantize, "draft": request.draft_quantize}.get(kind, "")
    if not asked or source.metadata is None:
        return None
    target = quantize_type(asked)
    present = source.metadata.file_type
    if present not in UNQUANTIZED:
        if kind == "draft":
            raise StoreError(f"draft quantization requires an unquantized draft model, got {present}")
        raise StoreError(
            "quantization is only supported for F16, BF16 and F32 models",
            hint=f"These weights are {present}; start from unquantized ones.",
        )
    return None if target.name == present else target


def quantized(
    store: ModelStore, holder: str, source: SourceLayer, target: QuantizeType
) -> Generator[CreateProgress, None, SourceLayer]:
    """The layer with its weights quantised, as a blob that is held until the model is made.

    Raises: DiskFull, StoreError, BadModelFile.
    """
    assert source.metadata is not None
    status = f"quantizing {source.metadata.file_type} model to {target.name}"
    total = source.layer.size_bytes

    def at(share: float) -> CreateProgress:
        return CreateProgress(status, NO_DIGEST, total, int(share * total))

    path = store.blob_path(source.layer.digest)
    with store.new_file(f"{target.name}-") as file:
        special = overrides(source.metadata.architecture, target)
        with closing(quantize(path, file.path, target.number, special)) as shares:
            for share in shares:
                yield at(share)
        yield CreateProgress("verifying conversion")
        return (yield from written_layer(store, holder, file, source.layer.kind, at(1.0)))
