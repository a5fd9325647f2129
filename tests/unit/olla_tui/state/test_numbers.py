import math

import pytest

from olla_tui.state import numbers


@pytest.mark.parametrize(
    ("n_bytes", "text"),
    [(0, "0 B"), (999, "999 B"), (6_200_000, "6.2 MB"), (9_300_000_000, "9.3 GB"), (120e9, "120 GB")],
)
def test_bytes(n_bytes, text):
    assert numbers.bytes_text(n_bytes) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0"), (412, "412"), (999, "999"), (3100, "3.1k"), (8192, "8.2k"), (1_200_000, "1.2M")],
)
def test_counts_take_four_characters_at_most(count, text):
    assert numbers.count_text(count) == text
    assert len(text) <= 4


@pytest.mark.parametrize(
    ("n_tokens", "text"), [(2048, "2k"), (32768, "32k"), (131072, "128k"), (5000, "5k"), (512, "512")]
)
def test_context_lengths_are_binary(n_tokens, text):
    assert numbers.context_length_text(n_tokens) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (26.2, "27s"), (60, "1m00s"), (252, "4m12s"), (10_920, "3h02m"), (187_200, "2d04h")],
)
def test_countdowns(seconds, text):
    assert numbers.countdown_text(seconds) == text


def test_a_model_that_never_leaves_stays_forever():
    assert numbers.countdown_text(math.inf) == "forever"


@pytest.mark.parametrize(("fraction", "text"), [(-1, "  0%"), (0.714, " 71%"), (1, "100%"), (7, "100%")])
def test_percentages_have_one_width(fraction, text):
    assert numbers.percent_text(fraction) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.38, "0.38 s"), (9.999, "10.0 s"), (12.4, "12.4 s"), (185, "3m05s")]
)
def test_durations(seconds, text):
    assert numbers.seconds_text(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(3, "now"), (300, "5 min ago"), (7200, "2 h ago"), (900_000, "10 d ago")]
)
def test_ages(seconds, text):
    assert numbers.age_text(seconds) == text


def test_rates_and_gigabytes():
    assert [numbers.rate_text(rate) for rate in (0, 41.26, 120.4)] == ["–", "41.3", "120"]
    assert [numbers.gib_text(size) for size in (0, 6e6, 17.1 * 2**30)] == ["0.0", "<0.1", "17.1"]
