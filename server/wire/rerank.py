"""Bodies of the rerank routes.

The request and the reply are those of Jina's and Cohere's APIs. A request that calls its documents `texts` is
one of text-embeddings-inference, and its reply is a plain list.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from server.errors import InvalidRequest
from server.types.durations import parse_keep_alive
from server.types.generation import Origin
from server.types.ranking import Ranked, RerankRequest, RerankResult
from server.wire.codec import GoObject, decode, encode
from server.wire.olla import Told, told_of_inputs
from server.wire.ollama.inference import keep_alive_value


class RerankCall(NamedTuple):
    """A rerank request and the form of the reply.

    Attributes:
        with_documents: results carry their documents.
        is_plain_list: the reply of text-embeddings-inference.
    """

    request: RerankRequest
    with_documents: bool = False
    is_plain_list: bool = False


class DocumentBody(msgspec.Struct, frozen=True):
    """A document in a result."""

    text: str


class CutBody(msgspec.Struct, frozen=True):
    """`olla` of a document that was too long: tokens that were cut off its end."""

    dropped_tokens: int


class RankedBody(msgspec.Struct, frozen=True, kw_only=True):
    """One document's place in the request and its score; a higher one is a better answer."""

    index: int
    relevance_score: float
    document: DocumentBody | msgspec.UnsetType = msgspec.UNSET
    olla: CutBody | msgspec.UnsetType = msgspec.UNSET


class PlainRankedBody(msgspec.Struct, frozen=True, kw_only=True):
    """As `RankedBody`, for text-embeddings-inference."""

    index: int
    score: float
    text: str | msgspec.UnsetType = msgspec.UNSET
    olla: CutBody | msgspec.UnsetType = msgspec.UNSET


class RerankUsage(msgspec.Struct, frozen=True):
    """Tokens of the pairs of query and document."""

    prompt_tokens: int
    total_tokens: int


class RerankReply(msgspec.Struct, frozen=True, kw_only=True):
    """The reply: results, the best first. Durations in nanoseconds come on `/api/rerank` only."""

    model: str
    object: str = "list"
    results: list[RankedBody]
    usage: RerankUsage
    total_duration: int | msgspec.UnsetType = msgspec.UNSET
    load_duration: int | msgspec.UnsetType = msgspec.UNSET
    prompt_eval_count: int | msgspec.UnsetType = msgspec.UNSET
    olla: Told | msgspec.UnsetType = msgspec.UNSET


def rerank_from_body(body: bytes, origin: Origin) -> RerankCall:
    """Raises: InvalidRequest."""
    fields = GoObject(decode(body), "RerankRequest")
    model = fields.text("model")
    if not model:
        raise InvalidRequest("model is required")
    query = _text(fields.raw("query"))
    if not query:
        raise InvalidRequest("query must be a text that is not empty")
    is_plain_list = "texts" in fields
    name = "texts" if is_plain_list else "documents"
    n_top = fields.integer("top_n")
    if n_top is not None and n_top < 1:
        raise InvalidRequest("top_n must be at least 1; leave it out for all documents")
    request = RerankRequest(
        model=model,
        query=query,
        documents=_documents(fields.raw(name), name),
        n_top=n_top or 0,
        truncate=fields.flag("truncate", True),
        options=fields.mapping("options"),
        keep_alive_s=parse_keep_alive(fields.raw("keep_alive")),
        origin=origin,
    )
    with_documents = fields.flag("return_text" if is_plain_list else "return_documents")
    return RerankCall(request, with_documents, is_plain_list)


def _documents(value: object, name: str) -> tuple[str, ...]:
    """Texts, or objects with a `text`."""
    texts = [_text(item) for item in value] if isinstance(value, list) else []
    if not texts or None in texts:
        raise InvalidRequest(f"{name} must be a list of texts, at least one")
    return tuple(text for text in texts if text is not None)


def _text(value: object) -> str | None:
    """A text, or the `text` of an object; None for anything else."""
    if isinstance(value, dict):
        value = value.get("text")
    return value if isinstance(value, str) else None


def rerank_reply(call: RerankCall, result: RerankResult, *, is_native: bool) -> Any:
    """The reply to encode. `is_native`: that of `/api/rerank`."""
    if call.is_plain_list:
        return [_plain(ranked, call) for ranked in result.ranking]
    return RerankReply(
        model=call.request.model,
        results=[
            RankedBody(
                index=ranked.index,
                relevance_score=_short(ranked.score),
                document=DocumentBody(call.request.documents[ranked.index])
                if call.with_documents
                else msgspec.UNSET,
                olla=_cut(ranked),
            )
            for ranked in result.ranking
        ],
        usage=RerankUsage(result.n_prompt_tokens, result.n_prompt_tokens),
        total_duration=result.total_duration_ns if is_native else msgspec.UNSET,
        load_duration=result.load_duration_ns if is_native else msgspec.UNSET,
        prompt_eval_count=result.n_prompt_tokens if is_native else msgspec.UNSET,
        olla=told_of_inputs(result),
    )


def _plain(ranked: Ranked, call: RerankCall) -> PlainRankedBody:
    text = call.request.documents[ranked.index] if call.with_documents else msgspec.UNSET
    return PlainRankedBody(index=ranked.index, score=_short(ranked.score), text=text, olla=_cut(ranked))


def _cut(ranked: Ranked) -> CutBody | msgspec.UnsetType:
    return CutBody(ranked.n_dropped_tokens) if ranked.n_dropped_tokens else msgspec.UNSET


def _short(score: float) -> float:
    """A float32 in the nine digits that identify it."""
    return float(f"{score:.9g}")


def rerank_body(request: RerankRequest) -> bytes:
    """JSON that `rerank_from_body` reads."""
    body: dict[str, Any] = {
        "model": request.model,
        "query": request.query,
        "documents": list(request.documents),
    }
    if request.n_top:
        body["top_n"] = request.n_top
    if not request.truncate:
        body["truncate"] = False
    if request.options:
        body["options"] = request.options
    if request.keep_alive_s is not None:
        body["keep_alive"] = keep_alive_value(request.keep_alive_s)
    return encode(body)


def rerank_result(reply: object) -> RerankResult:
    """Result of `/api/rerank`. Raises: InvalidRequest for JSON of another shape."""
    fields = GoObject(reply, "RerankResponse")
    ranking = [
        Ranked(
            item.integer("index") or 0,
            item.number("relevance_score") or 0.0,
            item.child("olla", "olla.Cut").integer("dropped_tokens") or 0,
        )
        for item in fields.children("results", "api.RerankResult")
    ]
    context = fields.child("olla", "olla.Told").child("context", "olla.Context")
    return RerankResult(
        ranking=tuple(ranking),
        n_dropped_tokens=context.integer("dropped_tokens") or 0,
        n_ctx=context.integer("limit") or 0,
        n_prompt_tokens=fields.integer("prompt_eval_count") or 0,
        total_duration_ns=fields.integer("total_duration") or 0,
        load_duration_ns=fields.integer("load_duration") or 0,
    )
