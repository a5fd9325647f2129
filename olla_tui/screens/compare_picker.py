"""Chooses the models that one prompt is put to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.binding import Binding, BindingType

from olla_tui.screens.model_picker import MODEL_COLUMNS, model_lines
from olla_tui.screens.picker import PickerScreen
from olla_tui.state.comparison import MAX_MODELS
from olla_tui.state.rows import Row, Span
from olla_tui.state.workstation import Workstation


class ComparePicker(PickerScreen):
    """The list of models with marks; the result is the marked names, one a line, "" for none.

    Tab marks a model, enter starts with those that are marked.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "mark", "Mark", show=False, priority=True, id="compare.mark"),
    ]

    def __init__(self, state: Workstation, marked: Sequence[str]) -> None:
        self._state = state
        self._marked = list(marked)
        super().__init__("Compare: choose models", MODEL_COLUMNS, model_lines(state), current="")

    def on_mount(self) -> None:
        super().on_mount()
        self._say()

    def cells_of(self, key: str) -> Sequence[Row]:
        first, *others = super().cells_of(key)
        glyphs = self._state.glyphs
        mark = Span(f"{glyphs.ok} ", "good") if key in self._marked else Span("  ")
        return ((mark, *first), *others)

    def _say(self) -> None:
        box = self.query_one("#picker")
        count = len(self._marked)
        ready = "enter asks them" if count > 1 else "mark two or more"
        box.border_subtitle = f"{count} marked · tab marks, {ready}, esc leaves"
        self.show_again()

    def action_mark(self) -> None:
        """Mark the model under the cursor, or take its mark."""
        key = self.table.key
        if key in self._marked:
            self._marked.remove(key)
        elif key and len(self._marked) < MAX_MODELS:
            self._marked.append(key)
        self._say()

    def action_choose(self) -> None:
        """Take the marked models, two at least."""
        if len(self._marked) > 1:
            self.dismiss("\n".join(self._marked))
