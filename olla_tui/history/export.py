"""A chat as a file for people (Markdown, HTML) and for olla (JSON), and back from JSON."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from html import escape
from typing import Any, Literal

import msgspec

from olla_tui.state.branches import Branches
from olla_tui.state.conversation import Conversation, Turn, TurnState
from olla_tui.state.drafts import MediaPart, TextFile
from server.errors import InvalidRequest
from server.types.generation import Think
from server.types.options import parse_options

ExportFormat = Literal["md", "json", "html"]
FORMATS: tuple[ExportFormat, ...] = ("md", "json", "html")

JSON_VERSION = 1
MAX_IMPORT_BYTES = 200 * 1024 * 1024

_STYLE = (
    "body{max-width:46rem;margin:2rem auto;padding:0 1rem;font:16px/1.5 system-ui,sans-serif}"
    "h2{font-size:1rem;margin:2rem 0 .3rem}h2 small{font-weight:normal;opacity:.6}"
    "pre{white-space:pre-wrap;overflow-wrap:anywhere;margin:0;font:inherit}"
    "details{opacity:.7}img{max-width:100%}"
    "@media(prefers-color-scheme:dark){body{background:#16161e;color:#c0caf5}}"
)


def export(chat: Conversation, format: ExportFormat) -> str:
    """The text of the file."""
    writers = {"md": to_markdown, "json": to_json, "html": to_html}
    return writers[format](chat)


def file_stem(chat: Conversation) -> str:
    """A name for the file that any file system takes, made of the title."""
    words = re.sub(r"[^\w]+", "-", chat.display_title.lower()).strip("-_")
    return words[:60].rstrip("-") or "chat"


def _when(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds)) if seconds else ""


def _speaker(turn: Turn) -> str:
    return {"user": "You", "assistant": turn.model or "Assistant"}.get(turn.role, turn.role.capitalize())


def to_markdown(chat: Conversation) -> str:
    """The shown branch as Markdown; answers stand as the model wrote them."""
    parts = [f"# {chat.display_title}"]
    facts = [chat.model, _when(chat.created_at)]
    parts.append(" · ".join(fact for fact in facts if fact))
    if chat.system:
        parts.append(_quoted(f"System: {chat.system}"))
    for turn in chat.turns:
        parts.append(f"## {_speaker(turn)}")
        parts += [f"*{name}*" for name in _attachments(turn)]
        if turn.thinking:
            parts.append(f"<details><summary>Thinking</summary>\n\n{turn.thinking}\n\n</details>")
        parts.append(turn.content)
        if turn.error:
            parts.append(f"*{turn.error}*")
    return "\n\n".join(part for part in parts if part) + "\n"


def _quoted(text: str) -> str:
    return "\n".join(f"> {line}".rstrip() for line in text.splitlines())


def _attachments(turn: Turn) -> Iterator[str]:
    yield from (file.name for file in turn.files)
    yield from (part.name for part in turn.media)


def to_html(chat: Conversation) -> str:
    """The shown branch as a page of its own that loads nothing; what was written is escaped throughout."""
    title = escape(chat.display_title)
    body = [f"<h1>{title}</h1>", f"<p>{escape(chat.model)} {escape(_when(chat.created_at))}</p>"]
    if chat.system:
        body.append(f"<blockquote><pre>{escape(chat.system)}</pre></blockquote>")
    for turn in chat.turns:
        body.append(f"<h2>{escape(_speaker(turn))} <small>{escape(_when(turn.at))}</small></h2>")
        body += [f"<p><em>{escape(name)}</em></p>" for name in _attachments(turn)]
        body += [_picture(part) for part in turn.media if part.data.startswith(b"\x89PNG")]
        if turn.thinking:
            body.append(f"<details><summary>Thinking</summary><pre>{escape(turn.thinking)}</pre></details>")
        body.append(f"<pre>{escape(turn.content)}</pre>")
        if turn.error:
            body.append(f"<p><em>{escape(turn.error)}</em></p>")
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_STYLE}</style></head>\n<body>\n" + "\n".join(body) + "\n</body></html>\n"
    )


def _picture(part: MediaPart) -> str:
    data = base64.b64encode(part.data).decode()
    return f'<img alt="{escape(part.name)}" src="data:image/png;base64,{data}">'


class FileTurn(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A turn in a JSON file; names are those of `Turn`."""

    key: int
    parent: int = 0
    role: str
    content: str = ""
    thinking: str = ""
    model: str = ""
    at: float = 0.0
    state: TurnState = "done"
    n_prompt_tokens: int = 0
    n_output_tokens: int = 0
    n_thinking_tokens: int = 0
    tokens_per_s: float = 0.0
    first_token_s: float | None = None
    thought_s: float = 0.0
    done_reason: str = ""
    n_dropped_messages: int = 0
    error: str = ""
    hint: str = ""
    edited: bool = False
    files: tuple[TextFile, ...] = ()
    media: tuple[MediaPart, ...] = ()


class FileChat(msgspec.Struct, kw_only=True):
    """A chat in a JSON file: `olla_chat` is the version of the format, `shown` are keys of turns."""

    olla_chat: int
    title: str = ""
    model: str = ""
    system: str = ""
    think: Think = None
    options: dict[str, Any] = {}
    created_at: float = 0.0
    updated_at: float = 0.0
    shown: list[int]
    turns: list[FileTurn]


def to_json(chat: Conversation) -> str:
    """All branches, with everything that is known of each turn."""
    turns = sorted((*chat.turns, *chat.aside.values()), key=lambda turn: turn.key)
    names = FileTurn.__struct_fields__
    whole = FileChat(
        olla_chat=JSON_VERSION,
        title=chat.title,
        model=chat.model,
        system=chat.system,
        think=chat.think,
        options=dict(chat.options),
        created_at=chat.created_at,
        updated_at=chat.updated_at,
        shown=[turn.key for turn in chat.turns],
        turns=[FileTurn(**{name: getattr(turn, name) for name in names}) for turn in turns],
    )
    return msgspec.json.format(msgspec.json.encode(whole), indent=1).decode() + "\n"


def from_json(data: bytes, new_id: str) -> Conversation:
    """The chat of a file of ours, under a new id. Raises: InvalidRequest with what is wrong with it."""
    try:
        whole = msgspec.json.decode(data, type=FileChat)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(
            f"this is no chat that olla has written: {error}", hint="`/export json` writes one."
        ) from None
    if whole.olla_chat > JSON_VERSION:
        raise InvalidRequest("the chat was written by a newer olla", hint="Update olla.")
    turns = {
        turn.key: Turn(**{name: getattr(turn, name) for name in FileTurn.__struct_fields__})
        for turn in whole.turns
    }
    _check(whole, turns)
    shown = [turns.pop(key) for key in whole.shown]
    return Conversation(
        id=new_id,
        title=whole.title,
        model=whole.model,
        system=whole.system,
        think=whole.think,
        options=parse_options(whole.options),
        created_at=whole.created_at,
        updated_at=whole.updated_at,
        turns=[_ended(turn) for turn in shown],
        aside=Branches(_ended(turn) for turn in turns.values()),
    )


def _check(whole: FileChat, turns: dict[int, Turn]) -> None:
    """Raises: InvalidRequest unless the turns make a tree and the shown ones a branch of it."""
    problem = ""
    if len(turns) != len(whole.turns) or any(key < 1 for key in turns):
        problem = "two turns have the same key"
    elif any(turn.parent >= turn.key or turn.parent < 0 for turn in turns.values()):
        problem = "a turn follows a later one"
    elif any(key not in turns for key in whole.shown):
        problem = "a shown turn is missing"
    elif any(turns[key].parent != before for before, key in zip(whole.shown, whole.shown[1:], strict=False)):
        problem = "the shown turns do not follow each other"
    if problem:
        raise InvalidRequest(f"this chat is damaged: {problem}")


def _ended(turn: Turn) -> Turn:
    return turn if turn.state in ("done", "stopped", "failed") else replace(turn, state="stopped")
