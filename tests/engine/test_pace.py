"""The prompt tokens of a step follow the measured speed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.engine.pace import MAX_SHORT_TOKENS, MIN_CHUNK_TOKENS, Pace
from server.engine.tiles import TILE_ROWS


@given(
    speed=st.floats(min_value=0.1, max_value=1e6),
    someone=st.booleans(),
    n_batch=st.integers(1, 4096),
    decode_s=st.floats(0, 1),
    n_longest=st.integers(0, 5000),
)
def test_a_step_has_tokens_and_fits_the_batch(
    speed: float, someone: bool, n_batch: int, decode_s: float, n_longest: int
) -> None:
    pace = Pace(speed)
    pace.measured(0, decode_s, someone_decodes=True)
    n = pace.n_prompt_tokens(someone_decodes=someone, n_batch=n_batch, n_longest=n_longest)
    more = pace.n_prompt_tokens(
        someone_decodes=someone, n_batch=n_batch, n_longest=n_longest, n_pressing=n_longest
    )
    assert n <= more <= n_batch
    assert 1 <= n <= n_batch
    assert n == n_batch or n % (TILE_ROWS if someone else MIN_CHUNK_TOKENS) == 0


def test_prompts_take_less_of_a_step_while_someone_decodes() -> None:
    pace = Pace(1000.0)
    assert pace.n_prompt_tokens(someone_decodes=True, n_batch=2048) == 128
    assert pace.n_prompt_tokens(someone_decodes=False, n_batch=2048) == 992


def test_short_prompts_take_less_than_a_step_of_those_who_decode() -> None:
    pace = Pace(32_000.0)
    for _ in range(30):
        pace.measured(0, 0.008, someone_decodes=True)
    short = pace.n_prompt_tokens(someone_decodes=True, n_batch=4096, n_longest=MAX_SHORT_TOKENS)
    assert short == 128
    assert pace.n_prompt_tokens(someone_decodes=True, n_batch=4096, n_longest=MAX_SHORT_TOKENS + 1) == 3840
    assert pace.n_prompt_tokens(someone_decodes=False, n_batch=4096, n_longest=MAX_SHORT_TOKENS) == 4096


@pytest.mark.parametrize(("n_pressing", "n_tiles"), [(0, 1), (300, 1), (1_000, 4)])
def test_where_many_would_wait_long_for_a_first_token_short_prompts_take_longer(
    n_pressing: int, n_tiles: int
) -> None:
    pace = Pace(2_000.0)
    for _ in range(30):
        pace.measured(0, 0.02, someone_decodes=True)
    n = pace.n_prompt_tokens(someone_decodes=True, n_batch=2048, n_longest=32, n_pressing=n_pressing)
    assert n == n_tiles * TILE_ROWS


def test_the_speed_converges_to_what_is_measured() -> None:
    pace = Pace(10.0)
    for _ in range(30):
        pace.measured(512, 0.5)
    assert abs(pace.tokens_per_s - 1024.0) < 1.0


def test_what_others_take_of_a_step_is_not_counted_for_the_prompt() -> None:
    pace = Pace(1000.0)
    for _ in range(30):
        pace.measured(0, 0.04, someone_decodes=True)
        pace.measured(128, 0.04 + 0.128, someone_decodes=True)
    assert abs(pace.tokens_per_s - 1000.0) < 1.0
    pace.measured(128, 0.02, someone_decodes=True)
    assert 0 < pace.tokens_per_s < 5000.0  # the others cannot have taken the whole step


def test_a_step_of_a_few_tokens_says_nothing() -> None:
    pace = Pace(10.0)
    pace.measured(1, 1e-6)
    assert pace.tokens_per_s == 10.0


def test_the_first_guess_is_cautious_for_large_models_on_a_cpu() -> None:
    large = Pace.guess(8_000_000_000, 2, on_gpu=False)
    assert large.n_prompt_tokens(someone_decodes=False, n_batch=512) == MIN_CHUNK_TOKENS
    small = Pace.guess(6_000_000, 2, on_gpu=False)
    assert small.n_prompt_tokens(someone_decodes=False, n_batch=512) == 512
