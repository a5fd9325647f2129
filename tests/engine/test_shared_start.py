"""Who is decoded in a pool of their own."""

from __future__ import annotations

import pytest

from server.engine.shared_start import MIN_SHARED_TOKENS, is_worth_a_pool, may_stay


@pytest.mark.parametrize(
    ("n_shared", "n_rows", "is_worth"),
    [
        (1000, [32] * 8, True),
        (1000, [32, 32], True),
        (1000, [1, 63], True),
        (1000, [32], False),
        (1000, [32, 31], False),
        (1000, [64, 32], False),
        (MIN_SHARED_TOKENS - 1, [32] * 8, False),
        (MIN_SHARED_TOKENS, [32] * 8, True),
    ],
)
def test_several_with_a_long_beginning_and_little_more(
    n_shared: int, n_rows: list[int], is_worth: bool
) -> None:
    assert is_worth_a_pool(n_shared, n_rows) == is_worth


def test_they_stay_as_long_as_most_of_what_a_row_comes_by_is_its_own() -> None:
    def stays(n_shared: int, n_own: int, n_members: int = 8, n_idle: int = 0) -> bool:
        n_used = n_shared + n_own * n_members + n_idle
        return may_stay(n_used, [n_shared + n_own] * n_members, [1] * n_members)

    assert stays(1000, 32)
    assert stays(1000, 150)
    assert not stays(1000, 200)
    assert not stays(1000, 32, n_idle=1000)
    assert not stays(1000, 32, n_members=1)


def test_a_long_part_of_a_prompt_is_decoded_in_its_stream() -> None:
    assert may_stay(1200, [1100, 1100], [63, 1])
    assert not may_stay(1201, [1101, 1100], [64, 1])
