"""One prompt put to several models: their answers, how two of them differ, and who was voted for."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from rich.cells import cell_len

from olla_tui.state.conversation import Conversation
from olla_tui.state.drafts import Draft
from olla_tui.state.rows import Row, Span, printable, row

MAX_MODELS = 6
MIN_COLUMN_CELLS = 56
"""A narrower column is shown by itself."""
MAX_DIFF_WORDS = 5000
"""Words of each answer that are compared."""


@dataclass
class Comparison:
    """Chats that begin with the same turns, one for each model.

    Attributes:
        winner: index of the answer that was voted for, -1 before a vote.
    """

    prompt: Draft
    chats: list[Conversation]
    winner: int = -1

    @property
    def is_answering(self) -> bool:
        """Whether any answer is under way."""
        return any(chat.is_answering for chat in self.chats)

    def answer(self, index: int) -> str:
        """The text of an answer as far as it came."""
        turns = self.chats[index].turns
        return turns[-1].content if turns and turns[-1].role == "assistant" else ""


def begin(
    prompt: Draft, models: Sequence[str], like: Conversation, new_id: Callable[[], str], now: float
) -> Comparison:
    """Chats that go on from where `like` stands, which stays as it is; they are kept nowhere yet."""
    chats = []
    for model in models[:MAX_MODELS]:
        chat = Conversation(
            id=new_id(),
            model=model,
            title=like.title,
            system=like.system,
            think=like.think,
            options=dict(like.options),
            created_at=now,
            updated_at=now,
            turns=list(like.turns),
            is_kept=False,
        )
        chat.ask(prompt.text, now, draft=prompt)
        chats.append(chat)
    return Comparison(prompt, chats)


def columns_that_fit(count: int, width: int) -> int:
    """How many answers are shown side by side: all of them, or one."""
    return count if width >= count * MIN_COLUMN_CELLS else 1


def diff_rows(left: str, right: str, width: int, *, names: tuple[str, str] = ("", "")) -> list[Row]:
    """Two texts as one: what only the left has is marked "-", what only the right has "+", word by word.

    Marks stand beside colours, which a terminal may not have: [-gone-] {+come+}, as git's word diff.
    """
    a, b = _words(left), _words(right)
    spans: list[tuple[str, str]] = []
    for tag, a0, a1, b0, b1 in SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        if tag == "equal":
            spans.append(("".join(a[a0:a1]), ""))
            continue
        if gone := "".join(a[a0:a1]):
            spans.append((_marked(gone, "[-", "-]"), "bad"))
        if come := "".join(b[b0:b1]):
            spans.append((_marked(come, "{+", "+}"), "good"))
    head = row(Span(f"[-{names[0]}-] ", "bad"), Span(f"{{+{names[1]}+}}", "good"))
    n_same = sum(len(text) for text, role in spans if not role)
    share = 2 * n_same / max(1, len(left) + len(right))
    note = row(Span(f"{share:.0%} the same", "muted"))
    return [head, note, (), *_wrapped(spans, max(1, width))]


def _words(text: str) -> list[str]:
    return re.findall(r"\n|[^\S\n]+|\w+|[^\w\s]", text)[:MAX_DIFF_WORDS]


def _marked(text: str, begin_mark: str, end_mark: str) -> str:
    """A text with marks around each of its lines."""
    lines = text.split("\n")
    return "\n".join(f"{begin_mark}{line}{end_mark}" if line.strip() else line for line in lines)


def _wrapped(spans: Iterable[tuple[str, str]], width: int) -> list[Row]:
    """Spans as lines of at most `width` cells; a word that is longer is cut."""
    rows: list[Row] = []
    line: list[Span] = []
    room = width

    def end_line() -> None:
        nonlocal line, room
        rows.append(tuple(line))
        line, room = [], width

    for text, role in spans:
        for index, part in enumerate(text.split("\n")):
            if index:
                end_line()
            for piece in re.findall(r"\s+|\S+", printable(part)):
                piece = piece[:room] if piece.isspace() else piece
                while piece and cell_len(piece) > room:
                    if not line:
                        head = _head(piece, room)
                        line.append(Span(head, role))
                        piece = piece[len(head) :]
                    end_line()
                if piece:
                    line.append(Span(piece, role))
                    room -= cell_len(piece)
    return [*rows, tuple(line)]


def _head(text: str, n_cells: int) -> str:
    """As much of a text's beginning as fits, one character at least."""
    used = 0
    for index, char in enumerate(text):
        used += cell_len(char)
        if used > n_cells and index:
            return text[:index]
    return text


def tally_text(votes: Iterable[tuple[str, str, int]], models: Sequence[str]) -> str:
    """The votes among some models: "qwen3 4, llama3.2 1"; "" before the first."""
    counts = dict.fromkeys(models, 0)
    for winner, loser, count in votes:
        if winner in counts and loser in counts:
            counts[winner] += count
    if not any(counts.values()):
        return ""
    ranked = sorted(counts.items(), key=lambda item: -item[1])
    return ", ".join(f"{name} {count}" for name, count in ranked)
