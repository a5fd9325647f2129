"""olla's own routes."""

from __future__ import annotations

from typing import Final

from server.types.history import StatusHistory
from server.types.models import BundledModel
from server.types.status import RecordedPrompt
from server.types.transfers import PartialDownload, TransferList
from server.types.upkeep import CheckProgress, GarbageReport
from server.wire.openapi.native import KEEP_ALIVE
from server.wire.openapi.schema import FLAG, INTEGER, MAPPING, NUMBER, TEXT, Operation, array, fields

_MODEL: Final = fields(("model",), model=TEXT)
_MISSING: Final = {404: "There is no such model."}
_NO_TRANSFER: Final = {404: "There is no such transfer."}
_NOT_LOADED: Final = {404: "There is no such model, or it is not loaded."}

OPERATIONS: Final = (
    Operation(method="GET", path="/openapi.json", summary="This document", reply=MAPPING),
    Operation(method="GET", path="/olla/status", summary="All that a screen shows", reply=MAPPING),
    Operation(
        method="GET",
        path="/olla/history",
        summary="Devices and requests of the last seconds, a day at most",
        reply=StatusHistory,
        query={"window_s": {**INTEGER, "minimum": 1, "maximum": 86_400}},
    ),
    Operation(
        method="GET",
        path="/olla/logs",
        summary="Lines of the log",
        reply=array(MAPPING),
        query={"after": {**INTEGER, "minimum": 0}, "limit": {**INTEGER, "minimum": 0}},
    ),
    Operation(
        method="GET",
        path="/olla/requests/{id}/prompt",
        summary="The prompt of a request as the model got it, where prompts are recorded",
        reply=RecordedPrompt,
        statuses={404: "No prompt is kept of this request."},
    ),
    Operation(
        method="POST",
        path="/olla/requests/{id}/cancel",
        summary="End a request",
        reply=MAPPING,
        statuses={404: "There is no such request."},
    ),
    Operation(
        method="POST",
        path="/olla/unload",
        summary="Unload a model",
        body=_MODEL,
        reply=MAPPING,
        statuses=_NOT_LOADED,
    ),
    Operation(
        method="POST",
        path="/olla/keep-alive",
        summary="How long a loaded model stays",
        body=fields(("model", "keep_alive"), model=TEXT, keep_alive=KEEP_ALIVE),
        reply=MAPPING,
        statuses=_NOT_LOADED,
    ),
    Operation(
        method="GET", path="/olla/bundled", summary="Models that come with olla", reply=list[BundledModel]
    ),
    Operation(
        method="POST",
        path="/olla/bundled/{name}",
        summary="Put one of them into the store",
        reply=MAPPING,
        statuses={404: "There is no such model."},
    ),
    Operation(
        method="POST",
        path="/olla/gc",
        summary="Remove what no model needs",
        body=fields(age_s={**NUMBER, "minimum": 0}, dry_run=FLAG),
        reply=GarbageReport,
    ),
    Operation(
        method="POST",
        path="/olla/fsck",
        summary="Check the store",
        body=fields(quick=FLAG),
        reply=CheckProgress,
        stream="ndjson",
    ),
    *(
        Operation(
            method="POST",
            path=path,
            summary="The tokens of a text",
            body=fields(("model", name), model=TEXT, **{name: TEXT}, add_special=FLAG),
            reply=fields(tokens=array(INTEGER)),
            statuses=_MISSING,
        )
        for path, name in (("/olla/tokenize", "text"), ("/tokenize", "content"))
    ),
    *(
        Operation(
            method="POST",
            path=path,
            summary="The text of tokens",
            body=fields(("model", "tokens"), model=TEXT, tokens=array({**INTEGER, "minimum": 0})),
            reply=fields(**{name: TEXT}),
            statuses=_MISSING,
        )
        for path, name in (("/olla/detokenize", "text"), ("/detokenize", "content"))
    ),
    Operation(
        method="GET",
        path="/olla/footprints",
        summary="What each model takes on the disk and in memory",
        reply=MAPPING,
    ),
    Operation(method="GET", path="/olla/transfers", summary="Pulls and pushes", reply=TransferList),
    Operation(
        method="POST",
        path="/olla/transfers",
        summary="Begin a transfer that nobody has to follow",
        body=fields(
            ("model",),
            model=TEXT,
            kind={"type": "string", "enum": ["pull", "push"]},
            insecure=FLAG,
            limit_bytes_per_s={**INTEGER, "minimum": 0},
        ),
        reply=fields(id=INTEGER),
    ),
    Operation(
        method="GET",
        path="/olla/partials",
        summary="Blobs that pulls have left unfinished",
        reply=tuple[PartialDownload, ...],
    ),
    Operation(
        method="POST",
        path="/olla/partials/{digest}/remove",
        summary="Throw away what has come of a blob",
        reply=MAPPING,
        statuses=_NO_TRANSFER,
    ),
    Operation(
        method="POST",
        path="/olla/transfers/limit",
        summary="Limit the rate of all transfers, or of one",
        body=fields(("limit_bytes_per_s",), limit_bytes_per_s={**INTEGER, "minimum": 0}, id=INTEGER),
        reply=MAPPING,
        statuses=_NO_TRANSFER,
    ),
    *(
        Operation(
            method="POST",
            path=f"/olla/transfers/{{id}}/{word}",
            summary=summary,
            body=body,
            reply=MAPPING,
            statuses=_NO_TRANSFER,
        )
        for word, summary, body in (
            ("pause", "Let a transfer rest", None),
            ("resume", "Go on with it", None),
            ("cancel", "Give it up", None),
            ("forget", "Take one that has ended off the list", None),
            ("move", "Change its place in the queue", fields(("position",), position=INTEGER)),
        )
    ),
)
