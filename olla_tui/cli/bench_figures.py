"""Figures of `olla bench` as a table and as JSON. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from olla_tui.cli.human import human_bytes, human_number
from olla_tui.cli.tables import table
from olla_tui.client.bench_figures import Decode, Figures


def as_json(figures: Figures) -> dict[str, Any]:
    """For `--format json`; units stand in the names."""
    reply: dict[str, Any] = msgspec.to_builtins(figures)
    reply["ceiling_share"] = round(figures.ceiling_share, 4)
    if not figures.prefill_by_length:
        del reply["prefill_by_length"]
    return reply


def as_text(figures: Figures) -> str:
    """A few lines for people, with a line break at the end."""
    machine = figures.machine
    head = [
        figures.model,
        figures.quantization,
        human_number(figures.n_parameters) if figures.n_parameters else "",
        f"{machine.n_slots} slots of {machine.n_ctx:,} tokens",
        f"loaded in {seconds_text(figures.load_s)}",
        machine.processor,
    ]
    rows = [
        ["first token", seconds_text(figures.first_token_s), ""],
        [f"prefill, {figures.n_prompt_tokens:,} tokens", rate_text(figures.prefill_tokens_per_s), ""],
    ]
    for row in figures.decode:
        label = "decode, 1 client" if row.n_clients == 1 else f"decode, {row.n_clients} clients"
        rows.append([label, rate_text(row.tokens_per_s), _note(row, figures)])
    return " · ".join(part for part in head if part) + "\n" + table((), rows, cell_width=100)


def _note(row: Decode, figures: Figures) -> str:
    if row.n_clients > 1:
        each = rate_text(row.tokens_per_s / row.n_clients)
        return f"{each} each, first token {seconds_text(row.first_token_s)}"
    if not figures.ceiling_tokens_per_s:
        return ""
    memory = human_bytes(int(figures.machine.read_bytes_per_s))
    most = rate_text(figures.ceiling_tokens_per_s)
    return f"{figures.ceiling_share:.0%} of the {most} that {memory}/s of memory allow"


def rate_text(tokens_per_s: float) -> str:
    """ "12.3 tok/s", "1,234 tok/s"."""
    return f"{tokens_per_s:,.1f} tok/s" if tokens_per_s < 100 else f"{tokens_per_s:,.0f} tok/s"


def seconds_text(seconds: float) -> str:
    """ "3.1 ms", "240 ms", "1.52 s"."""
    if seconds >= 1:
        return f"{seconds:.2f} s"
    return f"{seconds * 1000:.1f} ms" if seconds < 0.1 else f"{seconds * 1000:.0f} ms"
