"""Requests of `/v1/responses` and `/v1/responses/input_tokens`."""

from __future__ import annotations

from typing import Any

import msgspec

from server.errors import InvalidRequest
from server.types.generation import ChatRequest, Format, Origin, ToolChoice
from server.types.messages import JsonObject, Message, Tool
from server.wire.codec import EOF, GoObject, decode
from server.wire.ollama.inference import top_logprobs
from server.wire.ollama.messages import tool_from_body
from server.wire.openai.options import think_from_effort
from server.wire.openai.responses.items import Item, items_from_input, messages_from_items

_LOGPROBS = "message.output_text.logprobs"
_IGNORED = ("max_tool_calls",)
_REFUSED = {
    "conversation": "conversations are not kept by this server; use previous_response_id",
    "prompt": "stored prompts are not kept by this server; send instructions and input",
}


class ResponsesCall(msgspec.Struct, frozen=True, kw_only=True):
    """A request with what concerns only its transport.

    Attributes:
        request: everything but the conversation.
        items: the conversation that this request adds.
        echo: fields of the reply that repeat the request.
        ignored: names of fields that have no effect here.
    """

    request: ChatRequest
    items: list[Item]
    echo: JsonObject
    instructions: str = ""
    previous_response_id: str = ""
    stream: bool = False
    store: bool = True
    background: bool = False
    ignored: tuple[str, ...] = ()

    def chat(self, earlier: list[Item]) -> ChatRequest:
        """The request with its conversation behind an earlier one.

        Instructions hold for one response, so only the newest are there. Raises: InvalidRequest.
        """
        messages = messages_from_items([*earlier, *self.items])
        if self.instructions:
            messages = (Message(role="system", content=self.instructions), *messages)
        return msgspec.structs.replace(self.request, messages=messages)


def responses_from_body(body: bytes, origin: Origin) -> ResponsesCall:
    """Raises: InvalidRequest."""
    fields = GoObject(decode(body, when_empty=EOF), "ResponsesRequest")
    if not fields.text("model"):
        raise InvalidRequest("model is required")
    for name, reason in _REFUSED.items():
        if fields.raw(name):
            raise InvalidRequest(f"{name}: {reason}")
    tools, tool_choice, ignored_tools = _tools(fields)
    reasoning = fields.child("reasoning", "openai.Reasoning")
    n_top = top_logprobs(fields)
    truncation = fields.text("truncation") or "disabled"
    if truncation not in ("auto", "disabled"):
        raise InvalidRequest('truncation must be "auto" or "disabled"')
    request = ChatRequest(
        model=fields.text("model"),
        tools=tools,
        tool_choice=tool_choice,
        parallel_tool_calls=fields.flag("parallel_tool_calls", True),
        format=_format(fields),
        think=think_from_effort(reasoning.text("effort")),
        options=_options(fields),
        truncate=truncation == "auto",
        logprobs=n_top > 0 or _LOGPROBS in fields.texts("include"),
        n_top_logprobs=n_top,
        origin=origin,
    )
    verbosity = fields.child("text", "openai.ResponsesText").raw("verbosity")
    ignored = [name for name in _IGNORED if fields.raw(name) is not None]
    ignored += ["text.verbosity"] if verbosity is not None else []
    call = ResponsesCall(
        request=request,
        items=items_from_input(fields.raw("input")),
        echo=_echo(fields, request),
        instructions=fields.text("instructions"),
        previous_response_id=fields.text("previous_response_id"),
        stream=fields.flag("stream"),
        store=fields.flag("store", True),
        background=fields.flag("background"),
        ignored=(*ignored, *ignored_tools),
    )
    if call.background and (call.stream or not call.store):
        raise InvalidRequest("background needs store, and cannot be streamed; leave stream out")
    return call


def _options(fields: GoObject) -> dict[str, Any]:
    """Temperature is 1 unless given, as at OpenAI; top_p is left to the model, as in Ollama."""
    options: dict[str, Any] = {}
    n_predict = fields.integer("max_output_tokens")
    if n_predict is not None:
        if n_predict <= 0:
            raise InvalidRequest("max_output_tokens must be positive")
        options["num_predict"] = n_predict
    temperature = fields.number("temperature")
    options["temperature"] = 1.0 if temperature is None else temperature
    for name in ("top_p", "frequency_penalty", "presence_penalty"):
        if (value := fields.number(name)) is not None:
            options[name] = value
    return options


def _format(fields: GoObject) -> Format:
    wanted = fields.child("text", "openai.ResponsesText").child("format", "openai.ResponsesTextFormat")
    kind = wanted.text("type")
    if kind == "json_object":
        return "json"
    if kind == "json_schema":
        schema = wanted.raw("schema")
        if not isinstance(schema, dict):
            raise InvalidRequest("text.format.schema must be a JSON schema")
        return schema
    if kind not in ("", "text"):
        raise InvalidRequest('text.format.type must be "text", "json_object" or "json_schema"')
    return None


def _tools(fields: GoObject) -> tuple[tuple[Tool, ...], ToolChoice, tuple[str, ...]]:
    """The functions that the model sees, whether it must call one, and the tools that nobody here runs."""
    tools: list[Tool] = []
    ignored: list[str] = []
    for tool in fields.children("tools", "openai.ResponsesTool"):
        kind = tool.text("type")
        if kind == "function":
            tools.append(_function(tool))
        elif kind == "namespace":
            members = tool.children("tools", "openai.ResponsesTool")
            tools.extend(_function(member, f"{tool.text('name')}.") for member in members)
        else:
            ignored.append(f"tools.{kind or 'without a type'}")
    return (*_chosen(fields.raw("tool_choice"), tuple(tools)), tuple(ignored))


def _function(tool: GoObject, prefix: str = "") -> Tool:
    if not tool.text("name"):
        raise InvalidRequest("tools must have a name")
    function = {
        "name": prefix + tool.text("name"),
        "description": tool.text("description"),
        "parameters": tool.mapping("parameters"),
    }
    return tool_from_body(GoObject({"type": "function", "function": function}, "api.Tool"))


def _chosen(choice: Any, tools: tuple[Tool, ...]) -> tuple[tuple[Tool, ...], ToolChoice]:
    if choice is None or choice == "auto":
        return tools, "auto"
    if choice == "none":
        return (), "auto"
    if not tools:
        raise InvalidRequest("tool_choice is only allowed when functions are given as tools")
    if choice == "required":
        return tools, "required"
    if not isinstance(choice, dict):
        raise InvalidRequest('tool_choice must be "none", "auto", "required" or an object')
    if choice.get("type") == "allowed_tools":
        allowed = choice.get("tools")
        names = (
            [one.get("name") for one in allowed if isinstance(one, dict)] if isinstance(allowed, list) else []
        )
        return _named(tools, names), "required" if choice.get("mode") == "required" else "auto"
    if choice.get("type") == "function":
        return _named(tools, [choice.get("name")]), "required"
    raise InvalidRequest("tool_choice names a tool that this server does not run")


def _named(tools: tuple[Tool, ...], names: list[Any]) -> tuple[Tool, ...]:
    named = tuple(tool for tool in tools if tool.name in names)
    if not named:
        raise InvalidRequest("tool_choice names a function that is not among the tools")
    return named


def _echo(fields: GoObject, request: ChatRequest) -> JsonObject:
    """What a reply repeats of its request."""
    text = dict(fields.mapping("text"))
    text["format"] = text.get("format") or {"type": "text"}
    reasoning = fields.raw("reasoning")
    top_p = fields.number("top_p")
    return {
        "instructions": fields.raw("instructions"),
        "tools": fields.raw("tools") or [],
        "tool_choice": fields.raw("tool_choice") or "auto",
        "truncation": fields.text("truncation") or "disabled",
        "parallel_tool_calls": request.parallel_tool_calls,
        "text": text,
        "top_p": 1 if top_p is None else top_p,
        "presence_penalty": request.options.get("presence_penalty", 0),
        "frequency_penalty": request.options.get("frequency_penalty", 0),
        "top_logprobs": request.n_top_logprobs,
        "temperature": request.options["temperature"],
        "reasoning": {"effort": None, "summary": None, **reasoning} if reasoning is not None else None,
        "max_output_tokens": fields.integer("max_output_tokens"),
        "max_tool_calls": fields.integer("max_tool_calls"),
        "store": fields.flag("store", True),
        "background": fields.flag("background"),
        "service_tier": "default",
        "metadata": fields.mapping("metadata"),
        "safety_identifier": fields.raw("safety_identifier"),
        "prompt_cache_key": fields.raw("prompt_cache_key"),
    }
