"""Help for what has the focus, made from the bindings that work at that moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.dom import DOMNode
from textual.screen import ModalScreen, Screen
from textual.widgets import Static

from olla_tui.actions import ACTIONS, key_text
from olla_tui.panes.base import Pane
from olla_tui.state.rows import Row, Span, fit, row
from olla_tui.widgets.board import LineBoard

KEY_WIDTH = 22


@dataclass(frozen=True)
class HelpSection:
    """Keys of one part of the screen: (keys, what they do)."""

    title: str
    lines: tuple[tuple[str, str], ...]


def live_sections(screen: Screen[Any]) -> list[HelpSection]:
    """The bindings that the screen would obey now, by the widget that owns them, the focus first."""
    found: dict[str, dict[str, list[str]]] = {}
    for key, active in screen.active_bindings.items():
        binding = active.binding
        named = binding.id is not None or binding.show
        if not (active.enabled and named and binding.description) or binding.system or key == "none":
            continue
        node = active.node
        title = "Everywhere" if node is screen or node is screen.app else _title_of(node)
        found.setdefault(title, {}).setdefault(binding.description, []).append(key_text(key))
    order = {action.title: number for number, action in enumerate(ACTIONS)}
    sections = [
        HelpSection(
            title,
            tuple(
                # Function keys last: some terminals keep them for themselves.
                (" ".join(sorted(lines[words], key=lambda text: text.startswith("F"))), words)
                for words in sorted(lines, key=lambda words: order.get(words, len(order)))
            ),
        )
        for title, lines in found.items()
    ]
    return sorted(sections, key=lambda section: section.title == "Everywhere")


def help_text(screen: Screen[Any]) -> tuple[str, str]:
    """Title and sentences of the pane that has the focus."""
    node = screen.focused
    while node is not None:
        if isinstance(node, Pane):
            return node.pane_title, node.HELP
        parent = node.parent
        node = parent if not isinstance(parent, Screen) else None  # type: ignore[assignment]
    return "olla", "Chat with models, and see what the server does."


def _title_of(node: DOMNode) -> str:
    names = {"Composer": "Prompt", "LineTable": "List", "FilterInput": "Filter", "WelcomeBoard": "Start"}
    name = type(node).__name__
    return node.pane_title if isinstance(node, Pane) else names.get(name, name)


class HelpScreen(ModalScreen[None]):
    """The help; any of its keys closes it."""

    DEFAULT_CSS = """
    HelpScreen { align: center middle; background: $background 60%; }
    HelpScreen VerticalScroll {
        width: 84; max-width: 96%; height: auto; max-height: 92%; padding: 1 2;
        background: $surface; border: round $primary; border-title-color: $primary; border-title-style: bold;
        border-subtitle-color: $olla-muted; scrollbar-size-vertical: 1;
    }
    HelpScreen Static { height: auto; color: $foreground; margin-bottom: 1; }
    HelpScreen LineBoard { height: auto; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,f1,q,question_mark,enter,ctrl+c", "close", "Close", priority=True, id="help.close"),
    ]

    def __init__(self, title: str, text: str, sections: Sequence[HelpSection]) -> None:
        super().__init__()
        self._title = title
        self._text = text
        self._sections = tuple(sections)

    def compose(self) -> ComposeResult:
        with VerticalScroll() as box:
            box.border_title = f"Help: {self._title}"
            box.border_subtitle = "esc closes"
            yield Static(self._text, markup=False)
            yield LineBoard(id="help-keys")

    def on_mount(self) -> None:
        rows: list[Row] = []
        for section in self._sections:
            if rows:
                rows.append(())
            rows.append(row(Span(section.title, "title")))
            for keys, words in section.lines:
                rows.append(row(Span(fit(keys, KEY_WIDTH), "key"), Span(" " + words)))
        board = self.query_one("#help-keys", LineBoard)
        board.show(rows)
        board.refresh(layout=True)

    def action_close(self) -> None:
        """Close the help."""
        self.dismiss(None)
