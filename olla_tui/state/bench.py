"""Measurements of models: what is kept of them, and how they read."""

from __future__ import annotations

import time
from collections.abc import Sequence

import msgspec

from olla_tui.client.bench_figures import Figures
from olla_tui.state.graphs import UNICODE, Glyphs
from olla_tui.state.numbers import bytes_text, context_length_text, rate_text, seconds_text
from olla_tui.state.rows import Row, Span, fit, row

MAX_ENTRIES = 200

LONGER_PROMPTS = (128, 2048, 8192)
"""Prompts whose reading is measured beside the usual one, as far as the context holds them."""


class BenchEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One measurement.

    Attributes:
        measured_at: Unix time, seconds.
    """

    measured_at: float
    figures: Figures

    @property
    def key(self) -> str:
        """What tells it from others."""
        return f"{self.measured_at:.3f} {self.figures.model}"


def read_entries(text: str) -> list[BenchEntry]:
    """Entries of a file with one in a line, newest first; lines that do not read are left out."""
    found = []
    for line in text.splitlines():
        try:
            found.append(msgspec.json.decode(line, type=BenchEntry))
        except msgspec.MsgspecError:
            continue
    return sorted(found, key=lambda entry: -entry.measured_at)[:MAX_ENTRIES]


def write_entries(entries: Sequence[BenchEntry]) -> str:
    """What `read_entries` reads, the oldest first and at most `MAX_ENTRIES` of them."""
    newest = sorted(entries, key=lambda entry: -entry.measured_at)[:MAX_ENTRIES]
    return "".join(msgspec.json.encode(entry).decode() + "\n" for entry in reversed(newest))


def decode_of(figures: Figures, n_clients: int) -> float:
    """Tokens a second with so many clients, 0 when that was not measured."""
    return next((one.tokens_per_s for one in figures.decode if one.n_clients == n_clients), 0.0)


def change_text(entry: BenchEntry, entries: Sequence[BenchEntry]) -> tuple[str, str]:
    """How decoding changed since the measurement of the same model before, and its role; "" for the first."""
    before = [
        other
        for other in entries
        if other.figures.model == entry.figures.model and other.measured_at < entry.measured_at
    ]
    now = decode_of(entry.figures, 1)
    was = decode_of(max(before, key=lambda other: other.measured_at).figures, 1) if before else 0.0
    if not (now and was):
        return "", ""
    change = now / was - 1
    return f"{change:+.0%}", "bad" if change < -0.05 else "good" if change > 0.05 else "muted"


def when_text(entry: BenchEntry) -> str:
    """ "28 Nov 14:02"."""
    return time.strftime("%d %b %H:%M", time.localtime(entry.measured_at))


def detail_rows(entry: BenchEntry, width: int, glyphs: Glyphs = UNICODE) -> list[Row]:
    """All figures of a measurement; rates as bars, longest for the fastest of its kind."""
    figures = entry.figures
    machine = figures.machine
    slot = context_length_text(machine.n_ctx)
    rows = [
        _line("machine", f"{machine.processor}, {machine.n_slots} slots of {slot}"),
        _line("weights", f"{bytes_text(figures.weights_bytes)} {figures.quantization}".strip()),
        _line("load", seconds_text(figures.load_s)),
        _line("first token", seconds_text(figures.first_token_s)),
    ]
    if figures.ceiling_share:
        most = rate_text(figures.ceiling_tokens_per_s)
        rows.append(_line("memory", f"decodes at {figures.ceiling_share:.0%} of the {most} tok/s it allows"))
    prefill = {figures.n_prompt_tokens: figures.prefill_tokens_per_s}
    prefill |= {one.n_tokens: one.tokens_per_s for one in figures.prefill_by_length}
    rows += _bars([(f"prefill {n}", prefill[n]) for n in sorted(prefill)], width, glyphs)
    clients = [(f"decode x{one.n_clients}", one.tokens_per_s) for one in figures.decode]
    return rows + _bars(clients, width, glyphs)


LABEL_WIDTH = 14
_RATE_WIDTH = 14


def _bars(rates: Sequence[tuple[str, float]], width: int, glyphs: Glyphs) -> list[Row]:
    most = max((rate for _, rate in rates), default=0.0)
    room = max(4, min(60, width - LABEL_WIDTH - _RATE_WIDTH - 2))
    rows = []
    for label, rate in rates:
        n_full = max(round(room * rate / most), 1) if most and rate else 0
        bar = Span(glyphs.full * n_full + " " * (room - n_full), "accent")
        text = fit(f"{rate_text(rate)} tok/s", _RATE_WIDTH, "right")
        rows.append(row(Span(" " + fit(label, LABEL_WIDTH), "muted"), bar, Span(text)))
    return rows


def _line(label: str, text: str) -> Row:
    return row(Span(" " + fit(label, LABEL_WIDTH), "muted"), Span(text))
