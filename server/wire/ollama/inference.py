"""Bodies of `/api/chat`, `/api/generate`, `/api/embed` and `/api/embeddings`: requests, in both directions.

Reading: `*_from_body`, for the server. Writing: `*_body`, for a client. What Ollama's JSON has no place for
travels under the key `olla`, which a real Ollama ignores.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from server.errors import InvalidFormat, InvalidRequest, OllaError
from server.types.durations import parse_keep_alive
from server.types.generation import (
    ChatRequest,
    EmbedRequest,
    Format,
    GenerateRequest,
    Origin,
    Think,
    ToolChoice,
)
from server.types.messages import Tool
from server.types.quoting import go_quote
from server.wire.codec import GoObject, decode, encode
from server.wire.ollama.messages import (
    message_body,
    message_from_body,
    tool_body,
    tool_from_body,
)

MAX_TOP_LOGPROBS = 20
MAX_TOKEN_ID = 2**31 - 1


class UnknownFormat(InvalidFormat):
    """A `format` that is a text other than "json"."""


class ChatCall(NamedTuple):
    """A chat request with what concerns only its transport.

    `late_error` is a fault that Ollama reports only when it has found the model.
    `details`: the caller wants what stands under `olla` in the last line.
    """

    request: ChatRequest
    stream: bool = True
    details: bool = False
    late_error: OllaError | None = None


class GenerateCall(NamedTuple):
    """As `ChatCall`."""

    request: GenerateRequest
    stream: bool = True
    details: bool = False
    late_error: OllaError | None = None


def chat_from_body(body: bytes, origin: Origin) -> ChatCall:
    """Raises: InvalidRequest."""
    fields = GoObject(decode(body), "ChatRequest")
    extra = fields.child("olla", "api.Olla")
    format_, late_error = _format(fields)
    tools, tool_choice = _tools(fields, extra)
    request = ChatRequest(
        model=fields.text("model"),
        messages=tuple(message_from_body(item) for item in fields.children("messages", "api.Message")),
        tools=tools,
        format=format_,
        think=think_from_body(fields.raw("think")),
        options=fields.mapping("options"),
        keep_alive_s=parse_keep_alive(fields.raw("keep_alive")),
        truncate=fields.flag("truncate", True),
        shift=fields.flag("shift", True),
        logprobs=fields.flag("logprobs"),
        n_top_logprobs=top_logprobs(fields),
        logit_bias=logit_bias_from_body(extra),
        render_only=fields.flag("_debug_render_only"),
        drop_think_when_incapable=extra.flag("drop_think_when_incapable"),
        tool_choice=tool_choice,
        parallel_tool_calls=extra.flag("parallel_tool_calls", True),
        think_budget=token_budget(extra.integer("think_budget"), "olla.think_budget"),
        origin=origin,
    )
    return ChatCall(request, fields.flag("stream", True), extra.flag("details"), late_error)


def _tools(fields: GoObject, extra: GoObject) -> tuple[tuple[Tool, ...], ToolChoice]:
    """The tools that the model sees, and whether it must call one of them.

    Some clients send OpenAI's `tool_choice`, which Ollama ignores. What has none of its forms has no effect.

    Raises: InvalidRequest for a named tool that is not there.
    """
    tools = tuple(tool_from_body(tool) for tool in fields.children("tools", "api.Tool"))
    choice = fields.raw("tool_choice")
    if choice == "none":
        return (), "auto"
    if isinstance(choice, dict) and choice.get("type") == "function":
        function = choice.get("function")
        name = function.get("name") if isinstance(function, dict) else choice.get("name")
        named = tuple(tool for tool in tools if tool.name == name)
        if not named:
            raise InvalidRequest("tool_choice names a function that is not among the tools")
        return named, "required"
    is_required = extra.flag("tool_required") or (choice == "required" and bool(tools))
    return tools, "required" if is_required else "auto"


def generate_from_body(body: bytes, origin: Origin) -> GenerateCall:
    """Raises: InvalidRequest."""
    fields = GoObject(decode(body), "GenerateRequest")
    extra = fields.child("olla", "api.Olla")
    format_, late_error = _format(fields)
    request = GenerateRequest(
        model=fields.text("model"),
        prompt=fields.text("prompt"),
        suffix=fields.text("suffix"),
        system=fields.text("system") or None,
        template=fields.text("template") or None,
        context=fields.integers("context"),
        images=fields.blobs("images"),
        raw=fields.flag("raw"),
        format=format_,
        think=think_from_body(fields.raw("think")),
        options=fields.mapping("options"),
        keep_alive_s=parse_keep_alive(fields.raw("keep_alive")),
        truncate=fields.flag("truncate", True),
        shift=fields.flag("shift", True),
        logprobs=fields.flag("logprobs"),
        n_top_logprobs=top_logprobs(fields),
        logit_bias=logit_bias_from_body(extra),
        render_only=fields.flag("_debug_render_only"),
        origin=origin,
    )
    return GenerateCall(request, fields.flag("stream", True), extra.flag("details"), late_error)


def embed_from_body(body: bytes, origin: Origin) -> EmbedRequest:
    """Body of `/api/embed`. Raises: InvalidRequest."""
    fields = GoObject(decode(body), "EmbedRequest")
    return EmbedRequest(
        model=fields.text("model"),
        inputs=_embed_inputs(fields.raw("input")),
        truncate=fields.flag("truncate", True),
        n_dimensions=fields.integer("dimensions") or 0,
        options=fields.mapping("options"),
        keep_alive_s=parse_keep_alive(fields.raw("keep_alive")),
        origin=origin,
    )


def _embed_inputs(value: object) -> tuple[str, ...]:
    """Texts of `input`; none for "", which asks for a load."""
    if value is None or value == "":
        return ()
    if isinstance(value, str):
        return (value,)
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return tuple(value)
    raise InvalidRequest("invalid input type")


def embeddings_from_body(body: bytes, origin: Origin) -> EmbedRequest:
    """Body of the older `/api/embeddings`, which takes one text. Raises: InvalidRequest."""
    fields = GoObject(decode(body), "EmbeddingRequest")
    prompt = fields.text("prompt")
    return EmbedRequest(
        model=fields.text("model"),
        inputs=(prompt,) if prompt else (),
        options=fields.mapping("options"),
        keep_alive_s=parse_keep_alive(fields.raw("keep_alive")),
        origin=origin,
    )


def think_from_body(value: object) -> Think:
    """Raises: InvalidRequest with Ollama's texts."""
    if value is None or isinstance(value, bool):
        return value
    if value == "high" or value == "medium" or value == "low" or value == "max":
        return value
    if isinstance(value, str):
        raise InvalidRequest(
            f'invalid think value: {go_quote(value)} (must be "high", "medium", "low", "max", true, or false)'
        )
    raise InvalidRequest('think must be a boolean or string ("high", "medium", "low", "max", true, or false)')


def format_from_body(value: Any) -> Format:
    """Raises: UnknownFormat for another text than "json", InvalidFormat for another type; Ollama's words."""
    if value is None or value == "":
        return None
    if value == "json" or isinstance(value, dict):
        return value  # type: ignore[no-any-return]
    raw = encode(value).decode()
    # Ollama answers 500 to both. Only texts are known to be sent, so only those keep it.
    kind = UnknownFormat if isinstance(value, str) else InvalidFormat
    raise kind(
        f'invalid format: {go_quote(raw)}; expected "json" or a valid JSON Schema object',
        hint='Leave `format` out, or send "json" or a JSON schema as an object.',
    )


def _format(fields: GoObject) -> tuple[Format, OllaError | None]:
    try:
        return format_from_body(fields.raw("format")), None
    except InvalidFormat as error:
        return None, error


def top_logprobs(fields: GoObject) -> int:
    """Raises: InvalidRequest outside 0 to 20."""
    n_top = fields.integer("top_logprobs") or 0
    if not 0 <= n_top <= MAX_TOP_LOGPROBS:
        raise InvalidRequest(f"top_logprobs must be between 0 and {MAX_TOP_LOGPROBS}")
    return n_top


def token_budget(value: int | None, name: str) -> int | None:
    """A bound in tokens, None for none. Raises: InvalidRequest for a negative one."""
    if value is not None and value < 0:
        raise InvalidRequest(f"{name} must be a number of tokens, 0 or more")
    return value


def logit_bias_from_body(fields: GoObject) -> dict[int, float]:
    """`logit_bias`: token id, as a text, to a number. Raises: InvalidRequest."""
    biases: dict[int, float] = {}
    for token, bias in fields.mapping("logit_bias").items():
        is_id = token.isascii() and token.isdigit() and len(token) <= len(str(MAX_TOKEN_ID))
        if (
            not is_id
            or int(token) > MAX_TOKEN_ID
            or isinstance(bias, bool)
            or not isinstance(bias, int | float)
        ):
            raise InvalidRequest("logit_bias must map token ids to numbers")
        biases[int(token)] = float(bias)
    return biases


def chat_body(request: ChatRequest, *, stream: bool = True) -> bytes:
    """JSON that `chat_from_body` reads."""
    body: dict[str, Any] = {
        "model": request.model,
        "messages": [message_body(message) for message in request.messages],
        "stream": stream,
    }
    if request.tools:
        body["tools"] = [tool_body(tool) for tool in request.tools]
    _add_common(body, request)
    if request.drop_think_when_incapable:
        body["olla"]["drop_think_when_incapable"] = True
    if request.tool_choice == "required":
        body["olla"]["tool_required"] = True
    if not request.parallel_tool_calls:
        body["olla"]["parallel_tool_calls"] = False
    if request.think_budget is not None:
        body["olla"]["think_budget"] = request.think_budget
    return encode(body)


def generate_body(request: GenerateRequest, *, stream: bool = True) -> bytes:
    """JSON that `generate_from_body` reads."""
    body: dict[str, Any] = {"model": request.model, "prompt": request.prompt, "stream": stream}
    optional: dict[str, Any] = {
        "suffix": request.suffix,
        "system": request.system,
        "template": request.template,
        "context": list(request.context),
        "images": request.images,  # msgspec writes bytes as base64
        "raw": request.raw,
    }
    body.update((key, value) for key, value in optional.items() if value)
    _add_common(body, request)
    return encode(body)


def _add_common(body: dict[str, Any], request: ChatRequest | GenerateRequest) -> None:
    """Add the fields that chat and generate share, as far as they differ from their defaults."""
    if request.format is not None:
        body["format"] = request.format
    if request.think is not None:
        body["think"] = request.think
    if request.options:
        body["options"] = request.options
    if request.keep_alive_s is not None:
        body["keep_alive"] = keep_alive_value(request.keep_alive_s)
    for key, value in (("truncate", request.truncate), ("shift", request.shift)):
        if not value:
            body[key] = False
    if request.logprobs:
        body["logprobs"] = True
    if request.n_top_logprobs:
        body["top_logprobs"] = request.n_top_logprobs
    if request.render_only:
        body["_debug_render_only"] = True
    body["olla"] = {"details": True}
    if request.logit_bias:
        body["olla"]["logit_bias"] = {str(token): bias for token, bias in request.logit_bias.items()}


def embed_body(request: EmbedRequest) -> bytes:
    """JSON that `embed_from_body` reads.

    Raises: InvalidRequest for token ids, which Ollama's JSON cannot carry.
    """
    if any(not isinstance(item, str) for item in request.inputs):
        raise InvalidRequest("token ids cannot be embedded over Ollama's API")
    body: dict[str, Any] = {"model": request.model, "input": list(request.inputs)}
    if not request.truncate:
        body["truncate"] = False
    if request.n_dimensions:
        body["dimensions"] = request.n_dimensions
    if request.options:
        body["options"] = request.options
    if request.keep_alive_s is not None:
        body["keep_alive"] = keep_alive_value(request.keep_alive_s)
    return encode(body)


def keep_alive_value(keep_alive_s: float) -> float:
    """`keep_alive` in JSON: seconds, -1 for never."""
    return -1 if math.isinf(keep_alive_s) else keep_alive_s
