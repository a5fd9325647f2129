"""GPUs with their graphs and memory; the processor in the same geometry where there is no GPU."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType

from olla_tui.actions import bindings_for
from olla_tui.panes.base import Pane
from olla_tui.state import devices
from olla_tui.state.rail import rule
from olla_tui.state.rows import Row, Span, row
from olla_tui.widgets.board import LineBoard


class DeviceBoard(LineBoard, can_focus=True):
    """The graphs; it takes the focus so that the pane's keys work."""


class GpusPane(Pane):
    """A graph, a stacked memory bar and the facts of every device."""

    pane_id = "gpus"
    HELP = (
        "Each device's utilization over time and its memory: weights of models, their KV caches, and what "
        "other programs hold. [ and ] change the time window."
    )
    BINDINGS: ClassVar[list[BindingType]] = [*bindings_for("gpus", "list")]
    DEFAULT_CSS = """
    GpusPane DeviceBoard { height: 1fr; }
    """

    _window = 1

    def compose(self) -> ComposeResult:
        yield DeviceBoard(id="devices")

    @property
    def window_s(self) -> int:
        """Seconds that the graphs cover."""
        return devices.WINDOWS_S[self._window]

    def focus_inside(self) -> None:
        self.query_one("#devices").focus()

    def refresh_from(self, parts: frozenset[str]) -> None:
        self.query_one("#devices", LineBoard).show(self._rows(self.columns - 1, self.size.height))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "window" and parameters:
            return 0 <= self._window + int(str(parameters[0])) < len(devices.WINDOWS_S)
        return True

    def action_window(self, step: int) -> None:
        """Cover a longer (1) or shorter (-1) time."""
        self._window = min(max(0, self._window + step), len(devices.WINDOWS_S) - 1)
        self.refresh_from(frozenset())

    def _rows(self, width: int, height: int) -> list[Row]:
        state = self.state
        views = state.devices
        has_gpu = any(view.device.kind == "gpu" for view in views)
        note = [row(Span(f" {state.device_note}", "muted"))] if state.device_note and not has_gpu else []
        if not views:
            return [(), row(Span("  Waiting for the first measurement.", "muted"))]
        per_device = max(6, (height - len(note)) // len(views))
        rows: list[Row] = []
        for view in views:
            facts = devices.facts_text(view.device)
            # Title, two lines of memory, facts where there are any, and an empty line below.
            graph_height = min(14, max(2, per_device - 4 - bool(facts)))
            rows.append(rule(view.label, width, view.device.name, line=state.glyphs.rule))
            rows += devices.graph_rows(view, width, graph_height, self.window_s, state.glyphs)
            share = devices.share_of(view, views)
            rows += devices.memory_rows(view, state.running, width, state.glyphs, share=share)
            if facts:
                rows.append(row(Span(f" {facts}", "muted")))
            rows.append(())
        return [*rows[: height - len(note)], *note]
