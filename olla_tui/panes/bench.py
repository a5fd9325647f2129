"""How fast models answer on this machine: measured here, kept, and compared with what was before."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType

from olla_tui.actions import bindings_for
from olla_tui.bridge import Bridge
from olla_tui.client.bench import Bench, BenchFlags
from olla_tui.history.bench_book import BenchBook
from olla_tui.messages import DialogWanted, Noticed
from olla_tui.panes.base import Pane
from olla_tui.state import bench
from olla_tui.state.bench import BenchEntry
from olla_tui.state.numbers import rate_text, seconds_text
from olla_tui.state.rail import rule
from olla_tui.state.rows import Row, Span, row
from olla_tui.widgets.board import LineBoard
from olla_tui.widgets.table import Column, LineTable
from server.errors import CapabilityMissing, StoreError
from server.types.models import ShowRequest

COLUMNS = (
    Column("model", 0),
    Column("measured", 12, "left", 60),
    Column("load", 7, "right", 96),
    Column("first", 7, "right", 76),
    Column("prefill", 8, "right", 50),
    Column("decode", 7, "right"),
    Column("x8", 7, "right", 84),
    Column("since", 6, "right", 68),
)


MIN_HEIGHT_WITH_FIGURES = 18


class BenchPane(Pane):
    """The table of measurements, with the figures of one; one model is measured at a time."""

    pane_id = "bench"
    HELP = (
        "Measures a model as olla bench does: time to load, time to the first token, prefill of short and "
        "long prompts, decode with one and with eight clients, in tokens a second. The model is loaded anew "
        "for it, and other requests make the figures worse. What was measured is kept."
    )
    BINDINGS: ClassVar[list[BindingType]] = [*bindings_for("bench", "list")]
    DEFAULT_CSS = """
    BenchPane #bench-detail { height: 13; display: none; }
    BenchPane.-figures #bench-detail { display: block; }
    """

    def __init__(self, bridge: Bridge, book: BenchBook, *, is_local: bool) -> None:
        """Make the pane.

        Args:
            is_local: the server runs on this machine, whose memory can be measured as well.
        """
        super().__init__(bridge)
        self._book = book
        self._is_local = is_local
        self._entries: list[BenchEntry] | None = None
        self._measuring: asyncio.Task[None] | None = None
        self._doing = ""

    def compose(self) -> ComposeResult:
        yield LineBoard(classes="pane-title")
        yield LineTable(COLUMNS, id="bench-table")
        yield LineBoard(id="bench-detail")

    def on_mount(self) -> None:
        self.bridge.order(self._load())

    @property
    def table(self) -> LineTable:
        """The table."""
        return self.query_one("#bench-table", LineTable)

    def refresh_from(self, parts: frozenset[str]) -> None:
        entries = {entry.key: entry for entry in self._entries or ()}
        self.show_title(self._doing)
        self.table.show(list(entries), lambda key: self._cells(entries[key]), empty=self._empty())
        self._show_detail()

    def focus_inside(self) -> None:
        self.screen.set_focus(self.table)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        is_busy = self._measuring is not None and not self._measuring.done()
        if action == "stop":
            return is_busy
        if action == "measure":
            return not is_busy
        if action == "again":
            return not is_busy and bool(self.table.key)
        return bool(self.table.key) if action == "remove" else True

    def on_line_table_highlighted(self, event: LineTable.Highlighted) -> None:
        event.stop()
        self._show_detail()

    def on_line_table_chosen(self, event: LineTable.Chosen) -> None:
        event.stop()

    # --- actions ---

    def action_measure(self) -> None:
        """Choose a model and measure it."""
        self.post_message(DialogWanted("measure_model", self.state.default_model()))

    def action_again(self) -> None:
        """Measure the model under the cursor again."""
        entry = self._chosen()
        if entry is not None:
            self.measure(entry.figures.model)

    def action_stop(self) -> None:
        """Stop measuring."""
        if self._measuring is not None:
            self._measuring.cancel()

    def action_remove(self) -> None:
        """Forget the measurement under the cursor."""
        if self.table.key:
            self.bridge.order(self._remove(self.table.key))

    def measure(self, model: str) -> None:
        """Measure a model, unless one is being measured."""
        if self._measuring is None or self._measuring.done():
            self._measuring = self.bridge.order(self._measure(model))
            self._measuring.add_done_callback(lambda _: self._ended())

    # --- work ---

    async def _load(self) -> None:
        self._entries = await _on_disk(self._book.load)
        self.refresh_from(frozenset())

    async def _remove(self, key: str) -> None:
        self._entries = await _on_disk(lambda: self._book.remove(key))
        self.refresh_from(frozenset())

    async def _measure(self, model: str) -> None:
        services = self.bridge.services
        self._tell(f"measuring {model}")
        info = await services.models.show(ShowRequest(model=model))
        if info.capabilities and "completion" not in info.capabilities:
            raise CapabilityMissing(f"{model} does not generate text, and that is what is measured")
        flags = BenchFlags(more_prompts=bench.LONGER_PROMPTS)
        measuring = Bench(services, info, model, flags, lambda what: self._tell(f"{model}: {what}"))
        figures = await measuring.run(is_local=self._is_local)
        entry = BenchEntry(measured_at=self.bridge.clock(), figures=figures)
        self._entries = await _on_disk(lambda: self._book.add(entry))
        self.post_message(Noticed(f"{model} is measured"))

    def _tell(self, words: str) -> None:
        self._doing = words
        if self.is_attached:
            self.show_title(words)

    def _ended(self) -> None:
        self._doing = ""
        if self.is_attached:
            self.refresh_from(frozenset())
            self.refresh_bindings()

    # --- drawing ---

    def _chosen(self) -> BenchEntry | None:
        key = self.table.key
        return next((entry for entry in self._entries or () if entry.key == key), None)

    def _show_detail(self) -> None:
        entry = self._chosen()
        rows: list[Row] = []
        self.set_class(entry is not None and self.size.height >= MIN_HEIGHT_WITH_FIGURES, "-figures")
        if entry is not None:
            rows = [rule("Figures", self.columns, entry.figures.model, line=self.state.glyphs.rule)]
            rows += bench.detail_rows(entry, self.columns, self.state.glyphs)
        self.query_one("#bench-detail", LineBoard).show(rows)

    def _empty(self) -> list[Row]:
        if self._entries is None:
            return []
        return [
            (),
            row(Span("  Nothing was measured yet.", "strong")),
            row(Span("  m", "key"), Span("  measures a model: seconds, or minutes for a large one", "muted")),
        ]

    def _cells(self, entry: BenchEntry) -> list[Row]:
        figures = entry.figures
        change, role = bench.change_text(entry, self._entries or ())
        return [
            row(Span(figures.model, "strong")),
            row(Span(bench.when_text(entry), "muted")),
            row(Span(seconds_text(figures.load_s))),
            row(Span(seconds_text(figures.first_token_s))),
            row(Span(rate_text(figures.prefill_tokens_per_s))),
            row(Span(rate_text(bench.decode_of(figures, 1)), "good")),
            row(Span(rate_text(bench.decode_of(figures, 8)))),
            row(Span(change, role)),
        ]


async def _on_disk(work: Callable[[], list[BenchEntry]]) -> list[BenchEntry]:
    """Do it in a thread. Raises: StoreError."""
    try:
        return await asyncio.to_thread(work)
    except OSError as error:
        raise StoreError(f"measurements cannot be kept: {error.strerror or error}") from error
