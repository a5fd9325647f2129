"""The config blob of a model: what Ollama keeps about it beside its layers."""

from __future__ import annotations

from typing import Any

import msgspec

from server.storage import gojson


class ModelConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Fields of the config, in the order in which they are written.

    Attributes:
        model_families: None is written as null.
        model_type: parameters for people, "7.2B".
        file_type: quantisation.
        renderer, parser: names of Ollama's built-in ones, "" for none.
        requires: least version of Ollama.
        remote_host, remote_model: set for a model that runs elsewhere and has no layers here.
        draft_format, draft_architecture: of the draft model, "" without one.
    """

    model_format: str = ""
    model_family: str = ""
    model_families: tuple[str, ...] | None = None
    model_type: str = ""
    file_type: str = ""
    renderer: str = ""
    parser: str = ""
    requires: str = ""
    remote_host: str = ""
    remote_model: str = ""
    capabilities: tuple[str, ...] = ()
    context_length: int = 0
    embedding_length: int = 0
    base_name: str = ""
    draft_format: str = ""
    draft_architecture: str = ""


def read_config(raw: bytes) -> ModelConfig:
    """Read as Go does. Raises: ValueError."""
    fields = gojson.folded(gojson.decode_first(raw)[0])
    draft = gojson.folded(fields.get("draft"))
    families = None if fields.get("model_families") is None else gojson.texts_field(fields, "model_families")
    return ModelConfig(
        model_format=gojson.text_field(fields, "model_format"),
        model_family=gojson.text_field(fields, "model_family"),
        model_families=families,
        model_type=gojson.text_field(fields, "model_type"),
        file_type=gojson.text_field(fields, "file_type"),
        renderer=gojson.text_field(fields, "renderer"),
        parser=gojson.text_field(fields, "parser"),
        requires=gojson.text_field(fields, "requires"),
        remote_host=gojson.text_field(fields, "remote_host"),
        remote_model=gojson.text_field(fields, "remote_model"),
        capabilities=gojson.texts_field(fields, "capabilities"),
        context_length=gojson.int_field(fields, "context_length"),
        embedding_length=gojson.int_field(fields, "embedding_length"),
        base_name=gojson.text_field(fields, "base_name"),
        draft_format=gojson.text_field(draft, "model_format"),
        draft_architecture=gojson.text_field(draft, "architecture"),
    )


def encode_config(config: ModelConfig) -> bytes:
    """The bytes that Ollama would write; the platform is always the one that its registry expects."""
    value: dict[str, Any] = {
        "model_format": config.model_format,
        "model_family": config.model_family,
        "model_families": config.model_families,
        "model_type": config.model_type,
        "file_type": config.file_type,
    }
    optional: dict[str, Any] = {
        "renderer": config.renderer,
        "parser": config.parser,
        "requires": config.requires,
        "remote_host": config.remote_host,
        "remote_model": config.remote_model,
        "capabilities": config.capabilities,
        "context_length": config.context_length,
        "embedding_length": config.embedding_length,
        "base_name": config.base_name,
    }
    value |= {key: item for key, item in optional.items() if item}
    draft = {"model_format": config.draft_format, "architecture": config.draft_architecture}
    if any(draft.values()):
        value["draft"] = {key: item for key, item in draft.items() if item}
    return gojson.encode(value | {"architecture": "amd64", "os": "linux"})
