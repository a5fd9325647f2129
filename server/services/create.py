"""Making models out of files or of other models.

A GGUF file becomes a layer as it is. Ollama writes it anew with llama.cpp's converter and gets another
digest; both are valid for both.
"""

from __future__ import annotations

import secrets
from collections.abc import Generator, Sequence
from typing import Any

from server.errors import InvalidRequest, InvalidTemplate, StoreError
from server.prompts.template import go_template
from server.services.create_config import (
    inherited_config,
    requested_parameters,
    with_info,
    with_weights,
)
from server.services.create_quantize import quantized, wanted_type
from server.services.create_sources import (
    adapter_layers,
    base_layers,
    draft_layers,
    file_layers,
    is_checked_by_ollama,
)
from server.services.source_layer import SourceLayer
from server.storage.config import ModelConfig
from server.storage.manifests import Layer
from server.storage.store import ModelStore, StoredModel
from server.storage.texts import encode_messages, encode_params, read_params
from server.types.create_checks import check_form, check_source
from server.types.models import CreateProgress, CreateRequest
from server.types.names import ModelName
from server.types.options import parse_options

_MAX_PARAMS_BYTES = 1 << 24


class Creation:
    """One model in the making."""

    def __init__(self, store: ModelStore, request: CreateRequest, base: StoredModel | None) -> None:
        """Check the request.

        Args:
            base: the model that the request starts from, None when it starts from files.

        Raises: as `check_form` and `check_source`.
        """
        self._store = store
        self._request = request
        self._base = base
        self.name = check_form(request)
        check_source(request)
        self._replaced: ModelName | None = None
        self._holder = secrets.token_hex(8)

    def steps(self) -> Generator[CreateProgress, None, None]:
        """Do it; yields what Ollama reports. Work happens on the thread that asks for the next report.

        Raises: InvalidRequest and its kinds, NotFound, StoreError and its kinds.
        """
        try:
            yield from self._steps()
        finally:
            self._store.unpin(None, self._holder)

    def _steps(self) -> Generator[CreateProgress, None, None]:
        request = self._request
        if self._base is not None:
            sources = base_layers(self._store, self._base)
        else:
            sources = yield from file_layers(self._store, self._holder, request.files)
        drafts = []
        if request.draft_files:
            drafts = yield from draft_layers(self._store, self._holder, request.draft_files)
        if request.adapters:
            sources += yield from adapter_layers(self._store, self._holder, request.adapters, sources)
        if drafts:
            sources = [*_without(sources, "draft"), *drafts]
        inherited = inherited_config(request, self._base.config if self._base is not None else None)
        told = with_info(inherited, request.info)
        targets = [wanted_type(request, source) for source in sources]
        if request.template:
            _check_template(request.template)
        parameters = requested_parameters(request, told, sources)
        parse_options(parameters)
        for i, target in enumerate(targets):
            if target is not None:
                sources[i] = yield from quantized(self._store, self._holder, sources[i], target)
            elif self._base is None and is_checked_by_ollama(sources[i]):
                # Reading the header has proved that all tensors are there, which is what this line promises.
                yield CreateProgress("verifying conversion")
        for status in self._write(with_weights(told, sources), sources, parameters):
            yield CreateProgress(status)
        yield CreateProgress("success")

    def take_replaced(self) -> ModelName | None:
        """The model that this one has replaced, told once."""
        replaced, self._replaced = self._replaced, None
        return replaced

    def _write(
        self, config: ModelConfig, sources: Sequence[SourceLayer], parameters: dict[str, Any]
    ) -> list[str]:
        """Write the layers that are new, then the manifest; returns the status lines."""
        with self._store.changing():
            layers = self._with_texts(list(sources), parameters)
            self._replaced = self._store.write_model(self.name, config, [source.layer for source in layers])
            # One upload of each, also of what was merged or converted: it is of no use any more as it came.
            files = (self._request.files, self._request.adapters, self._request.draft_files)
            self._store.unpin([digest for group in files for digest in group.values()])
        return [*(source.status for source in layers if source.status), "writing manifest"]

    def _with_texts(self, layers: list[SourceLayer], parameters: dict[str, Any]) -> list[SourceLayer]:
        """Layers with those that the request sets at their end, in Ollama's order."""
        request = self._request
        if request.template:
            layers = [*_without(layers, "template"), self._text_layer("template", request.template)]
        if request.system:
            layers = [*_without(layers, "system"), self._text_layer("system", request.system)]
        layers += [self._text_layer("license", text) for text in request.licenses if text]
        merged = {**self._params_of(layers), **parameters}
        if merged:
            layers = [*_without(layers, "params"), self._new_layer("params", _params_bytes(merged))]
        if request.messages:
            messages = encode_messages(request.messages)
            layers = [*_without(layers, "messages"), self._new_layer("messages", messages)]
        return layers

    def _params_of(self, layers: Sequence[SourceLayer]) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        for source in layers:
            if source.layer.kind == "params":
                raw = self._store.read_bytes(source.layer.digest, _MAX_PARAMS_BYTES)
                try:
                    params = read_params(raw)
                except ValueError as error:
                    raise StoreError(f"the base model's parameters cannot be read: {error}") from error
                # The first layer that has a name wins, as in Ollama.
                merged = params | merged
        return merged

    def _text_layer(self, kind: str, text: str) -> SourceLayer:
        return self._new_layer(kind, text.encode("utf-8", "replace"))

    def _new_layer(self, kind: str, data: bytes) -> SourceLayer:
        blob = self._store.put_bytes(data)
        what = "creating new layer" if blob.created else "using existing layer"
        return SourceLayer(Layer(kind, blob.digest, blob.size_bytes), status=f"{what} {blob.digest}")


def _check_template(template: str) -> None:
    try:
        go_template(template)
    except InvalidTemplate as error:
        raise InvalidTemplate(f"template error: {error.message}", hint=error.hint) from error


def _params_bytes(params: dict[str, Any]) -> bytes:
    try:
        return encode_params(params)
    except ValueError as error:
        raise InvalidRequest(f"parameters cannot be stored: {error}") from error


def _without(layers: Sequence[SourceLayer], kind: str) -> list[SourceLayer]:
    return [source for source in layers if source.layer.kind != kind]
