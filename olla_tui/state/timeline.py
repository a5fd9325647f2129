"""Looking back: graphs over a window of time, and the figures of one moment in it."""

from __future__ import annotations

import time
from collections.abc import Sequence

from olla_tui.state.graphs import UNICODE, Glyphs, braille_graph, level_role
from olla_tui.state.numbers import count_text, gib_text, percent_text, rate_text
from olla_tui.state.rows import Row, Span, fit, fit_row, row
from server.types.history import DeviceTrack, StatusHistory

N_STEPS = 60
"""Into so many steps the keys that look back divide a window."""


RATE_SIDE_WIDTH = 10


def resample(values: Sequence[float | None], n_columns: int) -> list[float]:
    """The values in `n_columns`: the most of each bucket, or each value in several columns; none is 0."""
    n = len(values)
    if not n or n_columns <= 0:
        return []
    columns = []
    for column in range(n_columns):
        start = column * n // n_columns
        end = max(start + 1, (column + 1) * n // n_columns)
        columns.append(max((value for value in values[start:end] if value is not None), default=0.0))
    return columns


class Look:
    """Where in the window one looks; 0 steps back is now."""

    def __init__(self) -> None:
        self.n_back = 0

    def move(self, step: int) -> None:
        """Look earlier (1) or later (-1)."""
        self.n_back = min(max(0, self.n_back + step), N_STEPS)

    def to_now(self) -> None:
        """Look at what is now."""
        self.n_back = 0

    @property
    def is_back(self) -> bool:
        """Whether one looks at the past."""
        return self.n_back > 0

    def slot(self, history: StatusHistory) -> int:
        """Number of the slot that one looks at."""
        n_slots = len(history.n_active)
        return max(0, n_slots - 1 - round(self.n_back / N_STEPS * (n_slots - 1)))

    def column(self, n_columns: int) -> int:
        """Column of a graph of this width that stands for it."""
        return max(0, n_columns - 1 - round(self.n_back / N_STEPS * (n_columns - 1)))


def track_of(history: StatusHistory | None, index: int, name: str) -> DeviceTrack | None:
    """The track of the device at this place, if it is the one of that name."""
    if history is None or index >= len(history.devices):
        return None
    track = history.devices[index]
    return track if track.name == name else None


def at_words(history: StatusHistory, slot: int) -> str:
    """Time and requests of a slot: "14:02:10 · 2 running · 1 queued · 41.3 tok/s · 12 ended"."""
    at_s = history.end_s - (len(history.n_active) - slot) * history.period_s
    clock = time.strftime("%H:%M:%S" if history.period_s < 60 else "%d %b %H:%M", time.localtime(at_s))
    if history.n_active[slot] is None:
        return f"{clock} · nothing is known of this time"
    failed = history.n_failed[slot]
    words = [
        clock,
        f"{history.n_active[slot]} running",
        f"{history.n_queued[slot]} queued",
        f"{rate_text(history.tokens_per_s[slot] or 0.0)} tok/s",
        f"{history.n_ended[slot]} ended" + (f", {failed} failed" if failed else ""),
    ]
    return " · ".join(words)


def device_words(track: DeviceTrack, slot: int) -> str:
    """Figures of a device in a slot: "71% 17.1 G 212 W 64 °C"."""
    utilization, memory = track.utilization[slot], track.memory_used_bytes[slot]
    if utilization is None:
        return "–"
    words = [percent_text(utilization).strip(), f"{gib_text(memory or 0)} G"]
    if (power_w := track.power_w[slot]) is not None:
        words.append(f"{power_w:.0f} W")
    if (temperature_c := track.temperature_c[slot]) is not None:
        words.append(f"{temperature_c:.0f} °C")
    return "  ".join(words)


def marked(line: Row, column: int, glyphs: Glyphs = UNICODE) -> Row:
    """The line with the mark of the moment one looks at in this cell."""
    spans: list[Span] = []
    start = 0
    for span in line:
        end = start + len(span.text)
        if start <= column < end:
            cut = column - start
            spans += [
                span._replace(text=span.text[:cut]),
                Span(glyphs.bar, "accent"),
                span._replace(text=span.text[cut + 1 :]),
            ]
        else:
            spans.append(span)
        start = end
    return tuple(span for span in spans if span.text)


def rate_graph(history: StatusHistory, width: int, height: int, glyphs: Glyphs = UNICODE) -> list[Row]:
    """Tokens a second over the window, scaled to its peak, with running and queued at the right."""
    side = RATE_SIDE_WIDTH
    inner = max(1, width - 4 - side)
    values = resample(history.tokens_per_s, 2 * inner)
    peak = max(values, default=0.0)
    shares = [value / peak for value in values] if peak else values
    n_ended = sum(count or 0 for count in history.n_ended)
    n_failed = sum(count or 0 for count in history.n_failed)
    notes = [
        (f"{rate_text(peak)} tok/s", "muted"),
        (f"{count_text(n_ended)} ended", "muted"),
        (f"{count_text(n_failed)} failed", "bad" if n_failed else "muted"),
    ]
    rows: list[Row] = []
    for index, line in enumerate(braille_graph(shares, inner, height, braille=glyphs.braille)):
        note, role = notes[index] if index < len(notes) else ("", "")
        scale = "top" if index == 0 else "  0" if index == height - 1 else "   "
        rows.append(
            row(
                Span(scale + glyphs.bar, "faint"),
                Span(line, level_role(0.0, glyphs)),
                Span(fit(note, side, "right"), role),
            )
        )
    return [fit_row(line, width) for line in rows]
