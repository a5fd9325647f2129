"""The file of lines typed."""

from __future__ import annotations

import stat
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from olla_tui.cli.line_history import MAX_ENTRIES, LineHistory


def unexpected(warning: str) -> None:
    raise AssertionError(warning)


def reopened(path: Path) -> list[str]:
    return list(LineHistory(path, keeps=True, warn=unexpected).load_history_strings())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8), max_size=5))
def test_entries_come_back_newest_first(tmp_path: Path, entries: list[str]) -> None:
    path = tmp_path / "history"
    path.unlink(missing_ok=True)
    history = LineHistory(path, keeps=True, warn=unexpected)
    for entry in entries:
        history.store_string(entry)
    assert reopened(path) == entries[::-1]


def test_the_newest_hundred_are_kept_for_the_user_alone(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "history"
    history = LineHistory(path, keeps=True, warn=unexpected)
    for number in range(MAX_ENTRIES + 5):
        history.store_string(f"line {number}")
    assert reopened(path) == [f"line {number}" for number in range(MAX_ENTRIES + 4, 4, -1)]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_nothing_is_written_when_nothing_is_to_be_kept(tmp_path: Path) -> None:
    history = LineHistory(tmp_path / "history", keeps=False, warn=unexpected)
    history.store_string("secret")
    assert list(tmp_path.iterdir()) == []


def test_plain_lines_are_read_as_they_stand(tmp_path: Path) -> None:
    path = tmp_path / "history"
    path.write_text('Hi there\n"one\\ntwo"\n42\n')
    assert reopened(path) == ["42", "one\ntwo", "Hi there"]


def test_a_file_that_cannot_be_written_is_said_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    warnings: list[str] = []
    history = LineHistory(tmp_path / "file" / "history", keeps=True, warn=warnings.append)
    history.store_string("one")
    history.store_string("two")
    assert len(warnings) == 1
    assert "the history is not kept" in warnings[0]
