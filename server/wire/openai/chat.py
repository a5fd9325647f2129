"""Requests of `/v1/chat/completions`."""

from __future__ import annotations

from typing import Any, NamedTuple

from server.errors import InvalidFormat, InvalidRequest, OllaError
from server.types.generation import ChatRequest, Format, Origin, ToolChoice
from server.types.messages import Message, Tool, ToolCall
from server.wire.codec import EOF, GoObject, decode, decode_base64, go_type_of
from server.wire.ollama.inference import (
    format_from_body,
    logit_bias_from_body,
    top_logprobs,
)
from server.wire.ollama.messages import tool_from_body
from server.wire.openai.options import (
    ignored_fields,
    n_choices,
    sampling_options,
    stop_texts,
    think_from_effort,
    wants_usage,
)

_IGNORED = ("functions", "function_call", "prediction", "audio", "web_search_options", "verbosity")
"""Fields that would change the answer elsewhere."""

_IMAGE_PREFIXES = (
    "data:;base64,",
    *(f"data:image/{kind};base64," for kind in ("jpeg", "jpg", "png", "webp")),
)


class ChatCall(NamedTuple):
    """A chat request with what concerns only its transport; `n`: answers wanted.

    `late_error` is a fault that Ollama reports only when it has found the model.
    `ignored`: names of fields that have no effect here.
    """

    request: ChatRequest
    stream: bool = False
    include_usage: bool = False
    n: int = 1
    late_error: OllaError | None = None
    ignored: tuple[str, ...] = ()


def chat_from_body(body: bytes, origin: Origin) -> ChatCall:
    """Raises: InvalidRequest."""
    fields = GoObject(decode(body, when_empty=EOF), "ChatCompletionRequest")
    items = fields.children("messages", "openai.Message")
    if not items:
        raise InvalidRequest("[] is too short - 'messages'")
    messages = tuple(message for item in items for message in _messages(item))
    options = sampling_options(fields)
    if (stop := stop_texts(fields.raw("stop"), strict=False)) is not None:
        options["stop"] = stop
    # The newer name for max_tokens; current clients send only this one, and Ollama drops it.
    if (n_predict := fields.integer("max_completion_tokens")) is not None:
        options["num_predict"] = n_predict
    format_, late_error = _format(fields)
    tools, tool_choice = _tools(fields)
    request = ChatRequest(
        model=fields.text("model"),
        messages=messages,
        tools=tools,
        tool_choice=tool_choice,
        parallel_tool_calls=fields.flag("parallel_tool_calls", True),
        format=format_,
        think=think_from_effort(_effort(fields)),
        options=options,
        logprobs=fields.flag("logprobs"),
        n_top_logprobs=top_logprobs(fields),
        logit_bias=logit_bias_from_body(fields),
        render_only=fields.flag("_debug_render_only"),
        origin=origin,
    )
    return ChatCall(
        request,
        fields.flag("stream"),
        wants_usage(fields),
        n_choices(fields),
        late_error,
        ignored_fields(fields, _IGNORED),
    )


def _effort(fields: GoObject) -> str:
    if "reasoning" in fields:
        return fields.child("reasoning", "openai.Reasoning").text("effort")
    return fields.text("reasoning_effort")


def _format(fields: GoObject) -> tuple[Format, OllaError | None]:
    wanted = fields.child("response_format", "openai.ResponseFormat")
    kind = wanted.text("type").strip().lower()
    if kind == "json_object":
        return "json", None
    if kind == "json_schema":
        schema = wanted.child("json_schema", "openai.JsonSchema").raw("schema")
        if schema is None:
            raise InvalidRequest("response_format.json_schema.schema is required")
        try:
            return format_from_body(schema), None
        except InvalidFormat as error:
            return None, error
    return None, None


def _tools(fields: GoObject) -> tuple[tuple[Tool, ...], ToolChoice]:
    """The tools that the model sees, by `tool_choice`, and whether it must call one of them.

    Raises: InvalidRequest for a choice that cannot be honoured.
    """
    tools = tuple(tool_from_body(tool) for tool in fields.children("tools", "api.Tool"))
    choice = fields.raw("tool_choice")
    if choice is None or choice == "auto":
        return tools, "auto"
    if choice == "none":
        return (), "auto"
    if not tools and (choice == "required" or isinstance(choice, dict)):
        raise InvalidRequest("tool_choice is only allowed when tools are given")
    if choice == "required":
        return tools, "required"
    if not isinstance(choice, dict) or choice.get("type", "function") != "function":
        raise InvalidRequest(
            'tool_choice must be "none", "auto", "required" or '
            '{"type": "function", "function": {"name": ...}}'
        )
    name = GoObject(choice, "ToolChoice").child("function", "openai.Function").text("name")
    named = tuple(tool for tool in tools if tool.name == name)
    if not named:
        raise InvalidRequest("tool_choice names a function that is not among the tools")
    return named, "required"


def _messages(item: GoObject) -> list[Message]:
    """Messages for one of OpenAI's: a list of texts becomes one message for each, as in Ollama."""
    role = item.text("role").lower()
    whole = Message(
        # Models know no role above "system"; a template without it would drop the instructions.
        role="system" if role == "developer" else role,
        thinking=item.text("reasoning"),
        tool_calls=_tool_calls(item),
        tool_name=item.text("name") if role == "tool" else "",
        tool_call_id=item.text("tool_call_id"),
    )
    content = item.raw("content")
    if isinstance(content, str):
        return [_with(whole, content=content)]
    if isinstance(content, list):
        return _from_parts(whole, content)
    if "tool_calls" not in item:
        raise InvalidRequest(f"invalid message content type: {go_type_of(content)}")
    return [whole]


def _from_parts(whole: Message, parts: list[Any]) -> list[Message]:
    """A message for each part; what is not content stays with the last, a tool's name and id with all.

    With images among the parts it is one message, since many templates refuse two of one role in a row.
    """
    bare = Message(role=whole.role, tool_name=whole.tool_name, tool_call_id=whole.tool_call_id)
    messages = [_with_part(bare, part) for part in parts]
    if any(message.images for message in messages):
        messages = [_in_one(messages)]
    if whole.tool_calls or whole.thinking:
        last = messages.pop() if messages else bare
        messages.append(_with(whole, content=last.content, images=last.images))
    return messages


def _in_one(parts: list[Message]) -> Message:
    """One message of many; `[img]` marks where in the content each image stands."""
    content = ""
    for index, part in enumerate(parts):
        follows_text = index > 0 and not parts[index - 1].images
        content += "[img]" if part.images else ("\n\n" if follows_text else "") + part.content
    return _with(parts[0], content=content, images=tuple(image for part in parts for image in part.images))


def _with_part(message: Message, part: Any) -> Message:
    if not isinstance(part, dict):
        raise InvalidRequest("invalid message format")
    kind = part.get("type")
    if kind == "text" and isinstance(part.get("text"), str):
        return _with(message, content=part["text"])
    if kind == "image_url":
        url = part.get("image_url")
        url = url.get("url") if isinstance(url, dict) else url
        if isinstance(url, str):
            return _with(message, images=(image_from_url(url),))
    if kind == "input_audio":
        return _with(message, images=(_audio(part.get("input_audio")),))
    raise InvalidRequest("invalid message format")


def image_from_url(url: str) -> bytes:
    """The bytes of an image in a data URL. Raises: InvalidRequest."""
    if url.startswith(("http://", "https://")):
        raise InvalidRequest("image URLs are not currently supported, please use base64 encoded data instead")
    for prefix in _IMAGE_PREFIXES:
        if url.startswith(prefix):
            try:
                return decode_base64(url[len(prefix) :])
            except InvalidRequest:
                break
    raise InvalidRequest("invalid image input")


def _audio(value: object) -> bytes:
    if not isinstance(value, dict):
        raise InvalidRequest("invalid input_audio format")
    data = value.get("data")
    if not isinstance(data, str):
        raise InvalidRequest("invalid input_audio format: missing data")
    try:
        return decode_base64(data)
    except InvalidRequest as error:
        raise InvalidRequest(f"invalid input_audio base64 data: {error.message}") from None


def _tool_calls(item: GoObject) -> tuple[ToolCall, ...]:
    calls = []
    for index, call in enumerate(item.children("tool_calls", "openai.ToolCall")):
        function = call.child("function", "openai.Function")
        try:
            arguments = decode(function.text("arguments").encode())
        except InvalidRequest:
            arguments = ()
        if not isinstance(arguments, dict):
            raise InvalidRequest("invalid tool call arguments")
        calls.append(ToolCall(function.text("name"), arguments, call.text("id"), index))
    return tuple(calls)


def _with(message: Message, *, content: str = "", images: tuple[bytes, ...] = ()) -> Message:
    return Message(
        role=message.role,
        content=content,
        thinking=message.thinking,
        images=images,
        tool_calls=message.tool_calls,
        tool_name=message.tool_name,
        tool_call_id=message.tool_call_id,
    )
