"""Bodies of the routes about models: tags, ps, show, copy and delete, in both directions."""

from __future__ import annotations

import math
import struct
from functools import lru_cache
from typing import Any

import msgspec

from server.errors import InvalidRequest
from server.types.messages import Message
from server.types.models import (
    Capability,
    ModelDetails,
    ModelInfo,
    ModelSummary,
    RunningModel,
    ShowRequest,
    TensorInfo,
)
from server.types.quoting import go_quote
from server.wire.codec import GoObject, decode, encode
from server.wire.ollama.messages import MessageBody, message_body, message_from_body
from server.wire.times import FOREVER_S, local_text, parse_time

_NEVER_S = 100 * 365 * 86_400
"""An expiry further away than this is how a server writes "never"."""


class DetailsBody(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`details` of a model."""

    parent_model: str
    format: str
    family: str
    families: tuple[str, ...] | None
    parameter_size: str
    quantization_level: str
    context_length: int = 0
    embedding_length: int = 0


class TagBody(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An entry of `/api/tags`."""

    name: str
    model: str
    modified_at: str
    size: int
    digest: str
    details: DetailsBody
    capabilities: tuple[Capability, ...] = ()


class RunningBody(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of `/api/ps`."""

    name: str
    model: str
    size: int
    digest: str
    details: DetailsBody
    expires_at: str
    size_vram: int
    context_length: int


class TensorBody(msgspec.Struct, frozen=True):
    """An entry of `tensors`."""

    name: str
    type: str
    shape: tuple[int, ...]


class ShowBody(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Reply of `/api/show`."""

    license: str = ""
    modelfile: str = ""
    parameters: str = ""
    template: str = ""
    system: str = ""
    details: DetailsBody
    messages: list[MessageBody] = []
    model_info: dict[str, Any]
    projector_info: dict[str, Any] | None = None
    tensors: list[TensorBody] = []
    capabilities: tuple[Capability, ...] = ()
    modified_at: str
    requires: str = ""


def details_body(details: ModelDetails, *, lengths: bool = False) -> DetailsBody:
    """`details`; `lengths`: with the context and embedding length, which only tags shows."""
    return DetailsBody(
        parent_model=details.parent_model,
        format=details.format,
        family=details.family,
        families=details.families,
        parameter_size=details.parameter_size,
        quantization_level=details.quantization_level,
        context_length=details.context_length if lengths else 0,
        embedding_length=details.embedding_length if lengths else 0,
    )


def tags_reply(models: tuple[ModelSummary, ...]) -> dict[str, list[TagBody]]:
    """Reply of `/api/tags`, in the order given."""
    return {"models": [_tag_body(model) for model in models]}


@lru_cache(maxsize=2048)
def _tag_body(model: ModelSummary) -> TagBody:
    """Kept, because some clients ask for the list each second, and few of its lines change."""
    return TagBody(
        name=model.name,
        model=model.name,
        modified_at=local_text(model.modified_at),
        size=model.size_bytes,
        digest=model.digest,
        details=details_body(model.details, lengths=True),
        capabilities=model.capabilities,
    )


def ps_reply(models: tuple[RunningModel, ...], now_s: float) -> dict[str, list[RunningBody]]:
    """Reply of `/api/ps`, in the order given. `now_s`: Unix time, from which "never" is counted."""
    return {
        "models": [
            RunningBody(
                name=model.name,
                model=model.name,
                size=model.size_bytes,
                digest=model.digest,
                details=details_body(msgspec.structs.replace(model.details, parent_model="")),
                expires_at=local_text(
                    now_s + FOREVER_S if math.isinf(model.expires_at) else model.expires_at
                ),
                size_vram=model.size_vram_bytes,
                context_length=model.n_ctx,
            )
            for model in models
        ]
    }


def show_reply(info: ModelInfo) -> ShowBody:
    """Reply of `/api/show`."""
    return ShowBody(
        license=info.license,
        modelfile=info.modelfile,
        parameters=info.parameters,
        template=info.template,
        system=info.system,
        details=details_body(info.details),
        messages=[message_body(message) for message in info.messages],
        model_info=go_numbers(info.model_info),
        projector_info=None if info.projector_info is None else go_numbers(info.projector_info),
        tensors=[TensorBody(tensor.name, tensor.type, tensor.shape) for tensor in info.tensors],
        capabilities=info.capabilities,
        modified_at=local_text(info.modified_at),
        requires=info.requires,
    )


def go_numbers(value: Any) -> Any:
    """`value` with each float as Go prints a float32: the shortest text, without a point when it is whole."""
    if isinstance(value, dict):
        return {key: go_numbers(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [go_numbers(item) for item in value]
    if not isinstance(value, float) or not math.isfinite(value):
        return value
    if value.is_integer() and abs(value) < 1e21:
        return int(value)
    return _shortest_float32(value)


def _shortest_float32(value: float) -> float:
    """The float64 with the fewest digits that is `value` in float32; `value` itself when it is no float32."""
    single = _float32(value)
    if single is None or struct.unpack("<f", single)[0] != value:
        return value
    candidates = (float(f"{value:.{n_digits}g}") for n_digits in range(1, 10))
    return next(shorter for shorter in candidates if _float32(shorter) == single)


def _float32(value: float) -> bytes | None:
    """Bytes of the nearest float32, None when it would be infinite."""
    try:
        return struct.pack("<f", value)
    except OverflowError:
        return None


def show_from_body(body: bytes) -> ShowRequest:
    """Raises: InvalidRequest."""
    fields = GoObject(decode(body), "ShowRequest")
    return ShowRequest(
        model=fields.text("model") or fields.text("name"),
        verbose=fields.flag("verbose"),
        system=fields.text("system"),
        options=fields.mapping("options"),
    )


def copy_from_body(body: bytes) -> tuple[str, str]:
    """Source and destination. Raises: InvalidRequest."""
    fields = GoObject(decode(body), "CopyRequest")
    return fields.text("source"), fields.text("destination")


def name_from_body(body: bytes, go_struct: str) -> tuple[str, bool]:
    """Model and `stream` of a delete, pull or push. Raises: InvalidRequest."""
    fields = GoObject(decode(body), go_struct)
    return fields.text("model") or fields.text("name"), fields.flag("stream", True)


def show_body(request: ShowRequest) -> bytes:
    """JSON that `show_from_body` reads."""
    body: dict[str, Any] = {"model": request.model}
    if request.verbose:
        body["verbose"] = True
    if request.system:
        body["system"] = request.system
    if request.options:
        body["options"] = request.options
    return encode(body)


def model_summaries(reply: object) -> tuple[ModelSummary, ...]:
    """Models of a `/api/tags` reply. Raises: InvalidRequest for JSON of another shape."""
    fields = GoObject(reply, "ListResponse")
    return tuple(_summary(item) for item in fields.children("models", "api.ListModelResponse"))


def _summary(fields: GoObject) -> ModelSummary:
    name = fields.text("name")
    parts = name.rsplit(":", 1)[0].split("/")
    return ModelSummary(
        name=name,
        namespace=parts[-2] if len(parts) > 1 else "library",
        digest=fields.text("digest"),
        size_bytes=fields.integer("size") or 0,
        modified_at=_time(fields.text("modified_at")),
        details=_details(fields),
        capabilities=_capabilities(fields),
    )


def running_models(reply: object, now_s: float) -> tuple[RunningModel, ...]:
    """Models of a `/api/ps` reply. Raises: InvalidRequest for JSON of another shape."""
    fields = GoObject(reply, "ProcessResponse")
    return tuple(_running(item, now_s) for item in fields.children("models", "api.ProcessModelResponse"))


def _running(fields: GoObject, now_s: float) -> RunningModel:
    expires_at = _time(fields.text("expires_at"))
    return RunningModel(
        name=fields.text("name"),
        digest=fields.text("digest"),
        details=_details(fields),
        size_bytes=fields.integer("size") or 0,
        size_vram_bytes=fields.integer("size_vram") or 0,
        expires_at=math.inf if expires_at - now_s > _NEVER_S else expires_at,
        n_ctx=fields.integer("context_length") or 0,
    )


def model_info(reply: object, name: str) -> ModelInfo:
    """A `/api/show` reply to a request for `name`. Raises: InvalidRequest for JSON of another shape."""
    fields = GoObject(reply, "ShowResponse")
    return ModelInfo(
        name=name,
        modelfile=fields.text("modelfile"),
        details=_details(fields),
        license=fields.text("license"),
        parameters=fields.text("parameters"),
        template=fields.text("template"),
        system=fields.text("system"),
        messages=_messages(fields),
        model_info=fields.mapping("model_info"),
        projector_info=fields.mapping("projector_info") or None,
        tensors=tuple(
            TensorInfo(tensor.text("name"), tensor.text("type"), tensor.integers("shape"))
            for tensor in fields.children("tensors", "api.Tensor")
        ),
        capabilities=_capabilities(fields),
        modified_at=_time(fields.text("modified_at")),
        requires=fields.text("requires"),
    )


def _messages(fields: GoObject) -> tuple[Message, ...]:
    return tuple(message_from_body(item) for item in fields.children("messages", "api.Message"))


def _details(fields: GoObject) -> ModelDetails:
    details = fields.child("details", "api.ModelDetails")
    return ModelDetails(
        parent_model=details.text("parent_model"),
        format=details.text("format"),
        family=details.text("family"),
        families=details.texts("families") if "families" in details else None,
        parameter_size=details.text("parameter_size"),
        quantization_level=details.text("quantization_level"),
        context_length=details.integer("context_length") or 0,
        embedding_length=details.integer("embedding_length") or 0,
    )


_CAPABILITIES: dict[str, Capability] = {
    "completion": "completion",
    "tools": "tools",
    "insert": "insert",
    "vision": "vision",
    "embedding": "embedding",
    "rerank": "rerank",
    "thinking": "thinking",
    "audio": "audio",
}


def _capabilities(fields: GoObject) -> tuple[Capability, ...]:
    """Those that we know; a newer server may have more."""
    return tuple(_CAPABILITIES[name] for name in fields.texts("capabilities") if name in _CAPABILITIES)


def _time(text: str) -> float:
    """Unix time in seconds, 0 for a server that tells none."""
    try:
        return parse_time(text) if text else 0.0
    except ValueError:
        raise InvalidRequest(f"{go_quote(text)} is no point in time") from None
