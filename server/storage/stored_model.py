"""A model as it is in the store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from server.errors import BadModelFile
from server.gguf.kinds import UNKNOWN_FILE_TYPE
from server.gguf.metadata import GgufMetadata
from server.prompts.choice import chat_template
from server.prompts.template import PromptTemplate
from server.storage.blobs import is_blob, read_blob
from server.storage.capabilities import full_capabilities, listed_capabilities
from server.storage.config import ModelConfig, read_config
from server.storage.headers import HeaderCache
from server.storage.manifests import Manifest
from server.storage.paths import StorePaths
from server.storage.texts import read_messages, read_params
from server.types.messages import Message
from server.types.models import Capability, ModelDetails
from server.types.names import ModelName

# Templates, licences and messages are kilobytes; a message may carry pictures.
_MAX_TEXT_BYTES = 1 << 26


class StoredModel(msgspec.Struct, frozen=True, kw_only=True):
    """A manifest with its small blobs read; weights are read on demand.

    Attributes:
        digest: of the manifest, 64 hex digits.
        modified_at: Unix time, seconds.
        parent: model or file that the weights came from, "" for none.
        weights_path: None for a model without GGUF weights.
        template: Modelfile TEMPLATE, None when there is none.
        params: options by name, in the order stored.
    """

    name: ModelName
    digest: str
    size_bytes: int
    modified_at: float
    config: ModelConfig
    manifest: Manifest
    headers: HeaderCache
    parent: str = ""
    weights_path: Path | None = None
    draft_path: Path | None = None
    projector_paths: tuple[Path, ...] = ()
    adapter_paths: tuple[Path, ...] = ()
    template: str | None = None
    system: str = ""
    params: dict[str, Any] = {}
    messages: tuple[Message, ...] = ()
    licenses: tuple[str, ...] = ()
    prefer_go: bool | None = None

    @property
    def model_path(self) -> Path:
        """File of the weights. Raises: BadModelFile when the model has none that llama.cpp could load."""
        if self.weights_path is None:
            raise BadModelFile(
                f"model {self.name.display()} has no GGUF weights",
                hint="It is made for another engine, or runs elsewhere; choose a GGUF model.",
            )
        return self.weights_path

    @property
    def is_complete(self) -> bool:
        """Whether every file that a load needs is there."""
        needed = (self.weights_path, self.draft_path, *self.projector_paths, *self.adapter_paths)
        return all(is_blob(path) for path in needed if path is not None)

    def metadata(self) -> GgufMetadata:
        """Of the weights; read once. Raises: BadModelFile."""
        return self.headers.get(self.model_path)

    def check_files(self) -> None:
        """Read the header of every file that a load hands to llama.cpp, whose own errors are less kind.

        Raises: BadModelFile.
        """
        for path in (self.model_path, *self.projector_paths, *self.adapter_paths):
            self.headers.get(path)

    def projectors(self) -> tuple[GgufMetadata, ...]:
        """Metadata of the projectors. Raises: BadModelFile."""
        return tuple(self.headers.get(path) for path in self.projector_paths)

    def chat_template(self) -> PromptTemplate:
        """The template that renders its chats. Raises: InvalidTemplate, BadModelFile."""
        weights = self._weights()
        return chat_template(
            self.template,
            weights.chat_template if weights is not None else "",
            prefer_go=self.prefer_go,
            has_renderer=bool(self.config.renderer or self.config.parser),
        )

    def capabilities(self) -> tuple[Capability, ...]:
        """All that it can do, in the order of Ollama's `show`. Raises: InvalidTemplate, BadModelFile."""
        return full_capabilities(self.config, self._weights(), self.projectors(), self.chat_template())

    def listed_capabilities(self) -> tuple[Capability, ...]:
        """As Ollama's list of models tells them. Raises: InvalidTemplate."""
        return listed_capabilities(
            self.config, self._readable_weights(), len(self.projector_paths), self.template
        )

    def details(self) -> ModelDetails:
        """Config and weights for people; what the weights would tell is left out when they cannot be read."""
        weights = self._readable_weights()
        config = self.config
        quantization = config.file_type
        if weights is not None and quantization in ("", UNKNOWN_FILE_TYPE):
            quantization = weights.file_type
        return ModelDetails(
            parent_model=self.parent,
            format=config.model_format,
            family=config.model_family,
            families=config.model_families,
            parameter_size=config.model_type,
            quantization_level=quantization or config.file_type,
            context_length=config.context_length or (weights.context_length if weights else 0),
            embedding_length=config.embedding_length or (weights.embedding_length if weights else 0),
        )

    def _weights(self) -> GgufMetadata | None:
        return None if self.weights_path is None else self.headers.get(self.weights_path)

    def _readable_weights(self) -> GgufMetadata | None:
        try:
            return self._weights()
        except BadModelFile:
            return None


def read_stored_model(
    paths: StorePaths,
    name: ModelName,
    manifest: Manifest,
    headers: HeaderCache,
    *,
    prefer_go: bool | None = None,
) -> StoredModel:
    """Read the small blobs of a manifest. Layers of unknown kinds are left alone.

    Raises: BlobNotFound when one of them is missing, ValueError when one does not read.
    """
    fields: dict[str, Any] = {"params": {}, "licenses": (), "projector_paths": (), "adapter_paths": ()}
    for layer in manifest.layers:
        if not layer.digest:
            continue
        path = paths.blob(layer.digest)
        match layer.kind:
            case "model":
                fields |= {"weights_path": path, "parent": layer.source}
            case "draft":
                fields["draft_path"] = path
            case "projector":
                fields["projector_paths"] += (path,)
            case "adapter":
                fields["adapter_paths"] += (path,)
            case "template" | "prompt":
                fields["template"] = _read_text(paths, layer.digest)
            case "system":
                fields["system"] = _read_text(paths, layer.digest)
            case "license":
                fields["licenses"] += (_read_text(paths, layer.digest),)
            case "params":
                fields["params"] |= read_params(_read(paths, layer.digest))
            case "messages":
                fields["messages"] = read_messages(_read(paths, layer.digest))
    config = read_config(_read(paths, manifest.config_digest)) if manifest.config_digest else ModelConfig()
    return StoredModel(
        name=name,
        digest=manifest.digest,
        size_bytes=manifest.size_bytes,
        modified_at=manifest.modified_at,
        config=config,
        manifest=manifest,
        headers=headers,
        prefer_go=prefer_go,
        **fields,
    )


def _read(paths: StorePaths, digest: str) -> bytes:
    return read_blob(paths, digest, _MAX_TEXT_BYTES)


def _read_text(paths: StorePaths, digest: str) -> str:
    return _read(paths, digest).decode("utf-8", "replace")
