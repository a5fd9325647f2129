"""What can be completed where the cursor stands in a prompt, and how the list of it is walked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from olla_tui.state.commands import COMMANDS
from olla_tui.state.fuzzy import best
from olla_tui.state.graphs import Glyphs
from olla_tui.state.rows import Row, Span, fit_row, row

MAX_SHOWN = 8

_FILE = re.compile(r'(?:^|(?<=\s))@(?:"([^"\n]*)|(\S*))$')
_COMMAND = re.compile(r"/([a-z]*)$")


class Target(NamedTuple):
    """The part of a prompt that is completed: from `start` up to the cursor.

    Attributes:
        query: what stands there without its mark.
    """

    kind: Literal["file", "command"]
    start: int
    query: str


class Candidate(NamedTuple):
    """One entry: what is written for it, and a note beside it."""

    text: str
    note: str = ""


def target_of(before: str) -> Target | None:
    """What is to be completed, given the text before the cursor."""
    if match := _COMMAND.fullmatch(before):
        return Target("command", 0, match[1])
    if match := _FILE.search(before):
        return Target("file", match.start(), match[1] if match[1] is not None else match[2])
    return None


def command_candidates(query: str) -> list[Candidate]:
    """Commands that match."""
    known = {command.name: command for command in COMMANDS}
    names = sorted(best(query, known, len(known)), key=lambda name: (not name.startswith(query), name))
    return [Candidate(f"/{name}", f"{known[name].argument} {known[name].help}".strip()) for name in names]


def file_candidates(query: str, names: Sequence[str]) -> list[Candidate]:
    """Files that match, as they are written into the prompt."""
    return [Candidate(written(name)) for name in best(query, names, 100)]


def written(name: str) -> str:
    """How a prompt names a file."""
    return f'@"{name}"' if re.search(r"\s", name) else f"@{name}"


@dataclass
class Completion:
    """The list that is open, and the entry that is chosen in it."""

    target: Target | None = None
    candidates: list[Candidate] = field(default_factory=list)
    cursor: int = 0
    dropped: Target | None = None  # the user has closed the list here

    @property
    def is_open(self) -> bool:
        """Whether there is something to choose."""
        return self.target is not None and bool(self.candidates)

    def show(self, target: Target | None, candidates: Sequence[Candidate]) -> None:
        """Take another list; the cursor goes to its best entry."""
        if target is None or self.dropped is None or target.start != self.dropped.start:
            self.dropped = None
        hidden = self.dropped is not None
        self.target = None if hidden else target
        self.candidates = [] if hidden else list(candidates)
        self.cursor = 0

    def move(self, step: int) -> None:
        """Move the cursor, around both ends."""
        self.cursor = (self.cursor + step) % max(1, len(self.candidates))

    def close(self) -> None:
        """Close the list until something else is completed."""
        self.dropped, self.target, self.candidates = self.target, None, []

    def chosen(self) -> Candidate:
        """The entry under the cursor. Raises: IndexError when the list is empty."""
        return self.candidates[self.cursor]

    def rows(self, width: int, glyphs: Glyphs) -> list[Row]:
        """The list as lines, a part of it around the cursor when it is long."""
        if not self.is_open:
            return []
        first = min(max(0, self.cursor - MAX_SHOWN + 1), max(0, len(self.candidates) - MAX_SHOWN))
        column = min(max(len(entry.text) for entry in self.candidates) + 2, max(12, width // 2))
        rows: list[Row] = []
        for index, entry in enumerate(self.candidates[first : first + MAX_SHOWN], start=first):
            here = index == self.cursor
            mark = Span(f" {glyphs.cursor} " if here else "   ", "accent")
            name = fit_row((Span(entry.text, "strong" if here else ""),), column if entry.note else width - 3)
            rows.append(fit_row(row(mark, *name, Span(entry.note, "muted")), width))
        return rows
