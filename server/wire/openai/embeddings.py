"""Bodies of `/v1/embeddings`."""

from __future__ import annotations

import base64
from typing import NamedTuple

import msgspec

from server.errors import InvalidRequest
from server.types.generation import EmbedRequest, EmbedResult, Origin
from server.wire.codec import EOF, GoObject, decode
from server.wire.olla import Told, told_of_inputs
from server.wire.ollama.replies import finite_numbers


class EmbeddingsCall(NamedTuple):
    """An embedding request and the form of the reply."""

    request: EmbedRequest
    as_base64: bool = False


class EmbeddingBody(msgspec.Struct, frozen=True, kw_only=True):
    """One vector: a list of numbers, or little-endian float32 in base64."""

    object: str = "embedding"
    embedding: list[float] | str
    index: int


class EmbeddingUsage(msgspec.Struct, frozen=True):
    """Tokens of the inputs."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingList(msgspec.Struct, frozen=True, kw_only=True):
    """The reply."""

    object: str = "list"
    data: list[EmbeddingBody]
    model: str
    usage: EmbeddingUsage
    olla: Told | msgspec.UnsetType = msgspec.UNSET


def embeddings_from_body(body: bytes, origin: Origin) -> EmbeddingsCall:
    """Raises: InvalidRequest."""
    fields = GoObject(decode(body, when_empty=EOF), "EmbedRequest")
    encoding = fields.text("encoding_format")
    if encoding.lower() not in ("", "float", "base64"):
        raise InvalidRequest(
            f"Invalid value for 'encoding_format' = {encoding}. Supported values: ['float', 'base64']."
        )
    request = EmbedRequest(
        model=fields.text("model"),
        inputs=_inputs(fields.raw("input")),
        n_dimensions=fields.integer("dimensions") or 0,
        origin=origin,
    )
    return EmbeddingsCall(request, encoding.lower() == "base64")


def _inputs(value: object) -> tuple[str | tuple[int, ...], ...]:
    """Texts, or lists of token ids."""
    if isinstance(value, str):
        return (value,)
    if value is None or value == []:
        raise InvalidRequest("invalid input")
    if not isinstance(value, list):
        raise InvalidRequest("invalid input type")
    if all(isinstance(item, str) for item in value):
        return tuple(value)
    if is_tokens(value):
        return (tuple(value),)
    if all(isinstance(item, list) and item and is_tokens(item) for item in value):
        return tuple(tuple(item) for item in value)
    raise InvalidRequest("invalid input type")


def is_tokens(items: list[object]) -> bool:
    """Whether these are token ids."""
    return all(isinstance(item, int) and not isinstance(item, bool) and 0 <= item < 2**31 for item in items)


def embeddings_reply(model: str, result: EmbedResult, *, as_base64: bool) -> EmbeddingList:
    """Raises: InvalidRequest for a vector with a number that JSON has no word for."""
    return EmbeddingList(
        data=[
            EmbeddingBody(
                embedding=base64.b64encode(vector).decode("ascii") if as_base64 else finite_numbers(vector),
                index=index,
            )
            for index, vector in enumerate(result.vectors)
        ],
        model=model,
        usage=EmbeddingUsage(result.n_prompt_tokens, result.n_prompt_tokens),
        olla=told_of_inputs(result),
    )
