"""The transfer queue: pulls and pushes with their order, speed and limits, and downloads left unfinished."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType

from olla_tui.actions import bindings_for
from olla_tui.messages import DialogWanted
from olla_tui.panes.base import Pane
from olla_tui.state import pulls
from olla_tui.state.numbers import percent_text
from olla_tui.state.pulls import PullLine, Verb
from olla_tui.state.rows import Row, Span, row
from olla_tui.widgets.board import LineBoard
from olla_tui.widgets.table import Column, LineTable
from server.types.transfers import TransferRequest

COLUMNS = (
    Column("", 1),
    Column("model", 0),
    Column("state", 11, "left", 60),
    Column("", 12, "left", 76),
    Column("%", 4, "right"),
    Column("size", 18, "right", 110),
    Column("speed", 10, "right", 56),
    Column("left", 7, "right"),
    Column("limit", 10, "right", 116),
)


class PullsPane(Pane):
    """The table of transfers and of what earlier ones have left on the disk."""

    pane_id = "pulls"
    HELP = (
        "Models on their way here or to a registry. Three run at once, the others wait in their order. They "
        "go on when the screen is closed, as long as the server runs; what was stopped half-way stays on "
        "the disk and can go on later. Limits such as 500KB/s or 5MB/s hold at once, also while a pull runs."
    )
    BINDINGS: ClassVar[list[BindingType]] = [*bindings_for("pulls", "list")]
    DEFAULT_CSS = """
    PullsPane #pull-status { height: 1; margin-top: 1; }
    """

    def compose(self) -> ComposeResult:
        yield LineBoard(classes="pane-title")
        yield LineTable(COLUMNS, id="pulls-table")
        yield LineBoard(id="pull-status")

    @property
    def table(self) -> LineTable:
        """The table."""
        return self.query_one("#pulls-table", LineTable)

    @property
    def lines(self) -> list[PullLine]:
        """The queue as it is shown."""
        return pulls.queue_lines(self.state.transfers, self.state.partials)

    def refresh_from(self, parts: frozenset[str]) -> None:
        lines = {line.key: line for line in self.lines}
        places = pulls.places(list(lines.values()))
        self.show_title(pulls.title_note(self.state.transfers, list(lines.values())))
        self.table.show(
            list(lines),
            lambda key: self._cells(lines[key], places.get(key, 0)),
            empty=[
                (),
                row(Span("  Nothing is pulled or pushed.", "strong")),
                row(Span("  p", "key"), Span("  pulls a model by its name", "muted")),
            ],
        )
        self._show_status()
        self.refresh_bindings()

    def focus_inside(self) -> None:
        self.screen.set_focus(self.table)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        line = self._chosen()
        if action == "pause":
            return line is not None and (line.can("pause") or line.can("resume") or line.can("again"))
        if action == "move_line":
            return line is not None and line.can("move")
        if action in ("limit", "remove"):
            return line is not None and line.can(action)  # type: ignore[arg-type]
        return True

    def on_line_table_highlighted(self, event: LineTable.Highlighted) -> None:
        event.stop()
        self._show_status()
        self.refresh_bindings()

    def on_line_table_chosen(self, event: LineTable.Chosen) -> None:
        event.stop()
        self.action_pause()

    # --- actions ---

    def action_pull(self) -> None:
        """Ask for a name and pull it."""
        self.post_message(DialogWanted("pull_model"))

    def action_pause(self) -> None:
        """Let the transfer under the cursor rest, go on, or begin again."""
        line = self._chosen()
        if line is None:
            return
        transfers = self.bridge.services.transfers
        if line.can("pause"):
            self.bridge.order(transfers.pause_transfer(line.transfer_id))
        elif line.can("resume"):
            self.bridge.order(transfers.resume_transfer(line.transfer_id))
        elif line.can("again"):
            request = TransferRequest(model=line.model, insecure=line.insecure)
            self.bridge.order(transfers.start_transfer(line.kind, request))

    def action_move_line(self, step: int) -> None:
        """Move the transfer under the cursor up (-1), down (1) or to the first place (0)."""
        line = self._able("move")
        position = pulls.new_position(self.state.transfers, line.transfer_id, step) if line else None
        if line is not None and position is not None:
            self.bridge.order(self.bridge.services.transfers.move_transfer(line.transfer_id, position))

    def action_limit(self) -> None:
        """Limit the transfer under the cursor."""
        line = self._able("limit")
        if line is not None:
            self.post_message(DialogWanted("limit_transfer", str(line.transfer_id)))

    def action_limit_all(self) -> None:
        """Limit all transfers together."""
        self.post_message(DialogWanted("limit_transfer"))

    def action_remove(self) -> None:
        """Give up the transfer under the cursor, throw away what was left of it, or take it off the list."""
        line = self._able("remove")
        if line is None:
            return
        if line.is_under_way or line.state == "unfinished":
            self.post_message(DialogWanted("remove_transfer", line.key))
        else:
            self.bridge.order(self.bridge.services.transfers.forget_transfer(line.transfer_id))

    def _chosen(self) -> PullLine | None:
        key = self.table.key
        return next((line for line in self.lines if line.key == key), None)

    def _able(self, verb: Verb) -> PullLine | None:
        line = self._chosen()
        return line if line is not None and line.can(verb) else None

    # --- drawing ---

    def _show_status(self) -> None:
        line = self._chosen()
        status = row(Span(f" {line.status}", "bad" if line.state == "failed" else "muted")) if line else ()
        self.query_one("#pull-status", LineBoard).show([status])

    def _cells(self, line: PullLine, n_before: int) -> list[Row]:
        role = "" if line.is_under_way else "muted"
        mark = pulls.glyph_for(line, self.state.glyphs)
        kind = "" if line.kind == "pull" else "push "
        share = percent_text(line.fraction) if line.total_bytes else "–"
        return [
            row(mark),
            row(Span(kind, "muted"), Span(line.model or "not known", "strong" if line.is_under_way else "")),
            row(Span(pulls.state_text(line, n_before), mark.role)),
            pulls.share_bar(line, 12, self.state.glyphs),
            row(Span(share, role)),
            row(Span(pulls.size_text(line), role)),
            row(Span(pulls.speed_text(line), role)),
            row(Span(pulls.eta_text(line), role)),
            row(Span(pulls.limit_text(line.limit_bytes_per_s), "muted")),
        ]
