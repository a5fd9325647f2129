"""The transfer queue as lines: order, what can be done, words, and what users type."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from olla_tui.state import pulls
from olla_tui.state.graphs import ASCII
from olla_tui.state.rows import plain, width_of
from server.types.transfers import TransferInfo, TransferList, TransferState
from tests.support.workstation_script import GPUS, PARTIALS, TRANSFERS

LISTED = TransferList(transfers=TRANSFERS, limit_bytes_per_s=50_000_000)


def lines() -> dict[str, pulls.PullLine]:
    return {line.key: line for line in pulls.queue_lines(LISTED, PARTIALS)}


def test_what_is_under_way_comes_first_then_what_is_unfinished_then_what_has_ended() -> None:
    assert list(lines()) == ["t3", "t4", "t5", "t6", "p:gpt-oss:20b", "t2", "t1"]


def test_blobs_of_a_model_are_one_line_and_those_being_fetched_none() -> None:
    unfinished = lines()["p:gpt-oss:20b"]
    assert unfinished.total_bytes == 13_001_000_000
    assert len(unfinished.digests) == 2
    assert "the pull can go on" in unfinished.status
    assert "p:gemma3:27b" not in lines()


def test_a_cancelled_pull_that_can_go_on_is_not_listed_twice() -> None:
    cancelled = TransferInfo(id=9, kind="pull", model="gpt-oss:20b", state="cancelled")
    keys = [line.key for line in pulls.queue_lines(TransferList(transfers=(cancelled,)), PARTIALS)]
    assert keys == ["p:gpt-oss:20b"]
    assert [line.key for line in pulls.queue_lines(TransferList(transfers=(cancelled,)), ())] == ["t9"]


@pytest.mark.parametrize(
    ("key", "verbs"),
    [
        ("t3", {"pause", "move", "limit", "remove"}),
        ("t4", {"resume", "move", "limit", "remove"}),
        ("p:gpt-oss:20b", {"again", "remove"}),
        ("t2", {"again", "remove"}),
        ("t1", {"remove"}),
    ],
)
def test_what_can_be_done(key: str, verbs: set[str]) -> None:
    every: tuple[pulls.Verb, ...] = ("pause", "resume", "move", "limit", "remove", "again")
    assert {verb for verb in every if lines()[key].can(verb)} == verbs


def test_a_download_of_an_unknown_model_cannot_go_on() -> None:
    lost = msgspec.structs.replace(PARTIALS[0], model="")
    (line,) = pulls.queue_lines(TransferList(), (lost,))
    assert not line.can("again") and line.can("remove")


def test_what_another_program_left_can_go_on_but_is_not_removed() -> None:
    theirs = msgspec.structs.replace(PARTIALS[0], program="Ollama")
    (line,) = pulls.queue_lines(TransferList(), (theirs,))
    assert line.can("again") and not line.can("remove")


STATES = st.lists(st.sampled_from(["waiting", "running", "paused"]), min_size=1, max_size=8)


@given(STATES, st.data())
def test_a_move_is_a_place_of_the_queue_or_none(states: list[TransferState], data: st.DataObject) -> None:
    infos = tuple(
        TransferInfo(id=number, kind="pull", model=f"m{number}", state=state)
        for number, state in enumerate(states, start=1)
    )
    ended = TransferInfo(id=99, kind="pull", model="old", state="done")
    listed = TransferList(transfers=(*infos, ended))
    chosen = data.draw(st.integers(1, len(states)))
    step = data.draw(st.sampled_from([-1, 0, 1]))
    wanted = pulls.new_position(listed, chosen, step)
    if wanted is None:
        assert chosen - 1 == {0: 0, -1: 0, 1: len(states) - 1}[step]
    else:
        assert wanted == (0 if step == 0 else chosen - 1 + step)
    assert pulls.new_position(listed, 99, step) is None


def test_words() -> None:
    found = lines()
    assert pulls.state_text(found["t3"]) == "pulling"
    assert pulls.state_text(found["t5"], 0) == "waiting #1"
    assert pulls.size_text(found["t3"]) == "10.6 of 17.4 GB"
    assert pulls.size_text(found["t1"]) == "9.3 GB"
    assert pulls.size_text(found["t5"]) == "–"
    assert pulls.speed_text(found["t3"]) == "84.0 MB/s"
    assert pulls.eta_text(found["t3"]) == "1m21s"
    assert pulls.eta_text(found["t4"]) == "–"
    assert pulls.title_note(LISTED, list(found.values())) == (
        "1 running · 2 waiting · 1 paused · 1 unfinished · limit 50.0 MB/s"
    )


@given(st.integers(0, 10**13), st.integers(0, 10**13), st.integers(0, 40))
def test_a_bar_is_as_wide_as_asked_and_full_only_at_the_end(total: int, completed: int, width: int) -> None:
    line = pulls.PullLine("t1", "m", "pull", "running", total_bytes=total, completed_bytes=completed)
    bar = pulls.share_bar(line, width, ASCII)
    assert width_of(bar) == width
    assert width == 0 or not total or completed >= total or width == 1 or "." in plain(bar)


@pytest.mark.parametrize("width", [39, 49, 60])
def test_the_rail_shows_what_is_under_way_only(width: int) -> None:
    rows = pulls.rail_rows(list(lines().values()), width, 4)
    assert [width_of(row) for row in rows] == [width] * 4
    assert "1m21s" in plain(rows[0]) and "paused" in plain(rows[1])
    assert not any("mistral" in plain(row) for row in rows)


@pytest.mark.parametrize(
    "text", ["llama3.2", "m:7b", "hf.co/me/repo:Q4_K_M", "localhost:5000/me/m", " m ", "m:local"]
)
def test_names_that_can_be_pulled(text: str) -> None:
    assert pulls.name_problem(text) == ""


@pytest.mark.parametrize(
    ("text", "words"),
    [("", "a name is needed"), ("  ", "a name is needed"), ("a b", "no model's name"), ("m:cloud", "cloud")],
)
def test_names_that_cannot(text: str, words: str) -> None:
    assert words in pulls.name_problem(text)


@given(st.integers(0, 1 << 50))
def test_a_limit_is_read_as_it_is_written(bytes_per_s: int) -> None:
    text = pulls.typed_limit(bytes_per_s)
    assert pulls.read_limit(text or "0") == bytes_per_s
    assert pulls.limit_problem(text or "none") == ""


@pytest.mark.parametrize("text", ["", "fast", "5 MB per s", "-1"])
def test_what_is_no_limit(text: str) -> None:
    assert "bytes a second are needed" in pulls.limit_problem(text)


def test_ends_are_told_once() -> None:
    done = msgspec.structs.replace(TRANSFERS[0], state="done")
    failed = msgspec.structs.replace(TRANSFERS[2], state="failed", status="no such host")
    after = TransferList(transfers=(TRANSFERS[1], failed, done, *TRANSFERS[4:]))
    assert pulls.ended_words(LISTED, after) == [
        ("push of me/spark:latest failed: no such host", "error"),
        ("gemma3:27b is pulled", "information"),
    ]
    assert pulls.ended_words(after, after) == []


def test_what_is_suggested_was_heard_of_here_and_is_sized_to_this_machine() -> None:
    found = pulls.suggestions(
        pulls.queue_lines(LISTED, PARTIALS), ["old:7b", "spark:latest", ""], {"spark:latest"}, GPUS
    )
    assert found == [
        ("gpt-oss:20b", "13.0 GB, fits, unfinished"),
        ("mistral:7c", "failed"),
        ("old:7b", "used in a chat"),
    ]
    assert pulls.fit_by_size(int(900e9), GPUS) == "does not fit"
    assert pulls.fit_by_size(int(65e9), GPUS) == "partly fits"
    assert pulls.fit_by_size(5, ()) == "" == pulls.fit_by_size(0, GPUS)
