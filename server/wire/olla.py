"""Bodies of olla's own: `/olla/status`, and what stands under `olla` in replies and error lines."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import msgspec

from server.errors import OllaError
from server.types.generation import Completed, EmbedResult
from server.types.ranking import RerankResult
from server.types.status import StatusSnapshot


def status_body(snapshot: StatusSnapshot) -> dict[str, Any]:
    """A snapshot as JSON; a model that never expires has null for the time, since JSON knows no infinity."""
    body: dict[str, Any] = msgspec.to_builtins(snapshot)
    for model in body["running"]:
        if math.isinf(model["expires_at"]):
            model["expires_at"] = None
    return body


class ContextBody(msgspec.Struct, frozen=True):
    """`context`: what was left out of a prompt, in messages and in all in tokens.

    Attributes:
        limit: tokens that the context holds.
        used: tokens of the prompt as it was decoded.
    """

    limit: int
    used: int
    dropped_messages: int
    dropped_tokens: int


class Told(msgspec.Struct, frozen=True):
    """`olla` in a reply that is of another's API."""

    context: ContextBody


def context_of(completed: Completed) -> ContextBody | None:
    """What is told, unasked, of a prompt that was shortened; None for one that was used whole."""
    if not (completed.n_dropped_messages or completed.n_dropped_tokens):
        return None
    return ContextBody(
        completed.n_ctx,
        completed.timings.n_prompt_tokens,
        completed.n_dropped_messages,
        completed.n_dropped_tokens,
    )


def told(completed: Completed) -> Told | msgspec.UnsetType:
    """`olla` for replies of OpenAI's and Anthropic's APIs; not set for a prompt that was used whole."""
    context = context_of(completed)
    return msgspec.UNSET if context is None else Told(context)


def told_of_inputs(result: EmbedResult | RerankResult) -> Told | msgspec.UnsetType:
    """As `told`, for inputs that are embedded or ranked."""
    if not result.n_dropped_tokens:
        return msgspec.UNSET
    return Told(ContextBody(result.n_ctx, result.n_prompt_tokens, 0, result.n_dropped_tokens))


class Fault(NamedTuple):
    """An error line of a stream. `status`: what the reply would have had, 0 from a real Ollama."""

    message: str
    status: int = 0
    hint: str = ""


def fault_body(error: OllaError, status: int) -> dict[str, Any]:
    """What an error line says beyond the message."""
    return {"status": status, "hint": error.hint} if error.hint else {"status": status}


def fault_of_line(line: object) -> Fault | None:
    """The error that a line of a stream tells, None for any other line."""
    if not isinstance(line, dict) or not line.get("error"):
        return None
    extra = line.get("olla")
    extra = extra if isinstance(extra, dict) else {}
    status, hint = extra.get("status"), extra.get("hint")
    return Fault(
        message=str(line["error"]),
        status=status if isinstance(status, int) else 0,
        hint=hint if isinstance(hint, str) else "",
    )
