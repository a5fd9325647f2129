"""Sizes, numbers and times in Ollama's words; the cases are the edges of each unit."""

from __future__ import annotations

import pytest

from olla_tui.cli.human import human_bytes, human_number, human_time, processor

HOUR_S = 3600
DAY_S = 24 * HOUR_S


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 B"),
        (1, "1 B"),
        (999, "999 B"),
        (1000, "1 KB"),
        (1500, "1.5 KB"),
        (999_999, "999 KB"),
        (1_000_000, "1 MB"),
        (6_270_880, "6.3 MB"),
        (25_285_312, "25 MB"),
        (9_600_000_000, "9.6 GB"),
        (10_000_000_000, "10 GB"),
        (1_500_000_000_000, "1.5 TB"),
    ],
)
def test_bytes(size_bytes: int, text: str) -> None:
    assert human_bytes(size_bytes) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1K"),
        (125_000_000, "125M"),
        (500_500_000, "500.50M"),
        (500_550_000, "500.55M"),
        (1_000_000_000, "1B"),
        (2_856_000_000, "2.9B"),
        (7_000_000_000, "7B"),
    ],
)
def test_numbers(number: int, text: str) -> None:
    assert human_number(number) == text


@pytest.mark.parametrize(
    ("distance_s", "text"),
    [
        (-0.5, "Less than a second ago"),
        (-1, "1 second ago"),
        (-59, "59 seconds ago"),
        (-60, "About a minute ago"),
        (-119, "About a minute ago"),
        (-120, "2 minutes ago"),
        (-59 * 60, "59 minutes ago"),
        (-HOUR_S, "About an hour ago"),
        (-24 * HOUR_S, "24 hours ago"),
        (-48 * HOUR_S, "2 days ago"),
        (-14 * DAY_S, "2 weeks ago"),
        (-60 * DAY_S, "2 months ago"),
        (-3 * 365 * DAY_S, "3 years ago"),
        (299, "4 minutes from now"),
        (48 * HOUR_S, "2 days from now"),
        (20 * 365 * DAY_S, "20 years from now"),
        (22 * 365 * DAY_S, "Forever"),
    ],
)
def test_times(distance_s: float, text: str) -> None:
    now_s = 1_800_000_000.0
    assert human_time(now_s + distance_s, now_s) == text


def test_no_time() -> None:
    assert human_time(None, 0.0) == "Never"
    assert human_time(None, 0.0, never="-") == "-"


@pytest.mark.parametrize(
    ("size", "size_vram", "text"),
    [
        (100, 0, "100% CPU"),
        (0, 0, "100% CPU"),
        (100, 100, "100% GPU"),
        (100, 200, "Unknown"),
        (100, 75, "25%/75% CPU/GPU"),
        (200, 75, "63%/37% CPU/GPU"),
    ],
)
def test_processor(size: int, size_vram: int, text: str) -> None:
    assert processor(size, size_vram) == text
