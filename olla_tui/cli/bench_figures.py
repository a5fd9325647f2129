"""Figures of `olla bench` from what was measured, as a table and as JSON. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

import msgspec

from olla_tui.cli.human import human_bytes, human_number
from olla_tui.cli.tables import table
from server.types.generation import Timings

NS_PER_S = 1_000_000_000


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One round of requests that began together.

    Attributes:
        first_token_s: from the request to the first piece of the answer, for each request.
        wall_s: from the first piece of any answer to the last piece of any.
    """

    first_token_s: tuple[float, ...]
    wall_s: float
    timings: tuple[Timings, ...]


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """Where the model runs.

    Attributes:
        read_bytes_per_s: how fast memory can be read; 0: not known, as for a GPU or another machine.
    """

    processor: str
    n_slots: int
    n_ctx: int
    read_bytes_per_s: float = 0.0


class Decode(msgspec.Struct, frozen=True, kw_only=True):
    """Decoding with a number of clients at once, medians over the rounds.

    Attributes:
        tokens_per_s: of all clients together.
        first_token_s: the middle one of all requests.
    """

    n_clients: int
    tokens_per_s: float
    first_token_s: float


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """All that is printed.

    Attributes:
        first_token_s: of a short prompt, with one client.
        ceiling_tokens_per_s: one stream that does nothing but read the weights; 0: not known.
    """

    model: str
    quantization: str
    n_parameters: int
    weights_bytes: int
    machine: Machine
    load_s: float
    first_token_s: float
    n_prompt_tokens: int
    prefill_tokens_per_s: float
    decode: tuple[Decode, ...]
    ceiling_tokens_per_s: float = 0.0

    @property
    def ceiling_share(self) -> float:
        """Single-stream decode as a share of the ceiling; 0 when either is not known."""
        single = next((row.tokens_per_s for row in self.decode if row.n_clients == 1), 0.0)
        return single / self.ceiling_tokens_per_s if self.ceiling_tokens_per_s else 0.0


def prefill_speed(runs: Sequence[Run]) -> float:
    """Prompt tokens per second that were really decoded: what was found in memory does not count."""
    rates = [
        (timings.n_prompt_tokens - timings.n_cached_tokens) * NS_PER_S / timings.prompt_duration_ns
        for run in runs
        for timings in run.timings
        if timings.prompt_duration_ns > 0
    ]
    return statistics.median(rates) if rates else 0.0


def decode_speed(n_clients: int, runs: Sequence[Run]) -> Decode:
    """Tokens per second after each request's first, all clients together."""
    rates = [
        sum(max(timings.n_output_tokens - 1, 0) for timings in run.timings) / run.wall_s
        for run in runs
        if run.wall_s > 0
    ]
    waits = [wait_s for run in runs for wait_s in run.first_token_s]
    return Decode(
        n_clients=n_clients,
        tokens_per_s=statistics.median(rates) if rates else 0.0,
        first_token_s=statistics.median(waits) if waits else 0.0,
    )


def ceiling(read_bytes_per_s: float, weights_bytes: int) -> float:
    """Tokens per second of one stream that reads every weight once a token; 0 when not known."""
    return read_bytes_per_s / weights_bytes if weights_bytes else 0.0


def as_json(figures: Figures) -> dict[str, Any]:
    """For `--format json`; units stand in the names."""
    reply: dict[str, Any] = msgspec.to_builtins(figures)
    reply["ceiling_share"] = round(figures.ceiling_share, 4)
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
