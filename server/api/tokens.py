"""Texts as token ids and back: `/olla/tokenize` and `/olla/detokenize`, and llama-server's `/tokenize` and
`/detokenize`, which have other names for the same."""

from __future__ import annotations

from typing import NamedTuple

from server.api.endpoint import Call, Endpoint
from server.api.errors import NATIVE, OPENAI
from server.api.ollama.inference import pull_first, require_model
from server.api.replies import Reply
from server.api.routing import Route
from server.errors import InvalidRequest
from server.services.protocols import Services
from server.types.options import MAX_INT
from server.wire.codec import GoObject, decode
from server.wire.headers import ignored_headers


class _Texts(NamedTuple):
    """A text to tokenise."""

    model: str
    text: str
    add_special: bool
    ignored: tuple[str, ...] = ()


def routes(services: Services) -> list[Route]:
    """The routes of this module."""
    return [
        Route("POST", "/olla/tokenize", Endpoint(services, _decode_text, _tokenize, faults=NATIVE)),
        Route("POST", "/olla/detokenize", Endpoint(services, _decode_tokens, _detokenize, faults=NATIVE)),
        Route(
            "POST",
            "/tokenize",
            Endpoint(services, _decode_content, _tokenize, faults=OPENAI, reword=pull_first),
        ),
        Route(
            "POST",
            "/detokenize",
            Endpoint(services, _decode_tokens, _content_of, faults=OPENAI, reword=pull_first),
        ),
    ]


def _decode_text(call: Call) -> _Texts:
    fields = GoObject(decode(call.body), "TokenizeRequest")
    return _Texts(_model(fields), fields.text("text"), fields.flag("add_special", True))


def _decode_content(call: Call) -> _Texts:
    """llama-server's request, which adds no special tokens unless asked to."""
    fields = GoObject(decode(call.body), "TokenizeRequest")
    ignored = ("with_pieces",) if fields.flag("with_pieces") else ()
    return _Texts(_model(fields), fields.text("content"), fields.flag("add_special"), ignored)


async def _tokenize(call: Call, wanted: _Texts) -> Reply:
    inference = call.services.inference
    tokens = await inference.tokenize(wanted.model, wanted.text, add_special=wanted.add_special)
    return Reply.of({"tokens": tokens}, headers=ignored_headers(wanted.ignored))


def _decode_tokens(call: Call) -> tuple[str, tuple[int, ...]]:
    fields = GoObject(decode(call.body), "DetokenizeRequest")
    tokens = fields.integers("tokens")
    if any(not 0 <= token <= MAX_INT for token in tokens):
        raise InvalidRequest("tokens must be token ids")
    return _model(fields), tokens


async def _detokenize(call: Call, wanted: tuple[str, tuple[int, ...]]) -> Reply:
    return Reply.of({"text": await call.services.inference.detokenize(*wanted)})


async def _content_of(call: Call, wanted: tuple[str, tuple[int, ...]]) -> Reply:
    return Reply.of({"content": await call.services.inference.detokenize(*wanted)})


def _model(fields: GoObject) -> str:
    model = fields.text("model")
    require_model(model)
    return model
