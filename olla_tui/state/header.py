"""The lines around the panes: header, tabs and key hints, fitted to the width by importance."""

from __future__ import annotations

from collections.abc import Sequence

from olla_tui.state.devices import meter_spans, shown
from olla_tui.state.numbers import bytes_text, rate_text
from olla_tui.state.rows import Row, Span, fit_row, join_ends, row, width_of
from olla_tui.state.workstation import Workstation


def header_row(state: Workstation, width: int) -> Row:
    """Server dot and port, device meters, running and queued, tokens a second, link rate."""
    separator = Span(f" {state.glyphs.bar} ", "faint")
    groups = _groups(state, width)
    spans: list[Span] = [Span(" ")]
    used = 1
    for index, group in enumerate(groups):
        needed = width_of(group) + (width_of((separator,)) if index else 0)
        if index == 0 and used + needed > width:
            return (*spans, *fit_row(group, width - used))  # what is wrong is said as far as it fits
        if used + needed > width:
            continue
        spans += [separator, *group] if index else group
        used += needed
    return fit_row(spans, width)


def _groups(state: Workstation, width: int) -> list[Row]:
    groups = [_server_group(state, width)]
    if state.connection == "down":
        return groups
    snapshot = state.snapshot
    if snapshot is None:
        return groups
    if width >= 60:
        bar_width = 10 if width >= 100 else 8 if width >= 80 else 0
        meters = [
            tuple(
                span._replace(action="pane.gpus")
                for span in meter_spans(view, bar_width, memory=index == 0, glyphs=state.glyphs)
            )
            for index, view in enumerate(shown(state.devices)[:4])
        ]
        groups += meters[:1] if width < 100 else meters
        counts = row(
            Span(f"{len(snapshot.running)} loaded ", action="pane.running"),
            Span(
                f"{snapshot.n_queued} queued",
                "warn" if snapshot.n_queued else "",
                action="pane.requests",
            ),
        )
        groups.append(counts)
    rate = rate_text(snapshot.tokens_per_s)
    groups.append(
        row(Span(f"{rate:>5} tok/s", "good" if snapshot.tokens_per_s > 0 else "muted", "pane.requests"))
    )
    link = _link_group(state, width)
    # What is wrong comes before what is merely told.
    return [groups[0], *link, *groups[1:]] if state.low_bandwidth else [*groups, *link]


def _link_group(state: Workstation, width: int) -> list[Row]:
    """Bytes a second to the terminal where there is room, and always that they are kept low."""
    if state.link_bytes_per_s is None and not state.low_bandwidth:
        return []
    words = "slow link" if state.slow_link else "sparing link" if state.low_bandwidth else "link"
    if width >= 100 and state.link_bytes_per_s is not None:
        words = f"{words} {bytes_text(state.link_bytes_per_s):>7}/s"
    elif not state.low_bandwidth:
        return []
    return [row(Span(words, "warn" if state.low_bandwidth else "muted", "app.bandwidth"))]


def _server_group(state: Workstation, width: int) -> Row:
    glyphs = state.glyphs
    dots = {
        "starting": Span(glyphs.half + " ", "warn"),
        "up": Span(glyphs.busy + " ", "good"),
        "down": Span(glyphs.failed + " ", "bad"),
    }
    port = state.address.rpartition(":")[2]
    parts: list[str | Span] = [Span("olla ", "title"), dots[state.connection]]
    if width >= 60:
        parts.append(Span(f":{port}", "accent" if state.attached and width < 100 else ""))
        if not state.is_olla:
            parts.append(Span(" Ollama", "accent"))
        elif state.attached and width >= 100:
            parts.append(Span(" attached", "accent"))
    if state.connection == "down":
        parts.append(Span(f"  {state.problem or 'the server does not answer'}", "bad"))
    if state.connection == "starting":
        parts.append(Span("  starting", "muted"))
    return row(*parts)


def tabs_row(tabs: Sequence[tuple[str, str]], active: str, width: int) -> Row:
    """The tabs: digit and title, only digits when the terminal is narrow; the active one stands out.

    Args:
        tabs: (pane id, title) in order.
    """
    help_key = row(Span("F1", "key", "app.help"), Span(" help ", "muted", "app.help"))
    palette_key = row(Span(" ^P", "key", "app.palette"), Span(" palette ", "muted", "app.palette"))
    right = help_key + palette_key if width >= 80 else help_key
    attempts = ((2, True, right), (1, True, right), (1, True, help_key), (2, False, right), (1, False, ()))
    for n_blanks, is_named, keys in attempts:
        spans = _tabs(tabs, active, n_blanks, is_named=is_named)
        if width_of(spans) + width_of(keys) < width:
            break
    return join_ends(spans, keys, width)


def _tabs(tabs: Sequence[tuple[str, str]], active: str, n_blanks: int, *, is_named: bool) -> list[Span]:
    """The tabs with so many blanks between their words; without names only the active one has its own.

    With one blank, neighbours share it, and the active one has those at both of its sides.
    """
    spans: list[Span] = [Span(" ")] if n_blanks == 2 else []
    before = ""
    for index, (pane, title) in enumerate(tabs, start=1):
        role = "tab.active" if pane == active else "tab"
        text = f"{index} {title}" if is_named or pane == active else str(index)
        if n_blanks == 2:
            spans.append(Span(f" {text} ", role, f"pane.{pane}"))
        else:
            spans.append(Span(" ", role if before != "tab.active" else before))
            spans.append(Span(text, role, f"pane.{pane}"))
        before = role
    return spans if n_blanks == 2 else [*spans, Span(" ", before)]


def hints_row(hints: Sequence[tuple[str, str, str]], right: Row, width: int) -> Row:
    """Key hints at the left as far as they fit, and `right` at the right edge.

    Args:
        hints: (key, words, action id), the most important first.
    """
    room = width - width_of(right) - 2
    spans: list[Span] = [Span(" ")]
    for key, words, action in hints:
        pair = (Span(key, "key", action), Span(f" {words}  ", "muted", action))
        if width_of(spans) + width_of(pair) > room:
            break
        spans += pair
    return join_ends(spans, right, width)
