"""OpenAI's and Anthropic's routes."""

from __future__ import annotations

from typing import Final

from server.wire.anthropic.replies import MessageBody, TokenCount
from server.wire.openai.chat_replies import Completion
from server.wire.openai.completions import CompletionBody
from server.wire.openai.embeddings import EmbeddingList
from server.wire.openai.models import ModelBody
from server.wire.openapi.native import TOOL, TOOL_CHOICE
from server.wire.openapi.schema import (
    ANY,
    BASE64,
    FLAG,
    INTEGER,
    JSON_SCHEMA,
    MAPPING,
    NUMBER,
    TEXT,
    Operation,
    array,
    choice,
    either,
    fields,
)

_MISSING: Final = {404: "There is no such model."}
_PART: Final = fields(
    ("type",),
    type=choice("text", "image_url", "input_audio"),
    text=TEXT,
    image_url=either(TEXT, fields(("url",), url=TEXT)),
    input_audio=fields(("data",), data=BASE64, format=TEXT),
)
_CALL: Final = fields(
    id=TEXT, type=choice("function"), function=fields(("name", "arguments"), name=TEXT, arguments=TEXT)
)
_MESSAGE: Final = fields(
    ("role",),
    role=TEXT,
    content=either(TEXT, array(_PART)),
    reasoning=TEXT,
    tool_calls=array(_CALL),
    tool_call_id=TEXT,
    name=TEXT,
)
_SAMPLING: Final = {
    "model": TEXT,
    "stream": FLAG,
    "stream_options": fields(include_usage=FLAG),
    "max_tokens": INTEGER,
    "temperature": NUMBER,
    "top_p": NUMBER,
    "top_k": INTEGER,
    "min_p": NUMBER,
    "typical_p": NUMBER,
    "repeat_penalty": NUMBER,
    "frequency_penalty": NUMBER,
    "presence_penalty": NUMBER,
    "ignore_eos": FLAG,
    "seed": INTEGER,
    "stop": either(TEXT, array(TEXT)),
    "n": INTEGER,
    "logit_bias": MAPPING,
}
_EFFORT: Final = choice("none", "minimal", "low", "medium", "high", "xhigh", "max")
_CHAT: Final = fields(
    ("model", "messages"),
    **_SAMPLING,
    messages={**array(_MESSAGE), "minItems": 1},
    max_completion_tokens=INTEGER,
    tools=array(TOOL),
    tool_choice=TOOL_CHOICE,
    parallel_tool_calls=FLAG,
    response_format=fields(
        ("type",),
        type=choice("text", "json_object", "json_schema"),
        json_schema=fields(name=TEXT, schema=JSON_SCHEMA, strict=FLAG),
    ),
    reasoning_effort=_EFFORT,
    reasoning=fields(effort=_EFFORT),
    logprobs=FLAG,
    top_logprobs=INTEGER,
)
_COMPLETION: Final = fields(
    ("model", "prompt"),
    **_SAMPLING,
    prompt=either(TEXT, array(TEXT), array(INTEGER), array(array(INTEGER))),
    suffix=TEXT,
    echo=FLAG,
    logprobs=INTEGER,
)
_RESPONSE: Final = fields(
    ("model",),
    model=TEXT,
    input=either(TEXT, array(MAPPING)),
    instructions=TEXT,
    previous_response_id=TEXT,
    store=FLAG,
    background=FLAG,
    stream=FLAG,
    max_output_tokens=INTEGER,
    temperature=NUMBER,
    top_p=NUMBER,
    frequency_penalty=NUMBER,
    presence_penalty=NUMBER,
    top_logprobs=INTEGER,
    truncation=choice("auto", "disabled"),
    reasoning=fields(effort=_EFFORT),
    text=fields(format=fields(type=choice("text", "json_object", "json_schema"), schema=JSON_SCHEMA)),
    tools=array(
        fields(("type",), type=TEXT, name=TEXT, description=TEXT, parameters=JSON_SCHEMA, strict=FLAG)
    ),
    tool_choice=TOOL_CHOICE,
    parallel_tool_calls=FLAG,
    include=array(TEXT),
    metadata=MAPPING,
)
_BLOCK: Final = fields(
    ("type",),
    type=choice("text", "image", "document", "thinking", "tool_use", "tool_result", "search_result"),
    text=TEXT,
    thinking=TEXT,
    source=MAPPING,
    id=TEXT,
    name=TEXT,
    input=MAPPING,
    tool_use_id=TEXT,
    content=ANY,
    is_error=FLAG,
)
_ANTHROPIC: Final = {
    "model": TEXT,
    "messages": {
        **array(
            fields(("role", "content"), role=choice("user", "assistant"), content=either(TEXT, array(_BLOCK)))
        ),
        "minItems": 1,
    },
    "system": either(TEXT, array(fields(("type", "text"), type=choice("text"), text=TEXT))),
    "tools": array(fields(("name",), type=TEXT, name=TEXT, description=TEXT, input_schema=JSON_SCHEMA)),
    "tool_choice": fields(
        ("type",), type=choice("auto", "any", "tool", "none"), name=TEXT, disable_parallel_tool_use=FLAG
    ),
    "thinking": fields(
        ("type",), type=choice("enabled", "disabled", "adaptive"), budget_tokens={**INTEGER, "minimum": 1}
    ),
}
_STORED: Final = {404: "There is no such response."}

OPERATIONS: Final = (
    Operation(
        method="POST",
        path="/v1/chat/completions",
        summary="The next message of a conversation",
        body=_CHAT,
        reply=Completion,
        stream="sse",
        statuses=_MISSING,
    ),
    Operation(
        method="POST",
        path="/v1/completions",
        summary="A text that follows a prompt",
        body=_COMPLETION,
        reply=CompletionBody,
        stream="sse",
        statuses=_MISSING,
    ),
    Operation(
        method="POST",
        path="/v1/embeddings",
        summary="Vectors of texts",
        body=fields(
            ("model", "input"),
            model=TEXT,
            input=either(TEXT, array(TEXT), array(INTEGER), array(array(INTEGER))),
            encoding_format=choice("float", "base64"),
            dimensions=INTEGER,
        ),
        reply=EmbeddingList,
        statuses=_MISSING,
    ),
    Operation(method="GET", path="/v1/models", summary="All models", reply=MAPPING),
    Operation(
        method="GET", path="/v1/models/{model}", summary="One model", reply=ModelBody, statuses=_MISSING
    ),
    Operation(
        method="POST",
        path="/v1/audio/transcriptions",
        summary="What is said in a recording",
        body=fields(
            ("model", "file"),
            model=TEXT,
            file={"type": "string", "format": "binary"},
            language=TEXT,
            prompt=TEXT,
            response_format=choice("json", "text"),
            temperature=NUMBER,
            stream=FLAG,
        ),
        form=True,
        reply=MAPPING,
        stream="sse",
        statuses=_MISSING,
    ),
    Operation(
        method="POST",
        path="/v1/responses",
        summary="A response to an input, kept for the next one",
        body=_RESPONSE,
        reply=MAPPING,
        stream="sse",
        statuses=_MISSING,
    ),
    Operation(
        method="POST",
        path="/v1/responses/input_tokens",
        summary="How many tokens an input has",
        body=_RESPONSE,
        reply=MAPPING,
        statuses=_MISSING,
    ),
    Operation(method="GET", path="/v1/responses/{id}", summary="A response", reply=MAPPING, statuses=_STORED),
    Operation(
        method="DELETE", path="/v1/responses/{id}", summary="Forget it", reply=MAPPING, statuses=_STORED
    ),
    Operation(
        method="POST", path="/v1/responses/{id}/cancel", summary="End it", reply=MAPPING, statuses=_STORED
    ),
    Operation(
        method="GET",
        path="/v1/responses/{id}/input_items",
        summary="What it answered",
        reply=MAPPING,
        query={"limit": INTEGER, "order": choice("asc", "desc"), "after": TEXT},
        statuses=_STORED,
    ),
    Operation(
        method="POST",
        path="/v1/messages",
        summary="The next message of a conversation",
        body=fields(
            ("model", "messages", "max_tokens"),
            **_ANTHROPIC,
            max_tokens={**INTEGER, "minimum": 1},
            stream=FLAG,
            temperature=NUMBER,
            top_p=NUMBER,
            top_k=INTEGER,
            stop_sequences=array(TEXT),
            output_config=fields(effort=TEXT, format=fields(type=TEXT, schema=JSON_SCHEMA)),
        ),
        reply=MessageBody,
        stream="sse",
        statuses=_MISSING,
    ),
    Operation(
        method="POST",
        path="/v1/messages/count_tokens",
        summary="How many tokens a conversation has",
        body=fields(("model", "messages"), **_ANTHROPIC),
        reply=TokenCount,
        statuses=_MISSING,
    ),
)
