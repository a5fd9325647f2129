"""The rail at the right: models, devices, requests, transfers and the log, in as many lines as there are."""

from __future__ import annotations

from olla_tui.state import pulls as pull_list
from olla_tui.state import requests as request_list
from olla_tui.state import running as running_list
from olla_tui.state.devices import facts_text, graph_rows, memory_rows, share_of, shown
from olla_tui.state.logs import role_for
from olla_tui.state.rows import Row, Span, fit, fit_row, row
from olla_tui.state.workstation import Workstation

RAIL_WINDOW_S = 120
MAX_MODELS = 4
MAX_GRAPHS = 2
MIN_REQUESTS = 3
MAX_TRANSFERS = 4


def rule(title: str, width: int, note: str = "", action: str = "", line: str = "─") -> Row:
    """A line with a title in it: "─ Running 2 ─────"."""
    shown_note = f" {note}" if note else ""
    text = fit(f" {title}{shown_note} ", min(len(title) + len(shown_note) + 2, max(0, width - 2)))
    head = text[: len(title) + 1]
    return row(
        Span(line, "faint", action),
        Span(head, "strong", action),
        Span(text[len(head) :], "muted", action),
        Span(line * max(0, width - 1 - len(text)), "faint", action),
    )


def rail_rows(state: Workstation, width: int, height: int, *, with_log: bool) -> list[Row]:
    """All lines of the rail.

    Args:
        with_log: end with the newest log lines; otherwise the requests take the rest.
    """
    rows = _running(state, width)
    rows += _devices(state, width, 4 if height >= 45 else 3, 1 if height < 30 else MAX_GRAPHS)
    transfers = _transfers(state, width)
    rest = max(MIN_REQUESTS + 1, height - len(rows) - len(transfers))
    n_requests = min(rest - 1, max(MIN_REQUESTS, len(state.requests))) if with_log else rest - 1
    n_requests = min(n_requests, rest // 2) if with_log and rest > 12 else n_requests
    rows += _requests(state, width, n_requests)
    rows += transfers
    if with_log and height - len(rows) > 3:
        rows += _log(state, width, height - len(rows) - 1)
    return rows[:height]


def _running(state: Workstation, width: int) -> list[Row]:
    models = state.running
    rows = [rule("Running", width, str(len(models)) if models else "", "pane.running", state.glyphs.rule)]
    if not models:
        return [*rows, fit_row((Span(" No model is loaded.", "muted"),), width)]
    for model in models[:MAX_MODELS]:
        rows += running_list.rail_rows(model, width, state.now, state.glyphs)
    if len(models) > MAX_MODELS:
        more = Span(f"  and {len(models) - MAX_MODELS} more", "muted", "pane.running")
        rows.append(fit_row((more,), width))
    return rows


def _devices(state: Workstation, width: int, graph_height: int, n_graphs: int) -> list[Row]:
    rows: list[Row] = []
    for view in shown(state.devices)[:n_graphs]:
        name = view.device.name if view.device.name.lower() != view.label.lower() else ""
        rows.append(rule(view.label, width, name, "pane.gpus", state.glyphs.rule))
        rows += graph_rows(view, width, graph_height, RAIL_WINDOW_S, state.glyphs)
        share = share_of(view, state.devices)
        rows += memory_rows(view, state.running, width, state.glyphs, share=share)
        facts = facts_text(view.device)
        if facts:
            rows.append(fit_row((Span(f" {facts}", "muted"),), width))
    return rows


def _transfers(state: Workstation, width: int) -> list[Row]:
    """The transfers under way; nothing at all when there are none."""
    lines = pull_list.queue_lines(state.transfers, ())
    rows = pull_list.rail_rows(lines, width, MAX_TRANSFERS, state.glyphs)
    if not rows:
        return []
    note = pull_list.title_note(state.transfers, lines)
    return [rule("Pulls", width, note, "pane.pulls", state.glyphs.rule), *rows]


def _requests(state: Workstation, width: int, n_rows: int) -> list[Row]:
    rows = [rule("Requests", width, "", "pane.requests", state.glyphs.rule)]
    lines = request_list.rail_rows(state.requests, width, n_rows, state.glyphs)
    if not lines:
        words = " None yet." if state.is_olla else " An Ollama tells of none."
        lines = [fit_row((Span(words, "muted"),), width)]
    return rows + lines + [()] * (n_rows - len(lines))


def _log(state: Workstation, width: int, n_rows: int) -> list[Row]:
    rows = [rule("Log", width, "", "pane.logs", state.glyphs.rule)]
    lines = state.logs.select("info")[-n_rows:]
    if not lines:
        words = " Nothing yet." if state.is_olla else " An Ollama keeps its log to itself."
        return [*rows, fit_row((Span(words, "muted"),), width)]
    for line in lines:
        rows.append(fit_row((Span(" " + line.text, role_for(line.level) or "muted"),), width))
    return rows
