"""The model library: filter, sort, details, and what can be done with a model."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container
from textual.widgets import Input

from olla_tui.actions import bindings_for
from olla_tui.bridge import Bridge
from olla_tui.messages import ActionChosen, ChatWanted, DialogWanted
from olla_tui.panes.base import Pane
from olla_tui.state import models
from olla_tui.state.models import ModelQuery
from olla_tui.state.numbers import age_text, bytes_text, context_length_text
from olla_tui.state.rail import rule
from olla_tui.state.rows import Row, Span, fit, row
from olla_tui.widgets.board import LineBoard
from olla_tui.widgets.filter import FilterInput
from olla_tui.widgets.table import Column, LineTable
from server.types.models import ModelInfo, ModelSummary, ShowRequest

LABEL_WIDTH = 13
MAX_INFOS = 200
"""Models whose details are kept."""

SORT_COLUMNS: dict[str, int] = {"name": 0, "size": 1, "params": 3, "modified": 7}

SORT_WORDS: dict[str, str] = {"name": "name", "size": "size", "params": "parameters", "modified": "date"}


class ModelsPane(Pane):
    """The table of models in the store, with details of the one under the cursor."""

    pane_id = "models"
    HELP = (
        "Models in the store. / filters by name, family, size, quantization and capability: all words must "
        "occur, !word must not. The keys . and , change the sort column. Whether a model fits is a rule of "
        "thumb from the file's size."
    )
    BINDINGS: ClassVar[list[BindingType]] = [*bindings_for("models", "list")]
    DEFAULT_CSS = """
    ModelsPane Container { height: 1fr; layout: horizontal; }
    ModelsPane #model-detail { width: 42; height: 1fr; padding-left: 1; display: none; }
    ModelsPane.-detail #model-detail { display: block; }
    .-below ModelsPane Container, ModelsPane.-below Container { layout: vertical; }
    ModelsPane.-below #model-detail { width: 1fr; height: 14; padding-left: 0; }
    """

    def __init__(self, bridge: Bridge) -> None:
        super().__init__(bridge)
        self._query = ModelQuery()
        self._info: dict[str, ModelInfo] = {}  # by digest
        self._asked: set[str] = set()  # digests whose details are on their way, or could not be had

    def compose(self) -> ComposeResult:
        yield LineBoard(classes="pane-title")
        yield FilterInput(placeholder="filter: name, family, size, quantization", id="models-filter")
        with Container():
            yield LineTable(self._columns(), id="models-table")
            yield LineBoard(id="model-detail")

    @property
    def table(self) -> LineTable:
        """The table."""
        return self.query_one("#models-table", LineTable)

    def on_resize(self) -> None:
        self.set_class(self.size.width < 90, "-below")
        self.call_after_refresh(self._show_detail)

    def focus_inside(self) -> None:
        self.table.focus()

    def refresh_from(self, parts: frozenset[str]) -> None:
        chosen = models.select(self.state.models or (), self._query)
        by_name = {model.name: model for model in chosen}
        self.table.set_columns(self._columns())
        self.table.show(list(by_name), lambda name: self._cells(by_name[name]), empty=self._empty())
        total = len(self.state.models or ())
        n_shown = f"{len(chosen)} of {total}" if len(chosen) != total else str(total)
        self.show_title(f"{n_shown} · by {SORT_WORDS[self._query.sort]}" if total else "")
        self._show_detail()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in ("run", "delete", "info"):
            return bool(self.table.key)
        if action == "unload":
            return self.state.running_model(self.table.key) is not None
        if action == "bundled":
            return any(not model.installed for model in self.state.bundled)
        return True

    # --- events ---

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self._query = ModelQuery(event.value, self._query.sort, self._query.descending)
        self.refresh_from(frozenset())

    def on_filter_input_left(self, event: FilterInput.Left) -> None:
        event.stop()
        self.table.focus()

    def on_line_table_highlighted(self, event: LineTable.Highlighted) -> None:
        event.stop()
        self._show_detail()

    def on_line_table_chosen(self, event: LineTable.Chosen) -> None:
        event.stop()
        self.action_run()

    def on_line_table_title_clicked(self, event: LineTable.TitleClicked) -> None:
        event.stop()
        for key, index in SORT_COLUMNS.items():
            if index == event.index:
                same = key == self._query.sort
                descending = not self._query.descending if same else key != "name"
                self._query = ModelQuery(self._query.text, key, descending)  # type: ignore[arg-type]
                self.refresh_from(frozenset())

    # --- actions ---

    def action_run(self) -> None:
        """Chat with the model under the cursor."""
        if self.table.key:
            self.post_message(ChatWanted(self.table.key))

    def action_unload(self) -> None:
        """Unload the model under the cursor."""
        if self.state.running_model(self.table.key) is not None:
            self.bridge.unload(self.table.key)

    def action_delete(self) -> None:
        """Delete the model under the cursor, after a question."""
        if self.table.key:
            self.post_message(DialogWanted("delete_model", self.table.key))

    def action_info(self) -> None:
        """Show or hide the details."""
        self._asked.clear()
        self.toggle_class("-detail")
        # Its width is known only after the layout that this brings about.
        self.call_after_refresh(self._show_detail)

    def action_filter(self) -> None:
        """Open the filter."""
        self.query_one("#models-filter", FilterInput).open()

    def action_sort(self, step: int) -> None:
        """Sort by the next (1) or the previous (-1) column."""
        self._query = models.next_sort(self._query, step)
        self.refresh_from(frozenset())

    def action_pull(self) -> None:
        """Ask for a name and pull it."""
        self.post_message(DialogWanted("pull_model"))

    def action_bundled(self) -> None:
        """Install the model that ships with olla and chat with it."""
        self.post_message(ActionChosen("chat.bundled"))

    # --- drawing ---

    def _columns(self) -> list[Column]:
        arrow = "↓" if self._query.descending else "↑"
        titles = ["name", "size", "fits", "params", "quant", "context", "can", "changed"]
        titles[SORT_COLUMNS[self._query.sort]] += arrow
        widths = (0, 8, 7, 8, 8, 8, 18, 11)
        aligns = ("left", "right", "left", "right", "left", "right", "left", "right")
        wide = (0, 0, 50, 72, 84, 100, 116, 60)
        return [Column(*column) for column in zip(titles, widths, aligns, wide, strict=True)]  # type: ignore[arg-type]

    def _cells(self, model: ModelSummary) -> list[Row]:
        details = model.details
        devices = [view.device for view in self.state.devices]
        loaded = self.state.running_model(model.name) is not None
        fit_words, fit_role = models.fit_text(models.fits(model.size_bytes, devices))
        glyph = self.state.glyphs.busy if loaded else " "
        context = context_length_text(details.context_length) if details.context_length else "–"
        return [
            row(Span(f"{glyph} ", "good"), Span(model.name, "strong")),
            row(Span(bytes_text(model.size_bytes))),
            row(Span(fit_words, fit_role)),
            row(Span(details.parameter_size or "–")),
            row(Span(details.quantization_level or "–", "muted")),
            row(Span(context, "muted")),
            row(Span(models.capability_text(model), "muted")),
            row(Span(age_text(self.state.now - model.modified_at), "muted")),
        ]

    def _empty(self) -> list[Row]:
        if self.state.models is None:
            return [(), row(Span("  Reading the store.", "muted"))]
        if self._query.text and self.state.models:
            return [(), row(Span("  No model matches the filter.", "strong")), _hint("esc", "clears it")]
        rows: list[Row] = [(), row(Span("  The store is empty.", "strong")), ()]
        for bundled in self.state.bundled:
            size = bytes_text(bundled.size_bytes)
            rows.append(row(Span(f"  {bundled.name}", "title"), Span(f", bundled, {size}  ", "muted")))
            rows.append(row(Span(f"  {bundled.title}", "muted")))
            rows += [(), _hint("b", f"chat with {bundled.name} now, without a network")]
        rows.append(_hint("olla create", "makes a model from a GGUF file"))
        return rows

    def _show_detail(self) -> None:
        board = self.query_one("#model-detail", LineBoard)
        if not board.display:
            return
        model = self.state.model(self.table.key)
        if model is None:
            board.show([])
            return
        info = self._info.get(model.digest)
        if info is None and model.digest not in self._asked:
            self._asked.add(model.digest)
            self.bridge.order(self._load_info(model))
        running = self.state.running_model(model.name)
        width = max(10, board.content_size.width)
        rows: list[Row] = [rule("Details", width, line=self.state.glyphs.rule)]
        for label, text in models.detail_lines(model, info, running, self.state.now):
            room = max(1, width - LABEL_WIDTH - 1)
            rows.append(row(Span(" " + fit(label, LABEL_WIDTH), "muted"), Span(fit(text, room))))
        board.show(rows)

    async def _load_info(self, model: ModelSummary) -> None:
        info = await self.bridge.services.models.show(ShowRequest(model=model.name))
        if len(self._info) >= MAX_INFOS:
            self._info.clear()
            self._asked.clear()
        self._info[model.digest] = info
        self._show_detail()


def _hint(key: str, words: str) -> Row:
    return row(Span(f"  {key}", "key"), Span(f"  {words}", "muted"))
