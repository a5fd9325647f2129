"""What stands around a turn: the words of its header, of its fold, and of the cards in an empty chat."""

from __future__ import annotations

import time

from olla_tui.state.branches import SiblingPlace
from olla_tui.state.conversation import Conversation, Turn, think_text
from olla_tui.state.graphs import bar
from olla_tui.state.numbers import (
    bytes_text,
    context_length_text,
    count_text,
    percent_text,
    rate_text,
    seconds_text,
)
from olla_tui.state.option_form import options_text
from olla_tui.state.rows import Row, Span, fit, join_ends, row, width_of
from olla_tui.state.workstation import Workstation

EXAMPLES = (
    "Tell me a short story about a lighthouse.",
    "Explain what a hash table is, in three sentences.",
    "Write a friendly greeting.",
)
"""Prompts that an empty chat offers."""
KEY_WIDTH = 17
MAX_SHOWN_QUEUED = 3


def title_of(turn: Turn) -> str:
    """Left of the header: "you", or who answers."""
    return {"user": "you", "assistant": turn.model or "assistant"}.get(turn.role, turn.role)


ONLY = SiblingPlace(1, 1)


def stats_of(turn: Turn, place: SiblingPlace = ONLY) -> str:
    """Right of the header: a clock time for a question, counts for an answer; "2/3" for one of several."""
    parts = [f"{place.number}/{place.total}"] if place.total > 1 else []
    if turn.edited:
        parts.append("edited")
    if turn.role != "assistant":
        parts += [time.strftime("%H:%M", time.localtime(turn.at))] if turn.at else []
        return " · ".join(parts)
    if turn.state == "waiting":
        return " · ".join([*parts, "waiting"])
    if turn.n_output_tokens:
        parts.append(f"{count_text(turn.n_output_tokens)} tok")
    if turn.tokens_per_s > 0:
        parts.append(f"{rate_text(turn.tokens_per_s)}/s")
    if turn.first_token_s is not None:
        parts.append(f"first {seconds_text(turn.first_token_s)}")
    if turn.state == "stopped":
        parts.append("stopped")
    if turn.done_reason == "length":
        parts.append("cut at the limit")
    if turn.n_dropped_messages:
        parts.append(f"{turn.n_dropped_messages} old messages left out")
    return " · ".join(parts)


def thinking_note_of(turn: Turn) -> str:
    """The words on the fold of the reasoning."""
    if not turn.thinking:
        return ""
    if not turn.content and turn.state == "streaming":
        return "thinking"
    tokens = f" ({count_text(turn.n_thinking_tokens)} tok)" if turn.n_thinking_tokens else ""
    return f"thought for {seconds_text(turn.thought_s)}{tokens}"


def attachments_of(turn: Turn) -> tuple[str, ...]:
    """The names of what went along with a prompt, each with its size."""
    texts = [f"{file.name} ({bytes_text(len(file.text.encode()))})" for file in turn.files]
    return (*texts, *(f"{part.name} ({bytes_text(len(part.data))})" for part in turn.media))


def error_of(turn: Turn) -> str:
    """The sentence below a failed answer; of a hint that quotes a log its last line, which tells most."""
    if not turn.error:
        return ""
    quoted = [line.strip() for line in turn.hint.splitlines() if line.strip()]
    hint = f"{quoted[-1]} (the log has more)" if len(quoted) > 1 else turn.hint
    return f"{turn.error} {hint}".strip()


def context_limit(state: Workstation, chat: Conversation) -> int:
    """Tokens that fit the chat's context: of the loaded model, else of the file; 0 when unknown."""
    running = state.running_model(chat.model)
    if running is not None:
        return running.n_ctx
    model = state.model(chat.model)
    return model.details.context_length if model else 0


def n_used_tokens(state: Workstation, chat: Conversation) -> int:
    """Tokens of the context in use; while an answer comes what the model's only busy slot holds."""
    running = state.running_model(chat.model)
    if chat.is_answering and running is not None and running.n_busy_slots == 1:
        return max(chat.n_context_tokens, running.n_kv_tokens)
    return chat.n_context_tokens


def gauge_row(state: Workstation, chat: Conversation, bar_width: int) -> Row:
    """How full the context is: "ctx 3.1k/32k ██░░ 10%"."""
    limit = context_limit(state, chat)
    if not limit:
        return ()
    used = n_used_tokens(state, chat)
    share = used / limit
    return row(
        Span("ctx ", "muted"),
        Span(f"{count_text(used)}/{context_length_text(limit)} "),
        *bar(share, bar_width, state.glyphs),
        Span(percent_text(share), "muted"),
        Span(" "),
    )


def chips_row(state: Workstation, chat: Conversation, width: int, *, has_text: bool = False) -> Row:
    """The model, how it thinks and its temperature, each to be clicked; the context gauge at the right.

    In the gauge's place stands why a text that is written cannot be sent.
    """
    down = state.glyphs.down
    model = state.model(chat.model)
    can_think = model is None or "thinking" in model.capabilities
    temperature = "auto" if chat.temperature is None else f"{chat.temperature:.1f}"
    spans = [
        Span(" "),
        Span(f" {chat.model or 'no model'} {down} ", "chip", "chat.model"),
        Span(" "),
    ]
    if can_think and width >= 60:
        spans += [Span(f" think {think_text(chat.think)} {down} ", "chip", "chat.think"), Span(" ")]
    if width >= 50:
        words = "temperature" if width >= 100 else "T"
        spans += [Span(f" {words} {temperature} {down} ", "chip", "chat.temperature"), Span(" ")]
    reason = blocked_reason(state, chat) if has_text else ""
    if width >= (110 if reason else 70):
        spans.append(Span(f" {options_text(chat, max(10, width // 5))} {down} ", "chip", "chat.options"))
    room = width - width_of(spans) - 1
    gauges = (gauge_row(state, chat, bar_width) for bar_width in ((10, 5, 0) if width >= 100 else (5, 0)))
    gauge = next((gauge for gauge in gauges if width_of(gauge) <= room), ())
    if reason:
        gauge = row(Span(fit(f"cannot send: {reason}", max(0, room - 1), "right"), "warn"), Span(" "))
    return join_ends(spans, gauge, width)


def waiting_rows(state: Workstation, chat: Conversation, width: int) -> list[Row]:
    """Above the prompt: the turn that is edited, and the prompts that wait for the answer under way."""
    rows: list[Row] = []
    if chat.editing:
        words = f" {state.glyphs.cursor} editing an earlier turn: enter keeps both, escape leaves it as it is"
        rows.append(row(Span(fit(words, width), "accent", "chat.drop_edit")))
    for index, draft in enumerate(chat.queue[:MAX_SHOWN_QUEUED]):
        words = " ".join(draft.text.split())
        n_files = len(draft.files) + len(draft.media)
        extra = f" +{n_files} file{'s' if n_files > 1 else ''}" if n_files else ""
        left = row(Span(f" {state.glyphs.waiting} ", "warn"), Span(words, "muted"))
        right = row(Span(f"{extra} waits, "), Span("remove ", "key", f"chat.unqueue{index}"))
        rows.append(join_ends(left, right, width))
    n_more = len(chat.queue) - MAX_SHOWN_QUEUED
    if n_more > 0:
        rows.append(row(Span(f"   and {n_more} more", "muted")))
    return rows


def title_row(state: Workstation, chat: Conversation, width: int) -> Row:
    """The chat's title in a rule, and how many chats are open."""
    line = state.glyphs.rule
    busy = [known for known in state.chats if known.is_answering and known is not chat]
    note = f" {len(busy)} more answering " if busy else ""
    title = f" {chat.display_title} "
    title = title if len(title) < width - len(note) - 4 else title[: max(0, width - len(note) - 6)] + "… "
    filler = line * max(0, width - len(title) - len(note) - 2)
    return row(
        Span(line, "faint"),
        Span(title, "strong", "chat.switch"),
        Span(filler, "faint"),
        Span(note, "good", "chat.switch"),
        Span(line, "faint"),
    )


def welcome_rows(state: Workstation, chat: Conversation) -> list[Row]:
    """What an empty chat shows: how to get a model, or the model with a few prompts to start from."""
    if state.models is None:
        words = "Starting." if state.connection != "down" else state.problem
        return [(), row(Span(f"  {words}", "muted"))]
    if not chat.model:
        return _no_model_rows(state)
    model = state.model(chat.model)
    rows: list[Row] = [(), row(Span(f"  {chat.model}", "title"))]
    if model is not None:
        details = model.details
        facts = [
            details.parameter_size and f"{details.parameter_size} parameters",
            details.quantization_level,
            f"context {context_length_text(details.context_length)}" if details.context_length else "",
            bytes_text(model.size_bytes),
        ]
        rows.append(row(Span("  " + " · ".join(fact for fact in facts if fact), "muted")))
    rows += [(), row(Span("  Write below, or begin with one of these:", "muted"))]
    rows += [
        row(Span(f"  {state.glyphs.prompt} ", "accent"), Span(text, "", f"chat.example{number}"))
        for number, text in enumerate(EXAMPLES)
    ]
    return rows


def _no_model_rows(state: Workstation) -> list[Row]:
    rows: list[Row] = [(), row(Span("  There is no model yet.", "strong")), ()]
    for bundled in state.bundled:
        words = f"chat with {bundled.name}: bundled, {bytes_text(bundled.size_bytes)}, no network needed"
        rows.append(
            row(
                Span(fit("  enter", KEY_WIDTH), "key", "chat.bundled"),
                Span(words, "strong", "chat.bundled"),
            )
        )
        rows.append(row(Span(" " * KEY_WIDTH + bundled.title, "muted")))
    others = (("olla create", "makes a model of a GGUF file"), ("OLLAMA_MODELS", "names another store"))
    for key, words in others:
        rows.append(row(Span(fit(f"  {key}", KEY_WIDTH), "key"), Span(words, "muted")))
    return rows


def blocked_reason(state: Workstation, chat: Conversation) -> str:
    """Why nothing can be sent now, "" when it can."""
    if state.connection == "down":
        return state.problem or "the server does not answer"
    if state.models is None:
        return "starting"
    if not chat.model:
        return "no model yet; alt+g starts one" if state.bundled else "no model yet"
    if chat.is_answering:
        return ""
    if state.model(chat.model) is None:
        return f"{chat.model} is not in the store: choose another model"
    return ""
