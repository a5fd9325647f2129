"""What a measurement of a model gives, from what its requests took. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import msgspec

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


class Prefill(msgspec.Struct, frozen=True, kw_only=True):
    """How fast a prompt of this length is read, the median of the rounds."""

    n_tokens: int
    tokens_per_s: float


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
    prefill_by_length: tuple[Prefill, ...] = ()

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
