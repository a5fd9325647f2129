"""A dialog with several fields, checked while one types."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Label, Static

from olla_tui.widgets.filter import SteadyInput


class Fields(VerticalScroll, can_focus=False, inherit_bindings=False):
    """Holds fields below each other; up and down are the form's, which goes from one to the next by them."""


class FormScreen(ModalScreen[dict[str, str]]):
    """Fields below each other; the result is their texts by id, empty for none.

    Tab, up and down move between the fields, enter goes on and at the end takes the form, escape leaves.
    """

    DEFAULT_CSS = """
    FormScreen { align: center middle; background: $background 60%; }
    FormScreen #form {
        width: 72; max-width: 96%; height: auto; max-height: 96%; padding: 0 1;
        background: $surface; border: round $primary; border-title-color: $primary; border-title-style: bold;
    }
    FormScreen #form-fields { height: auto; margin-top: 1; scrollbar-size-vertical: 1; }
    FormScreen #form-fields Horizontal { height: 1; margin-bottom: 1; }
    FormScreen Label { width: 16; color: $olla-muted; }
    FormScreen Input { width: 1fr; height: 1; border: none; padding: 0 1; background: $panel; }
    FormScreen Input:focus { border: none; }
    FormScreen #form-problem { height: auto; min-height: 1; color: $warning; }
    FormScreen #form-buttons { height: 1; margin: 1 0; }
    FormScreen #form-buttons Button {
        margin-right: 1; min-width: 8; padding: 0 1; background: $panel; color: $foreground;
        &:focus { background: $primary; color: $olla-tab-text; text-style: bold; }
        &:disabled { color: $olla-muted; background: $surface; }
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,ctrl+c", "leave", "Leave", show=False, priority=True, id="form.leave"),
        Binding("up", "app.focus_previous", "Previous", show=False, id="form.previous"),
        Binding("down", "app.focus_next", "Next", show=False, id="form.next"),
    ]

    def __init__(
        self,
        title: str,
        fields: Sequence[tuple[str, str, str]],
        values: Mapping[str, str],
        label: str,
        check: Callable[[Mapping[str, str]], str],
    ) -> None:
        """Make the dialog.

        Args:
            fields: (id, label, placeholder) in order.
            values: what stands there at first.
            check: says what is wrong with the texts, "" when they will do.
        """
        super().__init__()
        self._title = title
        self._fields = tuple(fields)
        self._first = dict(values)
        self._label = label
        self._check = check

    def compose(self) -> ComposeResult:
        with Vertical(id="form") as box:
            box.border_title = self._title
            with Fields(id="form-fields"):
                for name, label, placeholder in self._fields:
                    with Horizontal():
                        yield Label(label)
                        value = self._first.get(name, "")
                        yield SteadyInput(
                            value, placeholder=placeholder, select_on_focus=False, id=f"field-{name}"
                        )
            yield Static("", id="form-problem", markup=False)
            with Horizontal(id="form-buttons"):
                yield Button(self._label, id="form-take", compact=True)
                yield Button("Cancel", id="form-leave", compact=True)

    def on_mount(self) -> None:
        self._tell()
        self.query(Input).first().focus()

    @property
    def values(self) -> dict[str, str]:
        """The texts by field."""
        return {name: self.query_one(f"#field-{name}", Input).value for name, _, _ in self._fields}

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self._tell()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        if event.input.id == f"field-{self._fields[-1][0]}":
            self.action_take()
        else:
            self.focus_next()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        event.stop()
        if event.button.id == "form-take":
            self.action_take()
        else:
            self.action_leave()

    def action_take(self) -> None:
        """Take the form, when nothing is wrong with it."""
        if not self._tell():
            self.dismiss(self.values)

    def action_leave(self) -> None:
        """Take nothing."""
        self.dismiss({})

    def _tell(self) -> str:
        problem = self._check(self.values)
        self.query_one("#form-problem", Static).update(problem)
        self.query_one("#form-take", Button).disabled = bool(problem)
        return problem
