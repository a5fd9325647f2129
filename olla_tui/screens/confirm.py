"""Dialogs that ask before something is lost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.suggester import SuggestFromList
from textual.widgets import Button, Input, Static

from olla_tui.state.layout import MIN_ROWS
from olla_tui.widgets.filter import SteadyInput

CRAMPED_BELOW = 44
"""Columns that the longest row of answers needs within its frame."""


class ChoiceScreen(ModalScreen[str]):
    """A question with a few answers; the result is the chosen answer's id, "" for none.

    The keys left, right, up and down move between the answers, enter takes one, escape none.
    """

    DEFAULT_CSS = """
    ChoiceScreen { align: center middle; background: $background 60%; }
    ChoiceScreen #dialog {
        width: 64; max-width: 96%; height: auto; max-height: 96%;
        padding: 1 2; background: $surface; border: round $primary;
    }
    ChoiceScreen #dialog-title { text-style: bold; height: auto; margin-bottom: 1; }
    ChoiceScreen #dialog-lines { height: auto; scrollbar-size-vertical: 1; }
    ChoiceScreen .dialog-line { height: auto; color: $olla-muted; }
    ChoiceScreen #dialog-input { margin-top: 1; }
    ChoiceScreen #dialog-buttons { height: auto; margin-top: 1; align-horizontal: left; }
    ChoiceScreen #dialog-buttons Button {
        margin-right: 1; min-width: 8; padding: 0 1; background: $panel; color: $foreground;
        &:focus { background: $primary; color: $olla-tab-text; text-style: bold; }
        &.-error:focus { background: $error; color: $background; }
        &:disabled { color: $olla-muted; background: $surface; }
    }
    ChoiceScreen.-cramped #dialog { width: 100%; max-width: 100%; max-height: 100%; padding: 0 1; }
    ChoiceScreen.-cramped #dialog-title { margin: 0; }
    ChoiceScreen.-cramped #dialog-buttons { layout: vertical; margin: 0; }
    ChoiceScreen.-cramped #dialog-input { margin: 0; }
    ChoiceScreen.-short #dialog { height: 100%; }
    ChoiceScreen.-short #dialog-lines { height: 1fr; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,ctrl+c", "answer('')", "Cancel", show=False, priority=True, id="dialog.cancel"),
        Binding("left,up", "app.focus_previous", "Previous", show=False, id="dialog.previous"),
        Binding("right,down", "app.focus_next", "Next", show=False, id="dialog.next"),
    ]

    def __init__(
        self, title: str, lines: Sequence[str], answers: Sequence[tuple[str, str]], *, danger: str = ""
    ) -> None:
        """Make the dialog.

        Args:
            answers: (id, label), the first one is taken by enter.
            danger: id of the answer that loses something.
        """
        super().__init__()
        self._title = title
        self._lines = tuple(lines)
        self._answers = tuple(answers)
        self._danger = danger

    def compose(self) -> ComposeResult:
        with Vertical(id="dialog"):
            yield Static(self._title, id="dialog-title", markup=False)
            with VerticalScroll(id="dialog-lines", can_focus=False):
                for line in self._lines:
                    yield Static(line, classes="dialog-line", markup=False)
            yield from self.compose_input()
            with Horizontal(id="dialog-buttons"):
                for answer, label in self._answers:
                    variant = "error" if answer == self._danger else "default"
                    yield Button(label, id=f"answer-{answer}", variant=variant, compact=True)  # type: ignore[arg-type]

    def compose_input(self) -> ComposeResult:
        """Fields between the lines and the answers; none here."""
        yield from ()

    def on_mount(self) -> None:
        self._fit()
        self.begin()

    def on_resize(self) -> None:
        self._fit()

    def _fit(self) -> None:
        """Where there is little room, give up blank lines, stack the answers, and let the words scroll."""
        size = self.app.size
        is_short = size.height < MIN_ROWS
        self.set_class(is_short or size.width < CRAMPED_BELOW, "-cramped")
        self.set_class(is_short, "-short")

    def begin(self) -> None:
        """Give the focus to what is answered first."""
        self.query(Button).first().focus()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        event.stop()
        self.action_answer((event.button.id or "").removeprefix("answer-"))

    def action_answer(self, answer: str) -> None:
        """Close the dialog with an answer."""
        self.dismiss(answer)


class TypedConfirmScreen(ChoiceScreen):
    """A question that is answered by typing a name, for what cannot be taken back."""

    def __init__(self, title: str, lines: Sequence[str], name: str, label: str) -> None:
        """Make the dialog; the result is "yes" once `name` is typed."""
        super().__init__(title, lines, (("yes", label), ("", "Cancel")), danger="yes")
        self._name = name

    def compose_input(self) -> ComposeResult:
        yield SteadyInput(placeholder=f"type {self._name}", id="dialog-input")

    def begin(self) -> None:
        self.query_one("#answer-yes", Button).disabled = True
        self.query_one("#dialog-input", Input).focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self.query_one("#answer-yes", Button).disabled = event.value.strip() != self._name

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        if event.value.strip() == self._name:
            self.action_answer("yes")


class AskTextScreen(ChoiceScreen):
    """A question that is answered by a line of text; the result is the text, "" for none."""

    DEFAULT_CSS = """
    AskTextScreen #dialog-problem { height: auto; color: $warning; }
    """

    def __init__(
        self,
        title: str,
        text: str,
        label: str,
        *,
        lines: Sequence[str] = (),
        placeholder: str = "",
        check: Callable[[str], str] = lambda text: "",
        suggestions: Sequence[str] = (),
    ) -> None:
        """Make the dialog.

        Args:
            text: what stands there at first.
            check: says what is wrong with a text, "" when it will do.
            suggestions: texts that what is typed is completed to.
        """
        super().__init__(title, lines, (("yes", label), ("", "Cancel")))
        self._text = text
        self._placeholder = placeholder
        self._check = check
        self._suggestions = tuple(suggestions)

    def compose_input(self) -> ComposeResult:
        known = SuggestFromList(self._suggestions, case_sensitive=False) if self._suggestions else None
        yield SteadyInput(
            self._text,
            placeholder=self._placeholder,
            select_on_focus=False,
            suggester=known,
            id="dialog-input",
        )
        yield Static("", id="dialog-problem", markup=False)

    def begin(self) -> None:
        self._show_problem(self._text, told=bool(self._text))
        self.query_one("#dialog-input", Input).focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self._show_problem(event.value, told=bool(event.value))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        if self._show_problem(event.value, told=True):
            self.action_answer("yes")

    def _show_problem(self, text: str, *, told: bool) -> bool:
        problem = self._check(text)
        self.query_one("#answer-yes", Button).disabled = bool(problem)
        self.query_one("#dialog-problem", Static).update(problem if told else "")
        return not problem

    def action_answer(self, answer: str) -> None:
        """Close the dialog with the text."""
        self.dismiss(self.query_one("#dialog-input", Input).value.strip() if answer == "yes" else "")


def quit_dialog(address: str, n_open: int) -> ChoiceScreen:
    """The question before the screen closes; answers "quit", "keep" or ""."""
    work = f"{n_open} open request{'s' if n_open != 1 else ''} will be cancelled." if n_open else ""
    lines = [*([work] if work else []), f"The server at {address} runs inside this process."]
    answers = (("quit", "Quit"), ("keep", "Keep serving"), ("", "Stay"))
    return ChoiceScreen("Quit olla?", lines, answers, danger="quit")
