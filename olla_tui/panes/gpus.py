"""GPUs with their graphs and memory; the processor in the same geometry where there is no GPU."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType

from olla_tui.actions import bindings_for
from olla_tui.bridge import Bridge
from olla_tui.panes.base import Pane
from olla_tui.state import devices, timeline
from olla_tui.state.devices import DeviceView
from olla_tui.state.rail import rule
from olla_tui.state.rows import Row, Span, row
from olla_tui.widgets.board import LineBoard
from server.types.history import StatusHistory

MIN_HEIGHT_WITH_RATE = 30
MAX_GRAPH_ROWS, MAX_RATE_ROWS = 22, 10
MIN_GRAPH_ROWS = 4
OWN_GRAPH_S = 120
"""Up to here the screen's own samples are finer than those of the server."""


class DeviceBoard(LineBoard, can_focus=True):
    """The graphs; it takes the focus so that the pane's keys work."""


class GpusPane(Pane):
    """A graph, a stacked memory bar and the facts of every device."""

    pane_id = "gpus"
    HELP = (
        "Each device's utilization over time and its memory: weights of models, their KV caches, and what "
        "other programs hold. [ and ] change the time window, from a minute to a day; left and right look at "
        "an earlier or later moment of it, end at what is now."
    )
    BINDINGS: ClassVar[list[BindingType]] = [*bindings_for("gpus", "list")]
    DEFAULT_CSS = """
    GpusPane DeviceBoard { height: 1fr; }
    """

    def __init__(self, bridge: Bridge) -> None:
        super().__init__(bridge)
        self._window = 1
        self._look = timeline.Look()

    def compose(self) -> ComposeResult:
        yield DeviceBoard(id="devices")

    @property
    def window_s(self) -> int:
        """Seconds that the graphs cover."""
        return devices.WINDOWS_S[self._window]

    def focus_inside(self) -> None:
        self.screen.set_focus(self.query_one("#devices"))

    def refresh_from(self, parts: frozenset[str]) -> None:
        self.bridge.watch_history(self.window_s)
        self.query_one("#devices", LineBoard).show(self._rows(self.columns - 1, self.size.height))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "window" and parameters:
            return 0 <= self._window + int(str(parameters[0])) < len(devices.WINDOWS_S)
        if action in ("look", "now"):
            return bool(self._remembered())
        return True

    def action_window(self, step: int) -> None:
        """Cover a longer (1) or shorter (-1) time."""
        self._window = min(max(0, self._window + step), len(devices.WINDOWS_S) - 1)
        self.refresh_from(frozenset())

    def action_look(self, step: int) -> None:
        """Look at the figures of an earlier (1) or later (-1) moment."""
        self._look.move(step)
        self.refresh_from(frozenset())

    def action_now(self) -> None:
        """Look at what is now."""
        self._look.to_now()
        self.refresh_from(frozenset())

    def _remembered(self) -> StatusHistory | None:
        history = self.state.history
        return history if history is not None and history.n_active else None

    def _rows(self, width: int, height: int) -> list[Row]:
        state, history = self.state, self._remembered()
        views = state.devices
        has_gpu = any(view.device.kind == "gpu" for view in views)
        note = [row(Span(f" {state.device_note}", "muted"))] if state.device_note and not has_gpu else []
        if not views:
            return [(), row(Span("  Waiting for the first measurement.", "muted"))]
        rows: list[Row] = []
        if history is not None and self._look.is_back:
            slot = self._look.slot(history)
            rows.append(row(Span(f" {timeline.at_words(history, slot)}", "accent")))
        n_graphs = len(views) + (history is not None and height >= MIN_HEIGHT_WITH_RATE)
        per_graph = max(6, (height - len(note) - len(rows)) // n_graphs)
        for index, view in enumerate(views):
            rows += self._device_rows(view, index, width, per_graph)
        if n_graphs > len(views) and history is not None:
            rows.append(rule("Requests", width, "tokens a second", line=state.glyphs.rule))
            n_rows = min(MAX_RATE_ROWS, max(2, per_graph - 3))
            graph = timeline.rate_graph(history, width, n_rows, state.glyphs)
            rows += self._with_mark(graph, width, timeline.RATE_SIDE_WIDTH)
        return [*rows[: height - len(note)], *note]

    def _device_rows(self, view: DeviceView, index: int, width: int, height: int) -> list[Row]:
        state, history = self.state, self._remembered()
        facts = devices.facts_text(view.device)
        share = devices.share_of(view, state.devices)
        by_model = devices.model_rows(view, state.running, width, state.glyphs, share=share)
        memory = devices.memory_rows(view, state.running, width, state.glyphs, share=share)
        if height - 2 - len(memory) - bool(facts) - len(by_model) >= MIN_GRAPH_ROWS:
            memory += by_model
        # Title, memory, facts where there are any, and an empty line below.
        graph_height = min(MAX_GRAPH_ROWS, max(2, height - 2 - len(memory) - bool(facts)))
        track = timeline.track_of(history, index, view.device.name)
        n_samples = 2 * max(1, width - devices.SCALE_WIDTH - devices.SIDE_WIDTH)
        is_own = track is None or (self.window_s <= OWN_GRAPH_S and not self._look.is_back)
        samples = None if is_own or track is None else timeline.resample(track.utilization, n_samples)
        graph = devices.graph_rows(view, width, graph_height, self.window_s, state.glyphs, samples=samples)
        name = view.device.name
        if track is not None and history is not None and self._look.is_back:
            name = timeline.device_words(track, self._look.slot(history))
        rows = [rule(view.label, width, name, line=state.glyphs.rule)]
        rows += self._with_mark(graph, width, devices.SIDE_WIDTH)
        rows += memory
        if facts:
            rows.append(row(Span(f" {facts}", "muted")))
        return [*rows, ()]

    def _with_mark(self, graph: list[Row], width: int, side: int) -> list[Row]:
        if not self._look.is_back or self._remembered() is None:
            return graph
        column = devices.SCALE_WIDTH + self._look.column(max(1, width - devices.SCALE_WIDTH - side))
        return [timeline.marked(line, column, self.state.glyphs) for line in graph]
