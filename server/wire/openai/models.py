"""Bodies of `/v1/models`."""

from __future__ import annotations

from typing import Any

import msgspec

from server.types.models import ModelInfo, ModelSummary
from server.types.names import ModelName


class ModelBody(msgspec.Struct, frozen=True, kw_only=True):
    """One model. `created`: Unix time in seconds."""

    id: str
    object: str = "model"
    created: int
    owned_by: str


def models_reply(models: tuple[ModelSummary, ...]) -> dict[str, Any]:
    """The list; `data` is null when there is none, as in Ollama."""
    bodies = [
        ModelBody(id=model.name, created=int(model.modified_at), owned_by=model.namespace) for model in models
    ]
    return {"object": "list", "data": bodies or None}


def model_reply(name: str, info: ModelInfo) -> ModelBody:
    """One model under the name that was asked for. Raises: InvalidModelName."""
    return ModelBody(id=name, created=int(info.modified_at), owned_by=ModelName.parse(name).namespace)
