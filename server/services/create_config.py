"""The config and the parameters of a new model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from server.errors import InvalidRequest
from server.services.source_layer import SourceLayer
from server.storage.config import ModelConfig
from server.types.models import CreateRequest
from server.types.quoting import go_quote

# Built-in renderer and parser that Ollama gives to models of an architecture that name none.
_BUILT_IN_BY_ARCHITECTURE: dict[str, str] = {
    "gemma4": "gemma4",
    "laguna": "laguna",
    "nemotron_h": "nemotron-3-nano",
    "nemotron_h_moe": "nemotron-3-nano",
    "nemotron_h_omni": "nemotron-3-nano",
}
_GEMMA4_STOP = "<turn|>"
_MAX_INT = (1 << 63) - 1


def inherited_config(request: CreateRequest, base: ModelConfig | None) -> ModelConfig:
    """What the request says, and for the rest what the base model says."""
    base = base or ModelConfig()
    return ModelConfig(
        model_format=base.model_format,
        renderer=request.renderer or base.renderer,
        parser=request.parser or base.parser,
        requires=request.requires or base.requires,
        capabilities=base.capabilities,
    )


def with_info(config: ModelConfig, info: Mapping[str, Any]) -> ModelConfig:
    """The request's `info` over the config.

    Raises: InvalidRequest in Ollama's words for a field of a wrong type.
    """
    if not info:
        return config
    capabilities = info.get("capabilities")
    added = (
        tuple(c if isinstance(c, str) else "" for c in capabilities) if isinstance(capabilities, list) else ()
    )
    family = _info_text(info, "model_family")
    return replace(
        config,
        capabilities=config.capabilities + added,
        model_family=family,
        model_families=(family,) if family else None,
        base_name=_info_text(info, "base_name"),
        file_type=_info_text(info, "quantization_level"),
        model_type=_info_text(info, "parameter_size"),
        context_length=_info_int(info, "context_length"),
        embedding_length=_info_int(info, "embedding_length"),
    )


def with_weights(config: ModelConfig, sources: Sequence[SourceLayer]) -> ModelConfig:
    """What the weights say, where the config is silent; every model layer adds a family."""
    for source in sources:
        metadata = source.metadata
        if metadata is None:
            continue
        if source.layer.kind == "draft":
            config = replace(config, draft_format="gguf", draft_architecture=metadata.architecture)
        if source.layer.kind != "model":
            continue
        built_in = _BUILT_IN_BY_ARCHITECTURE.get(metadata.architecture, "")
        config = replace(
            config,
            model_format=config.model_format or "gguf",
            model_family=config.model_family or metadata.architecture,
            model_families=(*(config.model_families or ()), metadata.architecture),
            model_type=config.model_type or metadata.parameter_size,
            file_type=config.file_type or metadata.file_type,
            renderer=config.renderer or built_in,
            parser=config.parser or built_in,
        )
    return config


def requested_parameters(
    request: CreateRequest, config: ModelConfig, sources: Sequence[SourceLayer]
) -> dict[str, Any]:
    """Parameters to set, with the stop text that Ollama gives to gemma4 models without a renderer.

    Args:
        config: before `with_weights`.
    """
    parameters = {name: value for name, value in request.parameters.items() if value is not None}
    models = [s.metadata for s in sources if s.layer.kind == "model" and s.metadata is not None]
    is_gemma4 = any(metadata.architecture == "gemma4" for metadata in models)
    if is_gemma4 and not (config.renderer and config.parser):
        parameters.setdefault("stop", [_GEMMA4_STOP])
    return parameters


def _info_text(info: Mapping[str, Any], key: str) -> str:
    value = info.get(key, "")
    if not isinstance(value, str):
        raise InvalidRequest(f"info field {go_quote(key)} must be a string")
    return value


def _info_int(info: Mapping[str, Any], key: str) -> int:
    value = info.get(key, 0)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidRequest(f"info field {go_quote(key)} must be a number")
    if not 0 <= value <= _MAX_INT or value != int(value):
        raise InvalidRequest(f"info field {go_quote(key)} must be a non-negative integer")
    return int(value)
