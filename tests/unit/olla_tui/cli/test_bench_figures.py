"""Figures are medians of what was measured, and never count what was not done."""

from __future__ import annotations

import json

import pytest

from olla_tui.cli.bench_figures import as_json, as_text, rate_text, seconds_text
from olla_tui.client.bench_figures import (
    Decode,
    Figures,
    Machine,
    Run,
    ceiling,
    decode_speed,
    prefill_speed,
)
from server.types.generation import Timings


def run(wall_s: float, *n_output: int, first_token_s: float = 0.1) -> Run:
    timings = tuple(Timings(n_output_tokens=n) for n in n_output)
    return Run(first_token_s=(first_token_s,) * len(n_output), wall_s=wall_s, timings=timings)


def figures(**changes: object) -> Figures:
    values: dict[str, object] = {
        "model": "spark",
        "quantization": "Q8_0",
        "n_parameters": 5_770_496,
        "weights_bytes": 6_000_000,
        "machine": Machine(processor="a processor", n_slots=16, n_ctx=2048, read_bytes_per_s=24e9),
        "load_s": 0.2,
        "first_token_s": 0.0031,
        "n_prompt_tokens": 512,
        "prefill_tokens_per_s": 12_345.0,
        "decode": (
            Decode(n_clients=1, tokens_per_s=1000.0, first_token_s=0.003),
            Decode(n_clients=8, tokens_per_s=2400.0, first_token_s=0.02),
        ),
        "ceiling_tokens_per_s": 4000.0,
    }
    return Figures(**{**values, **changes})  # type: ignore[arg-type]


def test_the_first_token_of_each_request_is_not_decoded_and_does_not_count() -> None:
    row = decode_speed(2, [run(1.0, 11, 21), run(2.0, 11, 21), run(4.0, 11, 21)])
    assert row.tokens_per_s == 15.0
    assert row.first_token_s == 0.1


def test_a_round_without_an_answer_counts_for_nothing() -> None:
    assert decode_speed(1, [run(0.0, 0)]).tokens_per_s == 0.0
    assert decode_speed(1, []) == Decode(n_clients=1, tokens_per_s=0.0, first_token_s=0.0)


def test_prompt_tokens_that_were_in_memory_do_not_count() -> None:
    timings = Timings(n_prompt_tokens=600, n_cached_tokens=100, prompt_duration_ns=500_000_000)
    assert prefill_speed([Run(first_token_s=(0.5,), wall_s=0.0, timings=(timings,))]) == 1000.0
    assert prefill_speed([]) == 0.0


def test_the_ceiling_reads_each_weight_once_a_token() -> None:
    assert ceiling(24e9, 6_000_000) == 4000.0
    assert ceiling(24e9, 0) == 0.0
    assert figures().ceiling_share == 0.25
    assert figures(ceiling_tokens_per_s=0.0).ceiling_share == 0.0
    assert figures(decode=()).ceiling_share == 0.0


def test_people_read_a_table() -> None:
    assert [line.rstrip() for line in as_text(figures()).splitlines()] == [
        "spark · Q8_0 · 5.77M · 16 slots of 2,048 tokens · loaded in 200 ms · a processor",
        "first token            3.1 ms",
        "prefill, 512 tokens    12,345 tok/s",
        "decode, 1 client       1,000 tok/s     25% of the 4,000 tok/s that 24 GB/s of memory allow",
        "decode, 8 clients      2,400 tok/s     300 tok/s each, first token 20.0 ms",
    ]
    assert "allow" not in as_text(figures(ceiling_tokens_per_s=0.0))


def test_programs_read_json() -> None:
    reply = json.loads(json.dumps(as_json(figures())))
    assert reply["ceiling_share"] == 0.25
    assert reply["decode"][1] == {"n_clients": 8, "tokens_per_s": 2400.0, "first_token_s": 0.02}
    assert reply["machine"]["read_bytes_per_s"] == 24e9


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.0031, "3.1 ms"), (0.24, "240 ms"), (1.519, "1.52 s"), (12.0, "12.00 s")]
)
def test_seconds(seconds: float, text: str) -> None:
    assert seconds_text(seconds) == text


@pytest.mark.parametrize(("rate", "text"), [(12.34, "12.3 tok/s"), (1234.5, "1,234 tok/s")])
def test_rates(rate: float, text: str) -> None:
    assert rate_text(rate) == text
