"""The list of requests: glyphs, columns, details."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from olla_tui.state.graphs import UNICODE, Glyphs
from olla_tui.state.numbers import count_text, rate_text, seconds_text
from olla_tui.state.rows import Row, Span, fit, fit_row, folded
from server.types.models import RunningModel
from server.types.status import RecordedPrompt, RequestSnapshot, RequestState

OPEN_STATES: frozenset[RequestState] = frozenset(("queued", "loading", "prefill", "decode"))

_ROLES: dict[RequestState, str] = {
    "queued": "muted",
    "loading": "warn",
    "prefill": "accent",
    "decode": "good",
    "done": "muted",
    "failed": "bad",
    "cancelled": "muted",
}


def is_open(request: RequestSnapshot) -> bool:
    """Whether the request has not ended."""
    return request.state in OPEN_STATES


def glyph_for(request: RequestSnapshot, glyphs: Glyphs = UNICODE) -> Span:
    """The mark of the request's state."""
    marks: dict[RequestState, str] = {
        "queued": glyphs.waiting,
        "loading": glyphs.half,
        "prefill": glyphs.half,
        "decode": glyphs.busy,
        "done": glyphs.ok,
        "failed": glyphs.failed,
        "cancelled": "-",
    }
    return Span(marks[request.state], _ROLES[request.state])


def state_text(request: RequestSnapshot) -> str:
    """The state in a word or two: "queued #2", "decoding"."""
    if request.state == "queued":
        return f"queued #{request.queue_position}" if request.queue_position else "queued"
    words: dict[RequestState, str] = {"prefill": "reading", "decode": "writing"}
    return words.get(request.state, request.state)


def haystack(request: RequestSnapshot) -> str:
    """The text that a filter searches."""
    parts = (request.route, request.model, request.client, state_text(request), request.state, request.error)
    return " ".join(parts).lower()


def select(
    requests: Sequence[RequestSnapshot], text: str = "", *, open_only: bool = False
) -> list[RequestSnapshot]:
    """The requests that hold all words of a filter and none of its !words, in their order."""
    words = text.lower().split()
    found = []
    for request in in_order(requests):
        hay = haystack(request)
        passes = all(word[1:] not in hay if word[:1] == "!" and word[1:] else word in hay for word in words)
        if passes and (is_open(request) or not open_only):
            found.append(request)
    return found


def wait_estimate_s(
    request: RequestSnapshot, requests: Sequence[RequestSnapshot], models: Sequence[RunningModel]
) -> float | None:
    """How long a request will have to wait for a slot, seconds; None where nothing tells.

    Slots become free one after the other: each of those before it, and it itself, waits for a share of what
    an answer of that model took lately (the median), as many shares as the model has slots.
    """
    if request.state != "queued" or not request.queue_position:
        return None
    taken = [
        ended.duration_s
        for ended in requests
        if ended.state == "done" and ended.model == request.model and ended.n_output_tokens
    ]
    slots = next((model.n_slots for model in models if model.name == request.model), 0)
    if not taken or not slots:
        return None
    return request.queue_position * statistics.median(taken) / slots


def in_order(requests: Sequence[RequestSnapshot]) -> list[RequestSnapshot]:
    """Open requests first, oldest first; then ended ones, newest first."""
    opened = sorted((r for r in requests if is_open(r)), key=lambda r: (r.queue_position, r.started_at))
    return opened + sorted((r for r in requests if not is_open(r)), key=lambda r: r.started_at, reverse=True)


def rail_rows(
    requests: Sequence[RequestSnapshot], width: int, n_rows: int, glyphs: Glyphs = UNICODE
) -> list[Row]:
    """The newest of the list in `n_rows` narrow lines: glyph, route, model, and time or reason."""
    rows: list[Row] = []
    tail_width = 14
    for request in in_order(requests)[:n_rows]:
        if request.state == "queued":
            tail = state_text(request)
        elif request.state == "failed":
            tail = request.error or "failed"
        elif is_open(request):
            tail = f"{seconds_text(request.duration_s)} {rate_text(request.tokens_per_s)}/s"
        else:
            tail = seconds_text(request.duration_s)
        route_width = min(13, max(5, (width - tail_width - 4) // 2))
        model_width = max(0, width - tail_width - route_width - 4)
        rows.append(
            fit_row(
                (
                    glyph_for(request, glyphs),
                    Span(" " + fit(request.route, route_width) + " "),
                    Span(fit(request.model, model_width) + " ", "muted"),
                    Span(fit(tail, tail_width, "right"), "bad" if request.state == "failed" else "muted"),
                ),
                width,
            )
        )
    return rows


def empty_words(address: str, is_olla: bool) -> str:
    """What stands in the place of a list without requests."""
    return f"Clients reach the server at http://{address}" if is_olla else "An Ollama tells of none."


MAX_PROMPT_LINES = 2000
"""Of a recorded prompt on the screen."""


def has_prompt(request: RequestSnapshot) -> bool:
    """Whether a model has got its prompt, so that one may be recorded."""
    return request.state not in ("queued", "loading")


def prompt_lines(recorded: RecordedPrompt, width: int) -> list[str]:
    """A prompt in lines of at most `width` cells; in its middle it is said what was left out there."""
    text = recorded.text
    if recorded.n_left_out:
        half = len(text) // 2
        text = f"{text[:half]}\n[{recorded.n_left_out} characters are left out]\n{text[half:]}"
    lines = [piece for line in text.splitlines() for piece in folded(line, width)]
    if len(lines) > MAX_PROMPT_LINES:
        n_more = len(lines) - MAX_PROMPT_LINES
        return [*lines[:MAX_PROMPT_LINES], f"[{n_more} more lines]"]
    return lines


def detail_lines(request: RequestSnapshot, wait_s: float | None = None) -> list[tuple[str, str]]:
    """Label and text of everything known about a request; `wait_s`: how long it will probably wait."""
    lines = [
        ("state", state_text(request)),
        ("route", request.route),
        ("model", request.model),
        ("client", request.client or "not known"),
        ("time", seconds_text(request.duration_s)),
        ("first token", "–" if request.first_token_s is None else seconds_text(request.first_token_s)),
        ("tokens in", count_text(request.n_prompt_tokens)),
        ("tokens out", count_text(request.n_output_tokens)),
        ("tokens/s", rate_text(request.tokens_per_s)),
    ]
    if request.energy_j > 0:
        n_tokens, joules = request.n_output_tokens, request.energy_j
        per_token = f", {joules / n_tokens:.1f} J/token" if n_tokens else ""
        lines.append(("energy", f"~{joules:.0f} J ({joules / 3600:.3f} Wh){per_token}"))
    if wait_s is not None:
        lines.insert(1, ("about", f"{seconds_text(wait_s)} to wait"))
    if request.wait_reason:
        lines.insert(1, ("waits for", request.wait_reason))
    if request.error:
        lines.insert(1, ("error", request.error))
    return lines
