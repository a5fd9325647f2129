"""The ring that keeps the log's last lines."""

from __future__ import annotations

import logging

import pytest

from server.log import LIBRARIES, LINE_CHARS, LogRing, install, level_of


def test_lines_are_numbered_and_bounded() -> None:
    ring = LogRing(max_lines=3)
    for number in range(5):
        ring.add("info", "server", f"line {number}")
    lines = ring.after(0, 10)
    assert [(line.number, line.text) for line in lines] == [(3, "line 2"), (4, "line 3"), (5, "line 4")]
    assert [line.number for line in ring.after(4, 10)] == [5]
    assert [line.number for line in ring.after(0, 1)] == [5]
    assert ring.after(0, 0) == ()


def test_a_long_line_is_cut() -> None:
    ring = LogRing()
    ring.add("info", "server", "x" * (LINE_CHARS + 1))
    assert len(ring.after(0, 1)[0].text) == LINE_CHARS


def test_records_and_tracebacks_reach_the_ring() -> None:
    ring = LogRing()
    logger = install(ring, debug=0)
    logger.debug("not kept at this level")
    try:
        raise ValueError("boom")
    except ValueError:
        logger.exception("it failed")
    texts = [line.text for line in ring.after(0, 100)]
    assert texts[0] == "it failed"
    assert texts[-1] == "ValueError: boom"
    assert {line.level for line in ring.after(0, 100)} == {"error"}


def test_installing_again_replaces_the_ring() -> None:
    first, second = LogRing(), LogRing()
    install(first, 0)
    install(second, 0).info("hello")
    assert first.after(0, 10) == ()
    assert [line.text for line in second.after(0, 10)] == ["hello"]


def test_warnings_of_libraries_reach_the_ring_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    ring = LogRing()
    install(ring, debug=0)
    install(ring, debug=0)
    for name in LIBRARIES:
        logging.getLogger(name).info("not wanted")
        logging.getLogger(name).warning("from %s", name)
    assert [line.text for line in ring.after(0, 10)] == [f"from {name}" for name in LIBRARIES]
    assert capsys.readouterr().err == ""


def test_levels() -> None:
    assert [level_of(n) for n in (logging.DEBUG, logging.INFO, logging.WARNING, logging.CRITICAL)] == [
        "debug",
        "info",
        "warning",
        "error",
    ]
