"""Measurements as they are kept and shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from olla_tui.history.bench_book import BenchBook
from olla_tui.state import bench
from olla_tui.state.rows import plain
from tests.support.workstation_script import START
from tests.support.workstation_script import bench_entry as entry


def test_entries_are_read_as_they_were_written_and_bad_lines_left_out() -> None:
    entries = [entry(START + n) for n in range(3)]
    text = bench.write_entries(entries) + "{}\nnonsense\n"
    assert bench.read_entries(text) == entries[::-1]
    many = [entry(START + n) for n in range(bench.MAX_ENTRIES + 5)]
    kept = bench.read_entries(bench.write_entries(many))
    assert len(kept) == bench.MAX_ENTRIES and kept[0] == many[-1]


def test_a_change_is_told_against_the_measurement_before() -> None:
    first, other, second = entry(START), entry(START + 1, "n:latest", 9.0), entry(START + 2, decode=30.0)
    entries = [second, other, first]
    assert bench.change_text(second, entries) == ("-25%", "bad")
    assert bench.change_text(first, entries) == ("", "")
    assert bench.change_text(entry(START + 3, decode=30.3), entries) == ("+1%", "muted")


def test_figures_read_as_bars_from_short_to_long_prompts() -> None:
    lines = [plain(line) for line in bench.detail_rows(entry(), 80)]
    prompts = [line.split()[1] for line in lines if line.strip().startswith("prefill")]
    assert prompts == ["128", "512", "2048"]
    assert any("decode x8" in line and "120 tok/s" in line for line in lines)
    assert any("50% of the 80.0 tok/s" in line for line in lines)


@pytest.mark.parametrize("is_kept", [True, False])
def test_a_book_keeps_and_forgets(tmp_path: Path, is_kept: bool) -> None:
    path = tmp_path / "new" / "bench.jsonl"
    book = BenchBook(path if is_kept else None)
    assert book.load() == []
    book.add(entry(START))
    assert book.add(entry(START + 1))[0].measured_at == START + 1
    assert [one.measured_at for one in book.remove(entry(START).key)] == [START + 1]
    assert path.exists() == is_kept
    assert len(BenchBook(path).load()) == is_kept
