"""Downloads that an Ollama has begun: what its files say, and copying it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.storage import ollama_partials
from server.storage.ollama_partials import Adoption, list_ollama_partials
from server.storage.partials import PartialFile, open_partial
from server.storage.paths import StorePaths
from tests.support.ollama_download import begin_download
from tests.support.stores import digest_of

BLOB = bytes(range(256)) * 40
DIGEST = digest_of(BLOB)


@pytest.fixture
def paths(tmp_path: Path) -> StorePaths:
    return StorePaths(tmp_path)


def snapshot(paths: StorePaths) -> dict[str, tuple[bytes, int]]:
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in paths.blobs.iterdir()}


def begin(paths: StorePaths) -> PartialFile:
    partial = open_partial(paths, DIGEST, len(BLOB), "m:latest")
    assert partial is not None
    return partial


def test_a_download_is_what_its_parts_say(paths: StorePaths) -> None:
    begin_download(paths.blobs, BLOB, [(0, 4000, 4000), (4000, 4000, 100), (8000, 2240, 5)])
    (found,) = list_ollama_partials(paths)
    assert (found.digest, found.total_bytes) == (DIGEST, len(BLOB))
    assert (found.written, found.completed_bytes) == (((0, 4100), (8000, 8005)), 4105)
    assert len(found.files) == 4


def test_one_that_is_finished_is_none(paths: StorePaths) -> None:
    begin_download(paths.blobs, BLOB, [(0, 4000, 4000)])
    (paths.blobs / DIGEST.replace(":", "-")).write_bytes(BLOB)
    assert list_ollama_partials(paths) == ()


@pytest.mark.parametrize(
    "part",
    [
        {"Offset": -1, "Size": 5, "Completed": 5},
        {"Offset": 0, "Size": 5, "Completed": 6},
        {"Offset": 0, "Size": 5, "Completed": -1},
        {"Offset": 0, "Size": 1 << 62, "Completed": 1 << 62},
        {"Offset": 3000, "Size": 50, "Completed": 50},
    ],
)
def test_parts_that_cannot_be_are_not_believed(paths: StorePaths, part: dict[str, int]) -> None:
    begin_download(paths.blobs, BLOB, [(0, 4000, 4000)])
    (paths.blobs / f"{DIGEST.replace(':', '-')}-partial-1").write_text(json.dumps({"N": 1, **part}))
    (found,) = list_ollama_partials(paths)
    assert found.written == ()


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"Offset": "0"}', '{"Offset": 1e99, "Size": 1, "Completed": 1}']
)
def test_a_part_that_is_being_written_counts_as_nothing(paths: StorePaths, text: str) -> None:
    begin_download(paths.blobs, BLOB, [(0, 4000, 4000)])
    (paths.blobs / f"{DIGEST.replace(':', '-')}-partial-1").write_text(text)
    (found,) = list_ollama_partials(paths)
    assert found.written == ((0, 4000),)


def test_what_is_no_plain_file_is_left_alone(paths: StorePaths, tmp_path: Path) -> None:
    begin_download(paths.blobs, BLOB, [(0, 4000, 4000)])
    name = f"{DIGEST.replace(':', '-')}-partial"
    (paths.blobs / name).rename(tmp_path / "elsewhere")
    (paths.blobs / name).symlink_to(tmp_path / "elsewhere")
    os.mkfifo(paths.blobs / f"{name}-1")
    assert list_ollama_partials(paths) == ()


def test_what_is_there_is_copied_and_the_original_stays_as_it_is(paths: StorePaths) -> None:
    begin_download(paths.blobs, BLOB, [(0, 4000, 3000), (4000, 6240, 40)])
    before = snapshot(paths)
    partial = begin(paths)
    assert Adoption(paths, partial).run() == 3040
    assert partial.written == ((0, 3000), (4000, 4040))
    assert partial.read_at(3000, 0) == BLOB[:3000] and partial.read_at(40, 4000) == BLOB[4000:4040]
    partial.close()
    assert snapshot(paths) == before
    again = begin(paths)
    assert again.written == ((0, 3000), (4000, 4040)), "it outlives the process"
    assert Adoption(paths, again).run() == 0, "there is something of our own"
    again.close()


def test_one_of_another_length_is_left_alone(paths: StorePaths) -> None:
    begin_download(paths.blobs, BLOB, [(0, 4000, 3000)])
    with (paths.blobs / f"{DIGEST.replace(':', '-')}-partial").open("ab") as file:
        file.write(b"more")
    partial = begin(paths)
    assert Adoption(paths, partial).run() == 0
    partial.close()


def test_it_ends_when_it_is_told_to(paths: StorePaths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ollama_partials, "_PIECE_BYTES", 1000)
    begin_download(paths.blobs, BLOB, [(0, 4000, 4000)])
    partial = begin(paths)
    adoption = Adoption(paths, partial)
    write_at = partial.write_at

    def stop_after(data: Any, offset: int) -> None:
        write_at(data, offset)
        if offset == 1000:
            adoption.stop()

    monkeypatch.setattr(partial, "write_at", stop_after)
    assert adoption.run() == 2000
    assert partial.written == ((0, 2000),)
    partial.close()


@given(st.binary(max_size=200))
def test_any_bytes_are_a_part_or_none(raw: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        paths = StorePaths(Path(folder))
        begin_download(paths.blobs, BLOB, [])
        (paths.blobs / f"{DIGEST.replace(':', '-')}-partial-0").write_bytes(raw)
        (found,) = list_ollama_partials(paths)
        assert found.written == ()
