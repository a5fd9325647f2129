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
from olla_tui.state import fit, models
from olla_tui.state.models import ModelQuery
from olla_tui.state.numbers import age_text, bytes_text, context_length_text, rate_text
from olla_tui.state.rail import rule
from olla_tui.state.rows import Row, Span, folded, row
from olla_tui.state.rows import fit as fit_text
from olla_tui.widgets.board import LineBoard
from olla_tui.widgets.filter import FilterInput
from olla_tui.widgets.scroll_board import ScrollBoard
from olla_tui.widgets.table import Column, LineTable
from server.gguf.memory_shape import MemoryShape
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
        "occur, !word must not. The keys . and , change the sort column. Whether a model fits is what the "
        "server would plan for one request with a whole context; c and C ask about a longer or shorter one. "
        "tok/s is that of the latest answer. i shows details, J and K scroll them."
    )
    BINDINGS: ClassVar[list[BindingType]] = [*bindings_for("models", "list")]
    DEFAULT_CSS = """
    ModelsPane Container { height: 1fr; layout: horizontal; }
    ModelsPane #model-detail { width: 42; height: 1fr; padding-left: 1; display: none; }
    ModelsPane.-detail #model-detail { display: block; }
    .-below ModelsPane Container, ModelsPane.-below Container { layout: vertical; }
    ModelsPane.-below #model-detail { width: 1fr; height: 50%; min-height: 14; padding-left: 0; }
    """

    def __init__(self, bridge: Bridge) -> None:
        super().__init__(bridge)
        self._query = ModelQuery()
        self._library = models.Library()
        self._n_ctx = fit.CONTEXTS[0]
        self._footprints_of: object = None  # the list of the store that they were asked for
        self._info: dict[str, ModelInfo] = {}  # by digest
        self._sections_for: tuple[ModelInfo, int, str] | None = None
        self._sections: list[Row] = []
        self._asked: set[str] = set()  # digests whose details are on their way, or could not be had

    def compose(self) -> ComposeResult:
        yield LineBoard(classes="pane-title")
        yield FilterInput(placeholder="filter: name, family, size, quantization", id="models-filter")
        with Container():
            yield LineTable(self._columns(), id="models-table")
            yield ScrollBoard(id="model-detail")

    @property
    def table(self) -> LineTable:
        """The table."""
        return self.query_one("#models-table", LineTable)

    def on_resize(self) -> None:
        self.set_class(self.size.width < 90, "-below")
        self.call_after_refresh(self._show_detail)

    def focus_inside(self) -> None:
        self.screen.set_focus(self.table)

    def refresh_from(self, parts: frozenset[str]) -> None:
        self._library.take(self.state.models or ())
        chosen = self._library.select(self._query)
        by_name = self._library.by_name
        self._ask_for_footprints()
        self.table.set_columns(self._columns())
        self.table.show(
            [model.name for model in chosen], lambda name: self._cells(by_name[name]), empty=self._empty()
        )
        total = len(self.state.models or ())
        n_shown = f"{len(chosen)} of {total}" if len(chosen) != total else str(total)
        asked = f"by {SORT_WORDS[self._query.sort]} · fits with {context_length_text(self._n_ctx)}"
        self.show_title(f"{n_shown} · {asked}" if total else "")
        self._show_detail()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in ("run", "delete", "info", "copy"):
            return bool(self.table.key)
        if action == "scroll":
            return bool(self.query_one("#model-detail").display)
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

    def action_copy(self) -> None:
        """Give the model under the cursor a second name."""
        if self.table.key:
            self.post_message(DialogWanted("copy_model", self.table.key))

    def action_create(self) -> None:
        """Make a model from the one under the cursor, or from any other, by a form."""
        self.post_message(DialogWanted("create_model", self.table.key))

    def action_context(self, step: int) -> None:
        """Ask whether models fit with a longer (1) or shorter (-1) context."""
        self._n_ctx = fit.next_context(self._n_ctx, step)
        self.refresh_from(frozenset())

    def action_info(self) -> None:
        """Show or hide the details."""
        self._asked.clear()
        self.toggle_class("-detail")
        # Its width is known only after the layout that this brings about.
        self.call_after_refresh(self._show_detail)

    def action_scroll(self, step: int) -> None:
        """Scroll the details down (1) or up (-1)."""
        self.query_one("#model-detail", ScrollBoard).move(step)

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
        titles = ["name", "size", "fits", "params", "quant", "context", "can", "changed", "tok/s"]
        titles[SORT_COLUMNS[self._query.sort]] += arrow
        widths = (0, 8, 9, 8, 8, 8, 18, 11, 6)
        aligns = ("left", "right", "left", "right", "left", "right", "left", "right", "right")
        wide = (0, 0, 40, 72, 84, 100, 124, 62, 78)
        return [Column(*column) for column in zip(titles, widths, aligns, wide, strict=True)]  # type: ignore[arg-type]

    def _cells(self, model: ModelSummary) -> list[Row]:
        details = model.details
        loaded = self.state.running_model(model.name) is not None
        fit_words, fit_role = fit.fit_words(self._fit(model), self.state.glyphs)
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
            row(Span(rate_text(self.state.speeds.get(model.name, 0.0)), "good" if loaded else "muted")),
        ]

    def _fit(self, model: ModelSummary) -> fit.Fit:
        devices = [view.device for view in self.state.devices]
        return fit.fit_of(model, self._shape(model), devices, self._n_ctx)

    def _shape(self, model: ModelSummary) -> MemoryShape | None:
        footprint = self.state.footprints.get(model.name)
        return footprint.shape if footprint else None

    def _ask_for_footprints(self) -> None:
        """Once for each list of the store, while somebody looks."""
        if self.state.models and self._footprints_of is not self.state.models:
            self._footprints_of = self.state.models
            self.bridge.order(self._load_footprints())

    async def _load_footprints(self) -> None:
        self.state.footprints = await self.bridge.services.models.footprints()
        self.refresh_from(frozenset())

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
        rows.append(_hint("p", "pulls a model, with what would fit this machine"))
        rows.append(_hint("olla create", "makes a model from a GGUF file"))
        return rows

    def _show_detail(self) -> None:
        board = self.query_one("#model-detail", ScrollBoard)
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
        board.show(self._detail_rows(model, info, max(10, board.columns)), of=model.name)

    def _detail_rows(self, model: ModelSummary, info: ModelInfo | None, width: int) -> list[Row]:
        line, glyphs = self.state.glyphs.rule, self.state.glyphs
        details = models.detail_lines(
            model,
            info,
            self.state.running_model(model.name),
            self.state.now,
            footprint=self.state.footprints.get(model.name),
            tokens_per_s=self.state.speeds.get(model.name, 0.0),
            tags=models.other_tags(model, self.state.models or ()),
        )
        n_first = next((n for n, (label, _) in enumerate(details) if label == "changed"), len(details))
        rows: list[Row] = [rule("Details", width, "J K scroll", line=line)]
        rows += [found for pair in details[:n_first] for found in _labelled(*pair, width)]
        devices = [view.device for view in self.state.devices]
        for length, found in fit.what_if_lines(model, self._shape(model), devices):
            role = fit.fit_words(found, glyphs)[1]
            rows += _labelled(f"with {length}", fit.fit_sentence(found), width, role)
        rows += [found for pair in details[n_first:] for found in _labelled(*pair, width)]
        return rows + self._section_rows(info, width)

    def _section_rows(self, info: ModelInfo | None, width: int) -> list[Row]:
        """Template, licence and the like, folded once: that takes milliseconds, the rest changes often."""
        if info is None:
            return []
        made_for = (info, width, self.state.glyphs.rule)
        if self._sections_for != made_for:
            rows: list[Row] = []
            for title, texts in models.text_sections(info):
                rows.append(rule(title, width, line=self.state.glyphs.rule))
                rows += [row(Span(f" {piece}")) for text in texts for piece in folded(text, width - 1)]
            self._sections_for, self._sections = made_for, rows
        return self._sections

    async def _load_info(self, model: ModelSummary) -> None:
        info = await self.bridge.services.models.show(ShowRequest(model=model.name))
        if len(self._info) >= MAX_INFOS:
            self._info.clear()
            self._asked.clear()
        self._info[model.digest] = info
        self._show_detail()


def _labelled(label: str, text: str, width: int, role: str = "") -> list[Row]:
    """A label and its text, which goes on below itself where it is longer than a line."""
    pieces = folded(text, max(1, width - LABEL_WIDTH - 1))
    labels = (label, *[""] * len(pieces))
    return [
        row(Span(" " + fit_text(head, LABEL_WIDTH), "muted"), Span(piece, role))
        for head, piece in zip(labels, pieces, strict=False)
    ]


def _hint(key: str, words: str) -> Row:
    return row(Span(f"  {key}", "key"), Span(f"  {words}", "muted"))
