"""Points in time in RFC 3339, as Go prints them."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.wire.times import local_text, parse_time, utc_text


@pytest.fixture
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("time_ns", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (1_795_419_155_225_975_792, "2026-11-23T07:32:35.225975792Z"),
        (1_795_419_155_900_000_000, "2026-11-23T07:32:35.9Z"),
        (1_795_419_155_000_000_001, "2026-11-23T07:32:35.000000001Z"),
    ],
)
def test_utc(time_ns: int, text: str) -> None:
    assert utc_text(time_ns) == text


@pytest.mark.parametrize(
    ("zone", "text"),
    [
        ("UTC", "2026-11-23T07:32:35.5Z"),
        ("Europe/Vienna", "2026-11-23T08:32:35.5+01:00"),
        ("America/St_Johns", "2026-11-23T04:02:35.5-03:30"),
    ],
    indirect=["zone"],
)
def test_local(zone: None, text: str) -> None:
    assert local_text(1_795_419_155.5) == text


@given(st.floats(0, 9e9))
def test_local_times_read_back_to_the_microsecond(time_s: float) -> None:
    assert parse_time(local_text(time_s)) == pytest.approx(time_s, abs=2e-6)


@given(st.integers(0, 9_000_000_000 * 10**9))
def test_utc_times_read_back_to_the_microsecond(time_ns: int) -> None:
    assert parse_time(utc_text(time_ns)) == pytest.approx(time_ns / 1e9, abs=2e-6)
