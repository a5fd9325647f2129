"""A chat as data: its turns, the answer that is under way, and the request that continues it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from olla_tui.state.branches import Branches, SiblingPlace
from olla_tui.state.drafts import Draft, MediaPart, TextFile, with_files
from server.errors import Cancelled, OllaError
from server.types.generation import ChatRequest, Chunk, Completed, Origin, Think
from server.types.messages import Message
from server.types.options import OptionValue

TurnState = Literal["done", "waiting", "streaming", "stopped", "failed"]

MAX_TURNS = 10_000
"""Turns that a chat keeps; the oldest go first."""
MAX_QUEUED = 20
"""Prompts that may wait for an answer under way."""
TITLE_CHARS = 48
UNTITLED = "New chat"

THINK_CHOICES: tuple[Think, ...] = (None, False, True, "low", "medium", "high")
TEMPERATURES: tuple[float | None, ...] = (None, 0.0, 0.3, 0.7, 1.0, 1.3)
"""None leaves the temperature to the model."""


@dataclass(frozen=True)
class Turn:
    """One message and what is known about how it came to be.

    Attributes:
        at: Unix time of its beginning, seconds.
        first_token_s: seconds from sending to the first token, None before it.
        thought_s: seconds spent thinking, 0 without.
        error, hint: why the answer failed and what to do about it, "" otherwise.
        key, parent: see `olla_tui.state.branches`; 0 before the turn is in a chat.
        files, media: what went along with a prompt.
        n_thinking_tokens: output tokens that were reasoning, 0 when not known.
        edited: the user has changed an answer.
    """

    role: str
    content: str = ""
    thinking: str = ""
    model: str = ""
    at: float = 0.0
    state: TurnState = "done"
    n_prompt_tokens: int = 0
    n_output_tokens: int = 0
    tokens_per_s: float = 0.0
    first_token_s: float | None = None
    thought_s: float = 0.0
    done_reason: str = ""
    n_dropped_messages: int = 0
    error: str = ""
    hint: str = ""
    key: int = 0
    parent: int = 0
    files: tuple[TextFile, ...] = ()
    media: tuple[MediaPart, ...] = ()
    n_thinking_tokens: int = 0
    edited: bool = False

    @property
    def n_chars(self) -> int:
        """Characters of its texts and files, and bytes of its pictures."""
        attached = sum(len(file.text) for file in self.files) + sum(len(part.data) for part in self.media)
        return len(self.content) + len(self.thinking) + attached


@dataclass
class Conversation:
    """A chat. Of the shown turns only the last ever changes, and only while an answer is under way.

    Attributes:
        think: as `ChatRequest.think`.
        options: by Ollama's names; those that are not in it are left to the model.
        turns: the branch that is shown.
        aside: turns of the other branches.
        queue: prompts that wait for the answer under way.
        editing: key of the turn that the next prompt replaces, 0 for none.
        is_kept: it goes into the history.
        version: counts every change of the turns.
    """

    id: str
    model: str = ""
    title: str = ""
    system: str = ""
    think: Think = None
    options: dict[str, OptionValue] = field(default_factory=dict)
    created_at: float = 0.0
    updated_at: float = 0.0
    turns: list[Turn] = field(default_factory=list)
    aside: Branches[Turn] = field(default_factory=Branches)
    queue: list[Draft] = field(default_factory=list)
    editing: int = 0
    is_kept: bool = True
    version: int = 0
    _sent_at: float = 0.0

    def __post_init__(self) -> None:
        """Number turns that come without keys, in their order."""
        parent = 0
        for index, turn in enumerate(self.turns):
            if not turn.key:
                turn = self.turns[index] = replace(turn, key=parent + 1, parent=parent)
            parent = turn.key

    @property
    def temperature(self) -> float | None:
        """The option of that name, None when it is left to the model."""
        value = self.options.get("temperature")
        return float(value) if isinstance(value, int | float) else None

    @temperature.setter
    def temperature(self, value: float | None) -> None:
        if value is None:
            self.options.pop("temperature", None)
        else:
            self.options["temperature"] = value

    @property
    def is_answering(self) -> bool:
        """Whether an answer is under way."""
        return bool(self.turns) and self.turns[-1].state in ("waiting", "streaming")

    @property
    def is_unfinished(self) -> bool:
        """Whether it holds what no file does: prompts that wait, or a turn that is being edited."""
        return bool(self.queue or self.editing)

    @property
    def n_chars(self) -> int:
        """Of all turns, shown or not."""
        return sum(turn.n_chars for turn in (*self.turns, *self.aside.values()))

    @property
    def display_title(self) -> str:
        """The title, or a stand-in for a chat that has none yet."""
        return self.title or UNTITLED

    @property
    def n_context_tokens(self) -> int:
        """Tokens of context that the last counted answer left in use, 0 before the first."""
        for turn in reversed(self.turns):
            if turn.n_prompt_tokens:
                return turn.n_prompt_tokens + turn.n_output_tokens
        return 0

    def request(self) -> ChatRequest:
        """The request for the next answer. Failed answers and empty ones are left out."""
        messages = [Message(role="system", content=self.system)] if self.system else []
        messages.extend(
            Message(
                role=turn.role,
                content=with_files(turn.content, turn.files) if turn.files else turn.content,
                images=tuple(part.data for part in turn.media),
            )
            for turn in self.turns
            if turn.role != "assistant" or (turn.content and turn.state in ("done", "stopped"))
        )
        return ChatRequest(
            model=self.model,
            messages=tuple(messages),
            think=self.think,
            options=dict(self.options),
            drop_think_when_incapable=True,
            origin=Origin(route="chat", client="workstation"),
        )

    def ask(self, text: str, now: float, *, draft: Draft | None = None) -> None:
        """Add the user's turn, with the files of `draft`; it gives a chat without a title its title."""
        if not self.title:
            self.title = title_for(text)
        files, media = (draft.files, draft.media) if draft else ((), ())
        self._append(Turn(role="user", content=text, at=now, files=files, media=media))
        self.updated_at = now

    def take(self, draft: Draft, now: float) -> bool:
        """Take a prompt: in the place of the turn that is edited, or as the next question.

        Returns whether an answer is wanted; a changed answer wants none.
        """
        if self.editing:
            return self.replace_edited(draft.text, now, draft=draft)
        self.ask(draft.text, now, draft=draft)
        return True

    def begin_answer(self, now: float) -> ChatRequest:
        """Open the answering turn and return the request that fills it."""
        request = self.request()
        self._sent_at = now
        self._append(Turn(role="assistant", model=self.model, at=now, state="waiting"))
        return request

    def add(self, chunk: Chunk, now: float) -> None:
        """Add a piece to the answer under way."""
        if not self.is_answering:
            return
        turn = self.turns[-1]
        changes: dict[str, Any] = {"state": "streaming"}
        if turn.first_token_s is None:
            changes["first_token_s"] = now - self._sent_at
        if chunk.thinking:
            changes["thinking"] = turn.thinking + chunk.thinking
            changes["thought_s"] = now - self._sent_at - (turn.first_token_s or 0.0)
        if chunk.content:
            changes["content"] = turn.content + chunk.content
        self._change_last(**changes)

    def progress(self, n_output_tokens: int, tokens_per_s: float) -> None:
        """Take the server's counts of the answer under way; chunks may hold several tokens and tell none."""
        turn = self.turns[-1]
        if self.is_answering and (turn.n_output_tokens, turn.tokens_per_s) != (n_output_tokens, tokens_per_s):
            self._change_last(n_output_tokens=n_output_tokens, tokens_per_s=tokens_per_s)

    def complete(self, completed: Completed, now: float) -> None:
        """End the answer with the counts of the server."""
        timings = completed.timings
        turn = self.turns[-1]
        output_s = timings.output_duration_ns / 1e9
        n_output = timings.n_output_tokens or turn.n_output_tokens
        self._change_last(
            state="done",
            n_prompt_tokens=timings.n_prompt_tokens,
            n_output_tokens=n_output,
            tokens_per_s=n_output / output_s if output_s > 0 else turn.tokens_per_s,
            done_reason=completed.reason,
            n_dropped_messages=completed.n_dropped_messages,
            n_thinking_tokens=completed.n_thinking_tokens,
        )
        self.updated_at = now

    def end_with(self, error: OllaError | None, now: float) -> None:
        """End the answer without the server's `Completed`: stopped by the user, or failed with `error`."""
        if not self.is_answering:
            return
        if error is None or isinstance(error, Cancelled):
            self._change_last(state="stopped")
        else:
            self._change_last(state="failed", error=error.message, hint=error.hint)
        self.updated_at = now

    # --- branches ---

    def position(self, key: int) -> int:
        """Where a shown turn stands, -1 when it is not shown."""
        return next((at for at in range(len(self.turns) - 1, -1, -1) if self.turns[at].key == key), -1)

    def sibling_place(self, turn: Turn) -> SiblingPlace:
        """Where a shown turn stands among its siblings."""
        return self.aside.place(turn)

    def last_question(self) -> Turn | None:
        """The user's last turn."""
        return next((turn for turn in reversed(self.turns) if turn.role == "user"), None)

    def edit(self, key: int) -> str | None:
        """Let the next prompt replace a shown turn; returns its text, None when that cannot be now."""
        at = self.position(key)
        if at < 0 or self.is_answering:
            return None
        self.editing = key
        self.version += 1
        return self.turns[at].content

    def drop_edit(self) -> bool:
        """Let the next prompt follow the last turn again; False when it did."""
        was_editing, self.editing = bool(self.editing), 0
        self.version += was_editing
        return was_editing

    def replace_edited(self, text: str, now: float, *, draft: Draft | None = None) -> bool:
        """Put the edited turn aside and this text in its place; whether it is a question to be answered.

        Files and pictures of an edited question stay with it unless `draft` brings others.
        """
        at = self.position(self.editing)
        self.editing = 0
        if at < 0:
            self.ask(text, now, draft=draft)
            return True
        before = self.turns[at]
        self._put_aside(at)
        if before.role == "user":
            files = (*before.files, *(draft.files if draft else ()))
            media = (*before.media, *(draft.media if draft else ()))
            self.ask(text, now, draft=Draft(text, files, media))
            return True
        changes: dict[str, Any] = {"content": text, "at": now, "edited": True, "thinking": ""}
        self._append(replace(before, **changes, state="done", error="", hint="", n_thinking_tokens=0))
        self.updated_at = now
        return False

    def drop_answer(self, key: int = 0) -> bool:
        """Put an answer aside, the last one or the one of that key, with all that follows it.

        Returns False, and changes nothing, when an answer is under way or there is none to be made again.
        """
        at = self.position(key) if key else len(self.turns) - 1
        if at < 0 or self.turns[at].role != "assistant" or self.is_answering:
            return False
        self._put_aside(at)
        return True

    def show_sibling(self, key: int, step: int) -> bool:
        """Show the sibling `step` further than a shown turn, with what followed it; False at either end."""
        at = self.position(key)
        if at < 0 or self.is_answering:
            return False
        siblings = self.aside.siblings(self.turns[at])
        index = siblings.index(key) + step
        if not 0 <= index < len(siblings) or step == 0:
            return False
        chain = self.aside.take_chain(siblings[index])
        self._put_aside(at)
        self.turns.extend(chain)
        self.version += 1
        return True

    def _put_aside(self, at: int) -> None:
        self.aside.put(self.turns[at:])
        del self.turns[at:]
        self.editing = 0
        self.version += 1

    # --- prompts that wait ---

    def enqueue(self, draft: Draft) -> bool:
        """Let a prompt wait for the answer under way; False when too many do."""
        if len(self.queue) >= MAX_QUEUED:
            return False
        self.queue.append(draft)
        self.version += 1
        return True

    def unqueue(self, index: int) -> Draft | None:
        """Take a waiting prompt out; None when there is none of that index."""
        if not -len(self.queue) <= index < len(self.queue):
            return None
        self.version += 1
        return self.queue.pop(index)

    def _append(self, turn: Turn) -> None:
        parent = self.turns[-1].key if self.turns else 0
        key = 1 + max(parent, max(self.aside, default=0))
        self.turns.append(replace(turn, key=key, parent=parent))
        if len(self.turns) > MAX_TURNS:
            del self.turns[: len(self.turns) - MAX_TURNS]
            self.aside.forget_unreachable(self.turns)
        self.version += 1

    def _change_last(self, **changes: Any) -> None:
        self.turns[-1] = replace(self.turns[-1], **changes)
        self.version += 1


def title_for(text: str) -> str:
    """A title from the first question: its first line, cut at a word."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    if len(line) <= TITLE_CHARS:
        return line
    cut = line[:TITLE_CHARS].rsplit(" ", 1)[0]
    return cut.rstrip(",.;:") + "…"


def think_text(think: Think) -> str:
    """What the chip says: "auto", "on", "off", or the level."""
    if think is None:
        return "auto"
    if isinstance(think, bool):
        return "on" if think else "off"
    return think


def next_choice(choices: Iterable[Any], current: object) -> Any:
    """The choice after `current`, the first one after the last or after an unknown one."""
    listed = list(choices)
    for index, choice in enumerate(listed):
        if choice == current and type(choice) is type(current):
            return listed[(index + 1) % len(listed)]
    return listed[0]


def new_conversation(
    new_id: Callable[[], str], now: float, *, model: str = "", like: Conversation | None = None
) -> Conversation:
    """An empty chat, with the model and settings of `like`."""
    chat = Conversation(id=new_id(), model=model, created_at=now, updated_at=now)
    if like is not None:
        chat.model = model or like.model
        chat.think, chat.options, chat.system = like.think, dict(like.options), like.system
    return chat
