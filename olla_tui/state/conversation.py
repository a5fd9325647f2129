"""A chat as data: its turns, the answer that is under way, and the request that continues it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from server.errors import Cancelled, OllaError
from server.types.generation import ChatRequest, Chunk, Completed, Origin, Think
from server.types.messages import Message

TurnState = Literal["done", "waiting", "streaming", "stopped", "failed"]

MAX_TURNS = 10_000
"""Turns that a chat keeps; the oldest go first."""
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


@dataclass
class Conversation:
    """A chat. Only the last turn ever changes, and only while an answer is under way.

    Attributes:
        think: as `ChatRequest.think`.
        temperature: None leaves it to the model.
        version: counts every change of the turns.
    """

    id: str
    model: str = ""
    title: str = ""
    system: str = ""
    think: Think = None
    temperature: float | None = None
    created_at: float = 0.0
    updated_at: float = 0.0
    turns: list[Turn] = field(default_factory=list)
    version: int = 0
    _sent_at: float = 0.0

    @property
    def is_answering(self) -> bool:
        """Whether an answer is under way."""
        return bool(self.turns) and self.turns[-1].state in ("waiting", "streaming")

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
            Message(role=turn.role, content=turn.content)
            for turn in self.turns
            if turn.role != "assistant" or (turn.content and turn.state in ("done", "stopped"))
        )
        options: dict[str, Any] = {} if self.temperature is None else {"temperature": self.temperature}
        return ChatRequest(
            model=self.model,
            messages=tuple(messages),
            think=self.think,
            options=options,
            drop_think_when_incapable=True,
            origin=Origin(route="chat", client="workstation"),
        )

    def ask(self, text: str, now: float) -> None:
        """Add the user's turn; it gives a chat without a title its title."""
        if not self.title:
            self.title = title_for(text)
        self._append(Turn(role="user", content=text, at=now))
        self.updated_at = now

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

    def take_back(self) -> str | None:
        """Remove the last question with everything after it, and return its text; None without a question."""
        for index in range(len(self.turns) - 1, -1, -1):
            if self.turns[index].role == "user":
                text = self.turns[index].content
                del self.turns[index:]
                self.version += 1
                return text
        return None

    def drop_answer(self) -> bool:
        """Remove the last answer so that it can be made again; False when no ended answer is last."""
        if not self.turns or self.turns[-1].role != "assistant" or self.is_answering:
            return False
        self.turns.pop()
        self.version += 1
        return True

    def _append(self, turn: Turn) -> None:
        self.turns.append(turn)
        if len(self.turns) > MAX_TURNS:
            del self.turns[: len(self.turns) - MAX_TURNS]
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
        chat.think, chat.temperature = like.think, like.temperature
    return chat
