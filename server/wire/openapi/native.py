"""Ollama's routes."""

from __future__ import annotations

from typing import Final

from server.wire.ollama.create import ProgressBody
from server.wire.ollama.models import RunningBody, ShowBody, TagBody
from server.wire.ollama.replies import ChatReply, EmbedReply, GenerateReply
from server.wire.openapi.schema import (
    BASE64,
    FLAG,
    INTEGER,
    JSON_SCHEMA,
    MAPPING,
    NUMBER,
    TEXT,
    TEXT_MAPPING,
    Operation,
    array,
    choice,
    either,
    fields,
)
from server.wire.rerank import RerankReply

OPTIONS: Final = {"$ref": "#/components/schemas/Options"}
KEEP_ALIVE: Final = {
    **either(TEXT, NUMBER),
    "description": 'How long the model stays loaded: seconds, or a length like "5m"; negative: for good.',
}
_THINK: Final = either(FLAG, choice("low", "medium", "high", "max"))
_FORMAT: Final = either(choice("json"), JSON_SCHEMA)
_OLLA: Final = {
    **fields(
        details=FLAG,
        logit_bias=MAPPING,
        drop_think_when_incapable=FLAG,
        tool_required=FLAG,
        parallel_tool_calls=FLAG,
        think_budget=INTEGER,
    ),
    "description": "What olla knows beyond Ollama.",
}
_CALL: Final = fields(function=fields(("name",), name=TEXT, arguments=MAPPING, index=INTEGER), id=TEXT)
MESSAGE: Final = fields(
    ("role",),
    role=TEXT,
    content=TEXT,
    thinking=TEXT,
    images=array(BASE64),
    tool_calls=array(_CALL),
    tool_name=TEXT,
    tool_call_id=TEXT,
)
TOOL: Final = fields(
    type=choice("function"), function=fields(("name",), name=TEXT, description=TEXT, parameters=JSON_SCHEMA)
)
TOOL_CHOICE: Final = either(choice("none", "auto", "required"), MAPPING)
_GENERATION: Final = {
    "model": TEXT,
    "stream": FLAG,
    "format": _FORMAT,
    "think": _THINK,
    "options": OPTIONS,
    "keep_alive": KEEP_ALIVE,
    "truncate": FLAG,
    "shift": FLAG,
    "logprobs": FLAG,
    "top_logprobs": INTEGER,
    "olla": _OLLA,
    "_debug_render_only": FLAG,
}
_MISSING: Final = {404: "There is no such model."}
_NAMED: Final = fields(("model",), model=TEXT, stream=FLAG)
_TRANSFER: Final = fields(
    ("model",), model=TEXT, stream=FLAG, insecure=FLAG, limit_bytes_per_s={**INTEGER, "minimum": 0}
)
_CREATE: Final = fields(
    ("model",),
    model=TEXT,
    from_=TEXT,
    files=TEXT_MAPPING,
    adapters=TEXT_MAPPING,
    draft_files=TEXT_MAPPING,
    template=TEXT,
    system=TEXT,
    license=either(TEXT, array(TEXT)),
    parameters=OPTIONS,
    messages=array(MESSAGE),
    renderer=TEXT,
    parser=TEXT,
    requires=TEXT,
    quantize=TEXT,
    draft_quantize=TEXT,
    remote_host=TEXT,
    info=MAPPING,
    stream=FLAG,
)
_RERANK: Final = fields(
    ("model", "query", "documents"),
    model=TEXT,
    query=TEXT,
    documents=array(either(TEXT, fields(("text",), text=TEXT))),
    top_n=INTEGER,
    return_documents=FLAG,
    truncate=FLAG,
    options=OPTIONS,
    keep_alive=KEEP_ALIVE,
)

OPERATIONS: Final = (
    Operation(method="GET", path="/", summary="Whether a server runs here", reply_text=True),
    Operation(method="GET", path="/api/version", summary="Its version", reply=fields(version=TEXT)),
    Operation(
        method="POST",
        path="/api/chat",
        summary="The next message of a conversation",
        body=fields(
            ("model",), **_GENERATION, messages=array(MESSAGE), tools=array(TOOL), tool_choice=TOOL_CHOICE
        ),
        reply=ChatReply,
        stream="ndjson",
        statuses=_MISSING,
    ),
    Operation(
        method="POST",
        path="/api/generate",
        summary="A text that follows a prompt",
        body=fields(
            ("model",),
            **_GENERATION,
            prompt=TEXT,
            suffix=TEXT,
            system=TEXT,
            template=TEXT,
            context=array(INTEGER),
            images=array(BASE64),
            raw=FLAG,
        ),
        reply=GenerateReply,
        stream="ndjson",
        statuses=_MISSING,
    ),
    Operation(
        method="POST",
        path="/api/embed",
        summary="Vectors of texts",
        body=fields(
            ("model",),
            model=TEXT,
            input=either(TEXT, array(TEXT)),
            truncate=FLAG,
            dimensions=INTEGER,
            options=OPTIONS,
            keep_alive=KEEP_ALIVE,
        ),
        reply=EmbedReply,
        statuses=_MISSING,
    ),
    Operation(
        method="POST",
        path="/api/embeddings",
        summary="The vector of one text (older than /api/embed)",
        body=fields(("model",), model=TEXT, prompt=TEXT, options=OPTIONS, keep_alive=KEEP_ALIVE),
        reply=fields(embedding=array(NUMBER)),
        statuses=_MISSING,
    ),
    *(
        Operation(
            method="POST",
            path=path,
            summary="Documents in the order of how well they answer a query",
            body=_RERANK,
            reply=RerankReply,
            statuses=_MISSING,
        )
        for path in ("/api/rerank", "/v1/rerank", "/v1/reranking", "/rerank", "/reranking")
    ),
    Operation(method="GET", path="/api/tags", summary="All models", reply=dict[str, list[TagBody]]),
    Operation(method="GET", path="/api/ps", summary="Loaded models", reply=dict[str, list[RunningBody]]),
    Operation(
        method="POST",
        path="/api/show",
        summary="All about a model",
        body=fields(("model",), model=TEXT, verbose=FLAG, system=TEXT, options=OPTIONS),
        reply=ShowBody,
        statuses=_MISSING,
    ),
    Operation(
        method="POST",
        path="/api/copy",
        summary="Give a model a second name",
        body=fields(("source", "destination"), source=TEXT, destination=TEXT),
        statuses=_MISSING,
    ),
    Operation(method="DELETE", path="/api/delete", summary="Delete a model", body=_NAMED, statuses=_MISSING),
    Operation(
        method="POST",
        path="/api/create",
        summary="Make a model",
        body=_CREATE,
        reply=ProgressBody,
        stream="ndjson",
        statuses=_MISSING,
    ),
    Operation(
        method="POST",
        path="/api/pull",
        summary="Fetch a model from a registry",
        body=_TRANSFER,
        reply=ProgressBody,
        stream="ndjson",
    ),
    Operation(
        method="POST",
        path="/api/push",
        summary="Send a model to a registry",
        body=_TRANSFER,
        reply=ProgressBody,
        stream="ndjson",
    ),
    Operation(
        method="POST",
        path="/api/blobs/{digest}",
        summary="Send a file for a model that is to be made",
        body={"type": "string", "format": "binary"},
        statuses={201: "The file is there now."},
    ),
    Operation(method="GET", path="/api/status", summary="Whether there is a cloud (no)", reply=MAPPING),
)
"""Beside these, the routes of Ollama's cloud say that there is none, and HEAD is a GET without a body."""
