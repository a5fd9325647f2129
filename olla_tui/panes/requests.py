"""Requests of every client, as they wait, run and end."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.widgets import Input

from olla_tui.actions import bindings_for
from olla_tui.bridge import Bridge
from olla_tui.panes.base import Pane
from olla_tui.state import requests
from olla_tui.state.numbers import count_text, rate_text, seconds_text
from olla_tui.state.rail import rule
from olla_tui.state.rows import Row, Span, fit, folded, row
from olla_tui.widgets.board import LineBoard
from olla_tui.widgets.filter import FilterInput
from olla_tui.widgets.scroll_board import ScrollBoard
from olla_tui.widgets.table import Column, LineTable
from server.errors import RequestNotFound
from server.types.status import RecordedPrompt, RequestSnapshot

COLUMNS = (
    Column("", 1),
    Column("route", 0, "left", 60),
    Column("model", 0),
    Column("client", 20, "left", 110),
    Column("state", 11),
    Column("in", 5, "right", 90),
    Column("out", 5, "right", 76),
    Column("first", 7, "right", 90),
    Column("tok/s", 6, "right", 60),
    Column("time", 7, "right"),
)

LABEL_WIDTH = 13


class RequestsPane(Pane):
    """The table of requests, with details of one."""

    pane_id = "requests"
    HELP = (
        "Requests of every client: open ones first, the next to go on top, then the latest that ended. "
        "x cancels the request under the cursor; its caller is told so. / filters: all words must occur, "
        "!word must not; o shows open ones only. Enter shows details, J and K scroll them; with "
        "OLLA_RECORD_PROMPTS=1 the server keeps prompts, and they end with the prompt as the model got it."
    )
    BINDINGS: ClassVar[list[BindingType]] = [*bindings_for("requests", "list")]
    DEFAULT_CSS = """
    RequestsPane #request-detail { height: auto; max-height: 60%; display: none; }
    RequestsPane.-detail #request-detail { display: block; }
    """

    _open_only = False
    _asked_prompt = 0
    _prompt: RecordedPrompt | None = None
    _prompt_room = 0

    def __init__(self, bridge: Bridge) -> None:
        super().__init__(bridge)
        self._prompt_lines: list[str] = []

    def compose(self) -> ComposeResult:
        yield LineBoard(classes="pane-title")
        yield FilterInput(placeholder="filter: route, model, client, state", id="requests-filter")
        yield LineTable(COLUMNS, id="requests-table")
        yield ScrollBoard(id="request-detail")

    @property
    def table(self) -> LineTable:
        """The table."""
        return self.query_one("#requests-table", LineTable)

    def refresh_from(self, parts: frozenset[str]) -> None:
        n_open = sum(map(requests.is_open, self.state.requests))
        chosen = requests.select(self.state.requests, self._text, open_only=self._open_only)
        found = {str(request.id): request for request in chosen}
        notes = [f"{n_open} open"] if n_open else []
        if len(found) != len(self.state.requests):
            notes.append(f"{len(found)} of {len(self.state.requests)} shown")
        self.show_title(" · ".join(notes))
        self.table.show(
            list(found),
            lambda key: self._cells(found[key]),
            empty=self._empty(),
        )
        self._show_detail()

    def focus_inside(self) -> None:
        self.screen.set_focus(self.table)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "cancel":
            chosen = self._chosen()
            return chosen is not None and requests.is_open(chosen)
        if action == "scroll":
            return self.has_class("-detail")
        if action == "detail":
            return self._chosen() is not None
        return True

    def on_line_table_highlighted(self, event: LineTable.Highlighted) -> None:
        event.stop()
        self._show_detail()
        self.refresh_bindings()

    def on_line_table_chosen(self, event: LineTable.Chosen) -> None:
        event.stop()
        self.action_detail()

    def action_cancel(self) -> None:
        """Cancel the request under the cursor."""
        chosen = self._chosen()
        if chosen is not None and requests.is_open(chosen):
            self.bridge.cancel_request(chosen.id)

    def action_detail(self) -> None:
        """Show or hide the details."""
        self.toggle_class("-detail")
        self._show_detail()

    def action_filter(self) -> None:
        """Open the filter."""
        self.query_one("#requests-filter", FilterInput).open()

    def action_open_only(self) -> None:
        """Show open requests only, or all again."""
        self._open_only = not self._open_only
        self.refresh_from(frozenset())

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self.refresh_from(frozenset())

    def on_filter_input_left(self, event: FilterInput.Left) -> None:
        event.stop()
        self.table.focus()

    @property
    def _text(self) -> str:
        return self.query_one("#requests-filter", FilterInput).value

    def _empty(self) -> list[Row]:
        if self.state.requests:
            words = "No request is open." if self._open_only and not self._text else "No request matches."
            return [(), row(Span(f"  {words}", "strong"))]
        return [
            (),
            row(Span("  No request yet.", "strong")),
            row(Span(f"  {requests.empty_words(self.state.address, self.state.is_olla)}", "muted")),
        ]

    def _wait_s(self, request: RequestSnapshot) -> float | None:
        return requests.wait_estimate_s(request, self.state.requests, self.state.running)

    def _chosen(self) -> RequestSnapshot | None:
        key = self.table.key
        return next((request for request in self.state.requests if str(request.id) == key), None)

    def _show_detail(self) -> None:
        chosen = self._chosen()
        if not self.has_class("-detail") or chosen is None:
            return
        line = self.state.glyphs.rule
        rows: list[Row] = [rule(f"Request {chosen.id}", self.columns - 1, "J K scroll", line=line)]
        room = max(8, self.columns - LABEL_WIDTH - 3)
        for label, text in requests.detail_lines(chosen, self._wait_s(chosen)):
            role = "bad" if label == "error" else ""
            for index, piece in enumerate(folded(text, room)):
                head = fit("" if index else label, LABEL_WIDTH)
                rows.append(row(Span(f" {head}", "muted"), Span(piece, role)))
        rows += self._prompt_rows(chosen, room)
        self.query_one("#request-detail", ScrollBoard).show(rows, of=self.table.key)

    def _prompt_rows(self, request: RequestSnapshot, room: int) -> list[Row]:
        """The prompt where it is recorded; otherwise how it would be."""
        snapshot = self.state.snapshot
        if not self.state.is_olla or snapshot is None:
            return []
        if not snapshot.records_prompts:
            words = "OLLA_RECORD_PROMPTS=1 records those of requests to come"
            return [row(Span(" " + fit("prompt", LABEL_WIDTH), "muted"), Span(words, "muted"))]
        self._ask_for_prompt(request)
        if self._prompt is None or self._prompt.id != request.id:
            return []
        if self._prompt_room != room or not self._prompt_lines:
            self._prompt_room, self._prompt_lines = room, requests.prompt_lines(self._prompt, room)
        title = rule("Prompt", self.columns - 1, line=self.state.glyphs.rule)
        return [title, *(row(Span(f" {line}")) for line in self._prompt_lines)]

    def _ask_for_prompt(self, request: RequestSnapshot) -> None:
        """Once for each request that is looked at, as soon as a model has its prompt."""
        if self._asked_prompt != request.id and requests.has_prompt(request):
            self._asked_prompt = request.id
            self.bridge.order(self._load_prompt(request.id))

    async def _load_prompt(self, request_id: int) -> None:
        try:
            self._prompt = await self.bridge.services.status.prompt(request_id)
        except RequestNotFound as error:
            self._prompt = RecordedPrompt(id=request_id, text=error.message)
        self._prompt_lines = []
        self._show_detail()

    def action_scroll(self, step: int) -> None:
        """Scroll the details down (1) or up (-1)."""
        self.query_one("#request-detail", ScrollBoard).move(step)

    def _cells(self, request: RequestSnapshot) -> list[Row]:
        opened = requests.is_open(request)
        first = "–" if request.first_token_s is None else seconds_text(request.first_token_s)
        model = row(Span(request.model))
        if request.error:
            model = row(Span(f"{request.model}  "), Span(request.error, "bad"))
        elif (wait_s := self._wait_s(request)) is not None:
            words = f"{request.wait_reason}, about {seconds_text(wait_s)}"
            model = row(Span(f"{request.model}  "), Span(words, "muted"))
        elif request.wait_reason:
            model = row(Span(f"{request.model}  "), Span(request.wait_reason, "muted"))
        mark = requests.glyph_for(request, self.state.glyphs)
        return [
            row(mark),
            row(Span(request.route)),
            model,
            row(Span(request.client, "muted")),
            row(Span(requests.state_text(request), mark.role)),
            row(Span(count_text(request.n_prompt_tokens), "" if opened else "muted")),
            row(Span(count_text(request.n_output_tokens), "" if opened else "muted")),
            row(Span(first, "" if opened else "muted")),
            row(Span(rate_text(request.tokens_per_s), "good" if request.state == "decode" else "muted")),
            row(Span(seconds_text(request.duration_s), "" if opened else "muted")),
        ]
