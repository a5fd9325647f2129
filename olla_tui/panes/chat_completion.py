"""The list above the prompt in which files and commands are completed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from olla_tui.files.walk import list_beside, list_files
from olla_tui.state.completion import (
    Candidate,
    Completion,
    Target,
    command_candidates,
    file_candidates,
    target_of,
)
from olla_tui.state.graphs import Glyphs
from olla_tui.widgets.background import run_latest
from olla_tui.widgets.board import LineBoard
from olla_tui.widgets.composer import Composer

WALK_EVERY_S = 10.0


class CompletionBoard(LineBoard):
    """Shows what can be completed where the cursor of a prompt stands; the prompt hands it its keys."""

    DEFAULT_CSS = """
    CompletionBoard { height: auto; max-height: 8; display: none; background: $surface; }
    CompletionBoard.-open { display: block; }
    """

    def __init__(self, composer: Composer, glyphs: Callable[[], Glyphs], *, root: Path) -> None:
        super().__init__(id="completions")
        self._composer = composer
        self._glyphs = glyphs
        self._root = root
        self._names: list[str] = []
        self._walked_at = float("-inf")
        self.completion = Completion()

    def look(self) -> None:
        """See what there is to complete; files are found on a thread."""
        composer = self._composer
        before = composer.document.get_text_range((0, 0), composer.cursor_location)
        target = target_of(before) if composer.has_focus else None
        if target is None:
            self._show(None, [])
        elif target.kind == "command":
            self._show(target, command_candidates(target.query))
        else:
            run_latest(self, partial(self._find_files, target), "files")

    async def _find_files(self, target: Target) -> None:
        if target.query.startswith(("/", "~", "..")):
            names = await asyncio.to_thread(list_beside, target.query, self._root)
        else:
            now = time.monotonic()
            if now - self._walked_at > WALK_EVERY_S:
                self._names = await asyncio.to_thread(list_files, self._root)
                self._walked_at = now
            names = self._names
        self._show(target, file_candidates(target.query, names))

    def _show(self, target: Target | None, candidates: list[Candidate]) -> None:
        self.completion.show(target, candidates)
        self._draw()

    def _draw(self) -> None:
        rows = self.completion.rows(self.size.width or self._composer.size.width, self._glyphs())
        n_before = len(self.rows)
        self.set_class(bool(rows), "-open")
        self.show(rows)
        if len(rows) != n_before:
            self.refresh(layout=True)

    def on_resize(self) -> None:
        """Fit the lines."""
        self._draw()

    def take_key(self, key: str) -> bool:
        """Do what a key means while the list is open; False when it means nothing here."""
        completion = self.completion
        if not completion.is_open:
            return False
        if key in ("up", "down"):
            completion.move(-1 if key == "up" else 1)
        elif key == "escape":
            completion.close()
        elif key in ("tab", "enter"):
            target, chosen = completion.target, completion.chosen()
            if target is None or (key == "enter" and self._is_written(target, chosen)):
                completion.close()
                self._draw()
                return False
            self._complete(target, chosen.text)
        else:
            return False
        self._draw()
        return True

    def _is_written(self, target: Target, chosen: Candidate) -> bool:
        """Whether the prompt holds the whole entry already, so that enter means to send it."""
        return chosen.text.lstrip("/@").strip('"') == target.query

    def _complete(self, target: Target, text: str) -> None:
        composer = self._composer
        end = composer.cursor_location
        row, column = end
        lines = composer.document.get_text_range((0, 0), end)[target.start :]
        start = (row, column - len(lines))
        is_folder = text.endswith("/")
        composer.replace(text if is_folder else f"{text} ", start, end)
        if is_folder:
            self.look()
        else:
            self.completion.show(None, [])
