"""The settings of one chat: system prompt, thinking, and every option of the option table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Static, TextArea

from olla_tui.screens.form import Fields
from olla_tui.state.conversation import THINK_CHOICES, Conversation, next_choice, think_text
from olla_tui.state.option_form import FormField, fields, parse_field, parse_form
from olla_tui.widgets.filter import SteadyInput
from server.errors import InvalidOption
from server.types.generation import Think
from server.types.options import OPTION_BY_NAME, OptionValue


@dataclass(frozen=True)
class ChatSettings:
    """What the form gives back."""

    system: str
    think: Think
    options: dict[str, OptionValue]


class OptionInput(SteadyInput):
    """The field of one option."""

    def __init__(self, field: FormField) -> None:
        super().__init__(
            field.text, placeholder=field.placeholder, select_on_focus=False, id=f"option-{field.spec.name}"
        )
        self.field = field


class SystemPrompt(TextArea):
    """The system prompt; tab leaves it."""

    def __init__(self, text: str) -> None:
        super().__init__(
            text, soft_wrap=True, show_line_numbers=False, highlight_cursor_line=False, id="system"
        )
        self.cursor_blink = False


class ChatOptionsScreen(ModalScreen["ChatSettings | None"]):
    """The form; the result is None when it was left.

    Tab and the arrows move, ctrl+s keeps what is written, escape leaves everything as it was. An empty field
    leaves an option to the model.
    """

    DEFAULT_CSS = """
    ChatOptionsScreen { align: center middle; background: $background 60%; }
    ChatOptionsScreen #form {
        width: 104; max-width: 96%; height: 100%; max-height: 94%; padding: 0 1; background: $surface;
        border: round $primary; border-title-color: $primary; border-title-style: bold;
        border-subtitle-color: $olla-muted;
    }
    ChatOptionsScreen #fields { height: 1fr; scrollbar-size-vertical: 1; }
    ChatOptionsScreen .heading { color: $primary; text-style: bold; height: 1; margin-top: 1; }
    ChatOptionsScreen #system-heading { margin-top: 0; }
    ChatOptionsScreen #system {
        height: 4; border: none; padding: 0 1; background: $panel; scrollbar-size-vertical: 1;
        &:focus { border: none; }
    }
    ChatOptionsScreen .field { height: 1; layout: horizontal; }
    ChatOptionsScreen .label { width: 28; height: 1; }
    ChatOptionsScreen .note {
        width: 1fr; height: 1; color: $olla-muted; padding-left: 1;
        text-wrap: nowrap; text-overflow: ellipsis;
    }
    ChatOptionsScreen OptionInput {
        width: 14; height: 1; border: none; padding: 0 1; background: $panel;
        &:focus { border: none; background: $primary 30%; }
    }
    ChatOptionsScreen #problem { height: 1; color: $warning; }
    ChatOptionsScreen #buttons { height: 1; }
    ChatOptionsScreen #buttons Button, ChatOptionsScreen #think {
        margin-right: 1; min-width: 8; padding: 0 1; background: $panel; color: $foreground;
        &:focus { background: $primary; color: $olla-tab-text; text-style: bold; }
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,ctrl+c", "leave", "Leave", show=False, priority=True, id="options.leave"),
        Binding("ctrl+s", "keep", "Keep", show=False, priority=True, id="options.keep"),
        Binding("up", "app.focus_previous", "Previous", show=False, id="options.previous"),
        Binding("down", "app.focus_next", "Next", show=False, id="options.next"),
    ]

    def __init__(self, chat: Conversation, *, can_think: bool) -> None:
        super().__init__()
        self._chat = chat
        self._think: Think = chat.think
        self._can_think = can_think

    def compose(self) -> ComposeResult:
        with Vertical(id="form") as box:
            box.border_title = "This chat"
            box.border_subtitle = "ctrl+s keeps · esc leaves"
            yield Static("System prompt", id="system-heading", classes="heading")
            yield SystemPrompt(self._chat.system)
            with Fields(id="fields"):
                if self._can_think:
                    yield Button(self._think_label(), id="think", compact=True)
                for heading, group in fields(self._chat.options):
                    yield Static(heading, classes="heading")
                    for field in group:
                        with Horizontal(classes="field"):
                            yield Static(field.label, classes="label", markup=False)
                            yield OptionInput(field)
                            yield Static(field.note, classes="note", markup=False)
            yield Static("", id="problem", markup=False)
            with Horizontal(id="buttons"):
                yield Button("Keep", id="keep", compact=True)
                yield Button("Model's own", id="reset", compact=True)
                yield Button("Cancel", id="cancel", compact=True)

    def on_mount(self) -> None:
        self.query_one("#system").focus()

    def _think_label(self) -> str:
        return f"think: {think_text(self._think)}"

    def on_input_changed(self, event: Input.Changed) -> None:
        """Say at once what is wrong with what is written."""
        event.stop()
        if isinstance(event.input, OptionInput):
            try:
                parse_field(event.input.field.spec, event.value)
            except InvalidOption as error:
                self._say(error.message)
            else:
                self._say("")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.app.action_focus_next()

    def _say(self, problem: str) -> None:
        self.query_one("#problem", Static).update(problem)

    def on_button_pressed(self, event: Button.Pressed) -> None:
        event.stop()
        if event.button.id == "think":
            self._think = next_choice(THINK_CHOICES, self._think)
            event.button.label = self._think_label()
        elif event.button.id == "keep":
            self.action_keep()
        elif event.button.id == "reset":
            for field in self.query(OptionInput):
                field.value = ""
        else:
            self.action_leave()

    def action_keep(self) -> None:
        """Keep what is written, or go to the field that is wrong."""
        inputs = {field.field.spec.name: field for field in self.query(OptionInput)}
        for name, field in inputs.items():
            try:
                parse_field(OPTION_BY_NAME[name], field.value)
            except InvalidOption as error:
                self._say(error.message)
                field.focus()
                return
        options = parse_form({name: field.value for name, field in inputs.items()})
        system = self.query_one(SystemPrompt).text.strip()
        self.dismiss(ChatSettings(system, self._think, options))

    def action_leave(self) -> None:
        """Change nothing."""
        self.dismiss(None)
