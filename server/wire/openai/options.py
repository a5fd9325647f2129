"""What chat and text completions share: sampling fields as Ollama's options, and usage."""

from __future__ import annotations

from typing import Any

import msgspec

from server.errors import InvalidRequest
from server.types.generation import Think, Timings
from server.types.quoting import go_quote
from server.wire.codec import GoObject, go_type_of

MAX_CHOICES = 16
"""Most answers to one request; each takes a slot of its own."""

FINGERPRINT = "fp_ollama"
DONE = b"data: [DONE]\n\n"


class Usage(msgspec.Struct, frozen=True):
    """Tokens of a request."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0


def usage(timings: Timings, n_output_tokens: int | None = None) -> Usage:
    """Usage of one answer; `n_output_tokens`: of all answers where there are several."""
    n_output = timings.n_output_tokens if n_output_tokens is None else n_output_tokens
    return Usage(timings.n_prompt_tokens, n_output, timings.n_prompt_tokens + n_output)


def sampling_options(fields: GoObject) -> dict[str, Any]:
    """Options from the fields that both routes have. Temperature and top_p are 1 unless given, as at OpenAI.

    Those that only llama.cpp's server and others have count as well.

    Raises: InvalidRequest.
    """
    options: dict[str, Any] = {}
    n_predict = fields.integer("max_tokens")
    if n_predict is not None:
        options["num_predict"] = n_predict
    temperature = fields.number("temperature")
    options["temperature"] = 1.0 if temperature is None else temperature
    seed = fields.integer("seed")
    if seed is not None:
        options["seed"] = seed
    top_p = fields.number("top_p")
    options["top_p"] = 1.0 if top_p is None else top_p
    for name in ("frequency_penalty", "presence_penalty", "min_p", "typical_p", "repeat_penalty"):
        value = fields.number(name)
        if value is not None:
            options[name] = value
    if (top_k := fields.integer("top_k")) is not None:
        options["top_k"] = top_k
    if "ignore_eos" in fields:
        options["ignore_eos"] = fields.flag("ignore_eos")
    return options


def n_choices(fields: GoObject) -> int:
    """`n`, 1 unless given. Raises: InvalidRequest outside 1 to `MAX_CHOICES`."""
    n = fields.integer("n")
    if n is not None and not 1 <= n <= MAX_CHOICES:
        raise InvalidRequest(f"n must be between 1 and {MAX_CHOICES}")
    return n or 1


def ignored_fields(fields: GoObject, names: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the names that are given, with whatever would have an effect."""
    return tuple(name for name in names if fields.raw(name) not in (None, False, [], {}, "", "none"))


def stop_texts(value: object, *, strict: bool) -> list[str] | None:
    """`stop`, a text or a list; None when it is neither. `strict`: a list may hold nothing but texts.

    Raises: InvalidRequest.
    """
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list):
        return None
    if strict:
        for item in value:
            if not isinstance(item, str):
                raise InvalidRequest(f"invalid type for 'stop' field: {go_type_of(item)}")
    return [item for item in value if isinstance(item, str)]


_THINK_BY_EFFORT: dict[str, Think] = {
    "": None,
    "none": False,
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "max": "max",
    "xhigh": "max",
    "ultra": "max",
}


def think_from_effort(effort: str) -> Think:
    """Raises: InvalidRequest for an unknown effort."""
    if effort not in _THINK_BY_EFFORT:
        raise InvalidRequest(
            f'invalid reasoning value: {go_quote(effort)} (must be "minimal", "low", "medium", "high", '
            '"xhigh", "ultra", "max", or "none")'
        )
    return _THINK_BY_EFFORT[effort]


def wants_usage(fields: GoObject) -> bool:
    """Whether a stream is to end with the usage. Raises: InvalidRequest."""
    return fields.child("stream_options", "openai.StreamOptions").flag("include_usage")
