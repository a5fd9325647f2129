"""Requests of `/v1/messages` and `/v1/messages/count_tokens`."""

from __future__ import annotations

from typing import Any, NamedTuple

from server.errors import InvalidRequest
from server.types.generation import ChatRequest, Origin, Think, ToolChoice
from server.types.messages import Message, Tool, ToolCall
from server.wire.codec import EOF, GoObject, decode, decode_base64, encode
from server.wire.ollama.inference import token_budget
from server.wire.ollama.messages import tool_from_body

_IGNORED = ("container", "mcp_servers", "context_management")
"""Fields that would change the answer at Anthropic, and that this server has nothing for."""

_EFFORTS: dict[str, Think] = {"low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "max"}
_SKIPPED = frozenset(("redacted_thinking", "container_upload", "server_tool_use"))
"""Blocks of earlier answers that only Anthropic can read."""


class MessagesCall(NamedTuple):
    """A request with what concerns only its transport.

    `ignored`: names of fields that have no effect here.
    """

    request: ChatRequest
    stream: bool = False
    ignored: tuple[str, ...] = ()


def messages_from_body(body: bytes, origin: Origin, *, counts: bool = False) -> MessagesCall:
    """`counts`: the body is one of `count_tokens`, which generates nothing. Raises: InvalidRequest."""
    fields = GoObject(decode(body, when_empty=EOF), "MessagesRequest")
    model = fields.text("model")
    if not model:
        raise InvalidRequest("model is required")
    options = _options(fields, counts=counts)
    items = fields.children("messages", "anthropic.MessageParam")
    if not items:
        raise InvalidRequest("messages is required")
    messages = [message for item in items for message in _messages(item)]
    if system := _system(fields.raw("system")):
        messages.insert(0, Message(role="system", content=system))
    tools, tool_choice, parallel = _tools(fields)
    think, budget = _thinking(fields)
    request = ChatRequest(
        model=model,
        messages=tuple(messages),
        tools=tools,
        tool_choice=tool_choice,
        parallel_tool_calls=parallel,
        format=_format(fields),
        think=think,
        think_budget=budget,
        options=options,
        origin=origin,
    )
    ignored = tuple(name for name in _IGNORED if fields.raw(name))
    return MessagesCall(request, fields.flag("stream"), ignored)


def _options(fields: GoObject, *, counts: bool) -> dict[str, Any]:
    """What is not given is left to the model: Anthropic's clients no longer send a temperature."""
    options: dict[str, Any] = {}
    n_predict = fields.integer("max_tokens")
    if not counts:
        if n_predict is None or n_predict <= 0:
            raise InvalidRequest("max_tokens is required and must be positive")
        options["num_predict"] = n_predict
    for name in ("temperature", "top_p"):
        if (value := fields.number(name)) is not None:
            options[name] = value
    if (top_k := fields.integer("top_k")) is not None:
        options["top_k"] = top_k
    if stop := fields.texts("stop_sequences"):
        options["stop"] = list(stop)
    return options


def _format(fields: GoObject) -> dict[str, Any] | None:
    """The schema of `output_config.format`, or of the older `output_format`."""
    config = fields.child("output_config", "anthropic.OutputConfig")
    wanted = config.child("format", "anthropic.Format")
    if wanted.raw("type") is None:
        wanted = fields.child("output_format", "anthropic.Format")
    kind = wanted.raw("type")
    if kind is None:
        return None
    if kind != "json_schema" or not isinstance(wanted.raw("schema"), dict):
        raise InvalidRequest('output_config.format must be {"type": "json_schema", "schema": {...}}')
    return wanted.mapping("schema")


def _thinking(fields: GoObject) -> tuple[Think, int | None]:
    """Whether to reason and for how many tokens; left to the model when not given, as in Ollama."""
    thinking = fields.child("thinking", "anthropic.ThinkingConfig")
    kind = thinking.text("type")
    if kind == "enabled":
        return True, token_budget(thinking.integer("budget_tokens"), "thinking.budget_tokens")
    if kind == "disabled":
        return False, None
    effort = fields.child("output_config", "anthropic.OutputConfig").text("effort")
    return _EFFORTS.get(effort.strip().lower()), None


def _tools(fields: GoObject) -> tuple[tuple[Tool, ...], ToolChoice, bool]:
    """The tools that the model sees, whether it must call one, and whether it may call several at once."""
    tools = tuple(_tool(tool) for tool in fields.children("tools", "anthropic.Tool"))
    choice = fields.child("tool_choice", "anthropic.ToolChoice")
    kind = choice.text("type")
    parallel = not choice.flag("disable_parallel_tool_use")
    if kind in ("", "auto"):
        return tools, "auto", parallel
    if kind == "none":
        return (), "auto", parallel
    if kind not in ("any", "tool"):
        raise InvalidRequest('tool_choice.type must be "auto", "any", "tool" or "none"')
    if not tools:
        raise InvalidRequest("tool_choice is only allowed when tools are given")
    if kind == "any":
        return tools, "required", parallel
    name = choice.text("name")
    named = tuple(tool for tool in tools if tool.name == name)
    if not named:
        raise InvalidRequest("tool_choice names a tool that is not among the tools")
    return named, "required", parallel


def _tool(tool: GoObject) -> Tool:
    name = tool.text("name")
    kind = tool.text("type")
    if kind not in ("", "custom"):
        raise InvalidRequest(
            f"tools of type {kind} run at Anthropic and are not supported",
            hint="Give the tool a name, a description and an input_schema, and run it in your program.",
        )
    if not name:
        raise InvalidRequest("tools must have a name")
    function = {
        "name": name,
        "description": tool.text("description"),
        "parameters": tool.mapping("input_schema"),
    }
    try:
        return tool_from_body(GoObject({"type": "function", "function": function}, "api.Tool"))
    except InvalidRequest as error:
        raise InvalidRequest(f'invalid input_schema for tool "{name}": {error.message}') from None


def _system(value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if not isinstance(value, list):
        raise InvalidRequest("system must be a string or a list of text blocks")
    return "".join(_text(GoObject(block, "TextBlock"), "system") for block in value)


def _text(block: GoObject, place: str) -> str:
    """The text of a block that can only be text."""
    if block.text("type") != "text":
        raise InvalidRequest(f"{place} takes blocks of type text, not {block.text('type')!r}")
    return block.text("text")


def _messages(item: GoObject) -> list[Message]:
    """A message of Anthropic's: the results of tools in it come first and are messages of their own."""
    role = item.text("role").lower()
    if role not in ("user", "assistant", "system", "developer"):
        raise InvalidRequest(f'messages must have the role "user" or "assistant", not {role!r}')
    role = "system" if role == "developer" else role
    content = item.raw("content")
    if isinstance(content, str):
        return [Message(role=role, content=content)]
    if content is not None and not isinstance(content, list):
        raise InvalidRequest("content of a message must be a string or a list of blocks")
    parts = _Parts()
    for block in content or ():
        parts.add(GoObject(block, "ContentBlock"))
    message = parts.message(role)
    return [*parts.results, *([message] if message is not None else [])]


class _Parts:
    """What the blocks of one message come to."""

    def __init__(self) -> None:
        self.results: list[Message] = []
        self._texts: list[str] = []
        self._thoughts: list[str] = []
        self._images: list[bytes] = []
        self._calls: list[ToolCall] = []

    def add(self, block: GoObject) -> None:
        """Take one block. Raises: InvalidRequest."""
        kind = block.text("type")
        if kind == "text":
            self._texts.append(block.text("text"))
        elif kind == "image":
            self._images.append(_image(block))
        elif kind == "document":
            self._texts.append(_document(block))
        elif kind == "thinking":
            self._thoughts.append(block.text("thinking"))
        elif kind == "tool_use":
            self._calls.append(_call(block, len(self._calls)))
        elif kind == "tool_result":
            self.results.append(_result(block))
        elif kind == "search_result":
            self._texts.append(_search_result(block))
        elif not (kind in _SKIPPED or kind.endswith("_tool_result")):
            raise InvalidRequest(f"content blocks of type {kind!r} are not supported")

    def message(self, role: str) -> Message | None:
        """The message beside the results of tools, None when nothing is left for it."""
        content, thinking = "".join(self._texts), "".join(self._thoughts)
        if not (content or thinking or self._images or self._calls):
            return None
        return Message(
            role=role,
            content=content,
            thinking=thinking,
            images=tuple(self._images),
            tool_calls=tuple(self._calls),
        )


def _call(block: GoObject, index: int) -> ToolCall:
    for name in ("id", "name"):
        if not block.text(name):
            raise InvalidRequest(f"tool_use block missing required '{name}' field")
    return ToolCall(block.text("name"), block.mapping("input"), block.text("id"), index)


def _result(block: GoObject) -> Message:
    texts: list[str] = []
    images: list[bytes] = []
    content = block.raw("content")
    for part in content if isinstance(content, list) else ():
        piece = GoObject(part, "ContentBlock")
        kind = piece.text("type")
        if kind == "image":
            images.append(_image(piece))
        elif kind == "document":
            texts.append(_document(piece))
        elif kind == "search_result":
            texts.append(_search_result(piece))
        elif kind == "tool_reference":
            texts.append(piece.text("tool_name"))
        else:
            texts.append(_text(piece, "tool_result"))
    if isinstance(content, str):
        texts.append(content)
    elif content is not None and not isinstance(content, list):
        raise InvalidRequest("content of a tool_result must be a string or a list of blocks")
    text = "".join(texts)
    if block.flag("is_error"):
        text = f"Error: {text}"
    return Message(role="tool", content=text, images=tuple(images), tool_call_id=block.text("tool_use_id"))


def _image(block: GoObject) -> bytes:
    source = block.child("source", "anthropic.ImageSource")
    kind = source.text("type")
    if not kind:
        raise InvalidRequest("invalid image source")
    if kind != "base64":
        raise InvalidRequest(f"invalid image source type: {kind}. Only base64 images are supported.")
    try:
        return decode_base64(source.text("data"))
    except InvalidRequest as error:
        raise InvalidRequest(f"invalid base64 image data: {error.message}") from None


def _document(block: GoObject) -> str:
    """The text of a document; files of other kinds are refused."""
    source = block.child("source", "anthropic.DocumentSource")
    kind = source.text("type")
    title = block.text("title")
    heading = f"{title}\n\n" if title else ""
    if kind == "text":
        return f"{heading}{source.text('data')}\n\n"
    if kind == "content":
        content = source.raw("content")
        blocks = [] if isinstance(content, str) else source.children("content", "anthropic.ContentBlock")
        text = content if isinstance(content, str) else "".join(_text(part, "document") for part in blocks)
        return f"{heading}{text}\n\n"
    raise InvalidRequest(
        f"documents of source type {kind!r} are not supported", hint='Send the text with source type "text".'
    )


def _search_result(block: GoObject) -> str:
    texts = [_text(part, "search_result") for part in block.children("content", "anthropic.ContentBlock")]
    head = encode({"title": block.text("title"), "source": block.text("source")}).decode()
    return f"{head}\n{''.join(texts)}\n\n"
