"""Loaded models: what they hold, what they do, how long they stay."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType

from olla_tui.actions import bindings_for
from olla_tui.messages import ChatWanted
from olla_tui.panes.base import Pane
from olla_tui.state import running
from olla_tui.state.numbers import bytes_text, rate_text
from olla_tui.state.rail import rule
from olla_tui.state.rows import Row, Span, fit, folded, row
from olla_tui.widgets.board import LineBoard
from olla_tui.widgets.scroll_board import ScrollBoard
from olla_tui.widgets.table import Column, LineTable
from server.types.models import RunningModel

COLUMNS = (
    Column("model", 0),
    Column("on", 7),
    Column("layers", 7, "right", 96),
    Column("memory", 8, "right"),
    Column("weights", 9, "right", 112),
    Column("kv cache", 9, "right", 112),
    Column("other", 8, "right", 130),
    Column("context", 9, "right", 60),
    Column("full", 10, "left", 90),
    Column("slots", 5, "right", 84),
    Column("tok/s", 6, "right", 60),
    Column("stays", 7, "right"),
)


LABEL_WIDTH = 10


class RunningPane(Pane):
    """The table of loaded models."""

    pane_id = "running"
    HELP = (
        "Models in memory. A model leaves when nobody has used it for its keep-alive time; "
        "+ and - change that time, h keeps it until it is unloaded or lets it go again, u unloads it once "
        "its open requests have ended."
    )
    BINDINGS: ClassVar[list[BindingType]] = [*bindings_for("running", "list")]

    DEFAULT_CSS = """
    RunningPane #running-detail { height: 12; display: none; }
    RunningPane.-detail #running-detail { display: block; }
    """

    def compose(self) -> ComposeResult:
        yield LineBoard(classes="pane-title")
        yield LineTable(COLUMNS, id="running-table")
        yield ScrollBoard(id="running-detail")

    @property
    def table(self) -> LineTable:
        """The table."""
        return self.query_one("#running-table", LineTable)

    def refresh_from(self, parts: frozenset[str]) -> None:
        loaded = f"{len(self.state.running)} loaded" if self.state.running else ""
        self.show_title(f"{loaded}, when last seen" if loaded and self.state.connection == "down" else loaded)
        models = {model.name: model for model in self.state.running}
        self.table.show(
            list(models),
            lambda name: self._cells(models[name]),
            empty=[
                (),
                row(Span("  No model is loaded.", "strong")),
                row(Span("  A model loads with its first request.", "muted")),
            ],
        )
        self._show_detail()

    def focus_inside(self) -> None:
        self.screen.set_focus(self.table)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "scroll":
            return self.has_class("-detail")
        if action in ("chat", "unload", "keep", "hold", "detail"):
            return bool(self.table.key)
        return True

    def on_line_table_highlighted(self, event: LineTable.Highlighted) -> None:
        event.stop()
        self._show_detail()

    def on_line_table_chosen(self, event: LineTable.Chosen) -> None:
        event.stop()
        self.action_chat()

    def action_chat(self) -> None:
        """Chat with the model under the cursor."""
        if self.table.key:
            self.post_message(ChatWanted(self.table.key))

    def action_unload(self) -> None:
        """Unload the model under the cursor."""
        if self.table.key:
            self.bridge.unload(self.table.key)

    def action_keep(self, step: int) -> None:
        """Keep the model under the cursor longer (1) or shorter (-1)."""
        model = self.state.running_model(self.table.key)
        if model is not None:
            seconds = running.stepped_keep_alive_s(model, self.bridge.clock(), step)
            self.bridge.keep_alive(model.name, seconds)

    def action_hold(self) -> None:
        """Keep the model under the cursor until it is unloaded, or let it go after its usual time."""
        model = self.state.running_model(self.table.key)
        if model is not None:
            seconds = running.RELEASED_S if running.is_held(model) else float("inf")
            self.bridge.keep_alive(model.name, seconds)

    def action_detail(self) -> None:
        """Show or hide the details."""
        self.toggle_class("-detail")
        self._show_detail()

    def action_scroll(self, step: int) -> None:
        """Scroll the details down (1) or up (-1)."""
        self.query_one("#running-detail", ScrollBoard).move(step)

    def _show_detail(self) -> None:
        model = self.state.running_model(self.table.key)
        if not self.has_class("-detail"):
            return
        rows: list[Row] = [rule("Details", self.columns, line=self.state.glyphs.rule)]
        if model is not None:
            width = max(8, min(60, self.columns - LABEL_WIDTH - 3))
            stack = running.memory_stack(model, width, self.state.glyphs)
            rows.append(row(Span(" " * (LABEL_WIDTH + 1)), *stack))
            room = max(8, self.columns - LABEL_WIDTH - 3)
            for label, text in running.detail_lines(model, self.state.now):
                for index, piece in enumerate(folded(text, room)):
                    head = fit("" if index else label, LABEL_WIDTH)
                    rows.append(row(Span(f" {head}", "muted"), Span(piece)))
        self.query_one("#running-detail", ScrollBoard).show(rows, of=self.table.key)

    def _cells(self, model: RunningModel) -> list[Row]:
        glyphs = self.state.glyphs
        busy = "good" if model.n_busy_slots else "muted"
        loading = model.state in ("starting", "loading")
        rate = running.activity_text(model, self.state.now) if loading else rate_text(model.tokens_per_s)
        return [
            row(
                Span((glyphs.busy if model.n_busy_slots else glyphs.waiting) + " ", busy),
                Span(model.name, "strong"),
                Span(f"  {running.activity_text(model, self.state.now)}" if loading else "", "warn"),
            ),
            row(Span(running.device_text(model))),
            row(Span(running.layers_text(model), "muted")),
            row(Span(bytes_text(model.size_bytes))),
            row(Span(bytes_text(model.weights_bytes), "muted")),
            row(Span(bytes_text(model.kv_bytes), "muted")),
            row(Span(bytes_text(running.other_bytes(model)), "muted")),
            row(Span(running.context_text(model))),
            running.slot_bar(model, 10, glyphs),
            row(Span(f"{model.n_busy_slots}/{model.n_slots}")),
            row(Span("–" if loading else rate, busy)),
            row(Span(running.keep_alive_text(model, self.state.now), busy)),
        ]
