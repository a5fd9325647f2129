"""Go durations and keep_alive, against values that Go itself prints."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.errors import InvalidRequest
from server.types.durations import format_go_duration, parse_go_duration, parse_keep_alive


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("5m", 300.0),
        ("1.5h", 5400.0),
        ("2h45m", 9900.0),
        ("300ms", 0.3),
        ("-1s", -1.0),
        ("+5s", 5.0),
        ("1h15m30.918273645s", 4530.918273645),
        (".5s", 0.5),
        ("1.s", 1.0),
        ("10us", 1e-5),
        ("10µs", 1e-5),
    ],
)
def test_parses_what_go_parses(text: str, seconds: float) -> None:
    assert parse_go_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("10", 'time: missing unit in duration "10"'),
        ("-1", 'time: missing unit in duration "-1"'),
        ("", 'time: invalid duration ""'),
        ("1d", 'time: unknown unit "d" in duration "1d"'),
        ("s", 'time: invalid duration "s"'),
        (".s", 'time: invalid duration ".s"'),
        ("-", 'time: invalid duration "-"'),
        ("3000 s", 'time: unknown unit " s" in duration "3000 s"'),
    ],
)
def test_refuses_in_go_s_words(text: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_go_duration(text)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (300, "5m0s"),
        (1.5, "1.5s"),
        (3600, "1h0m0s"),
        (5445.25, "1h30m45.25s"),
        (0.25, "250ms"),
        (1e-6, "1µs"),
        (1e-9, "1ns"),
        (-2, "-2s"),
        (0.0015, "1.5ms"),
    ],
)
def test_prints_as_go(seconds: float, text: str) -> None:
    assert format_go_duration(seconds) == text


@given(st.integers(min_value=-(10**15), max_value=10**15))
def test_what_is_printed_reads_back(nanoseconds: int) -> None:
    seconds = nanoseconds / 1e9
    assert parse_go_duration(format_go_duration(seconds)) == pytest.approx(seconds, abs=1e-9)


@given(st.text(max_size=20))
def test_never_raises_anything_but_value_error(text: str) -> None:
    try:
        parse_go_duration(text)
    except ValueError:
        pass


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        (0, 0.0),
        (1.5, 1.5),
        ("5m", 300.0),
        (-1, math.inf),
        ("-1s", math.inf),
        ("0", 0.0),
        (1e300, math.inf),
        (10**399, math.inf),
    ],
)
def test_keep_alive(value: object, seconds: float | None) -> None:
    assert parse_keep_alive(value) == seconds


@pytest.mark.parametrize("value", ["10", "-1", "", "1d", "9999999h", True, [], {}])
def test_keep_alive_refuses(value: object) -> None:
    with pytest.raises(InvalidRequest):
        parse_keep_alive(value)
