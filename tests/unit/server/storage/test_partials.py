from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from server.errors import StoreError
from server.storage import partials
from server.storage.partials import (
    PartialFile,
    free_bytes,
    list_partials,
    needed_bytes,
    open_partial,
    remove_partial,
)
from server.storage.paths import StorePaths

DIGEST = "sha256:" + "a" * 64
OTHER = "sha256:" + "b" * 64


@pytest.fixture
def paths(tmp_path: Path) -> StorePaths:
    return StorePaths(tmp_path)


def begin(paths: StorePaths, digest: str = DIGEST, total_bytes: int = 10) -> PartialFile:
    partial = open_partial(paths, digest, total_bytes, "m:latest")
    assert partial is not None
    return partial


def write(partial: PartialFile, data: bytes, offset: int) -> None:
    partial.write_at(memoryview(data), offset)


def test_what_was_saved_is_there_the_next_time(paths: StorePaths) -> None:
    partial = begin(paths)
    write(partial, b"abc", 2)
    partial.save(((2, 5),))
    partial.close()
    again = begin(paths)
    assert again.written == ((2, 5),)
    assert again.read_at(3, 2) == b"abc"
    assert needed_bytes(paths, DIGEST, 10) == 7
    again.close()


def test_after_a_start_of_the_machine_only_what_was_on_the_disk_counts(
    paths: StorePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    partial = begin(paths)
    write(partial, b"abc", 0)
    partial.sync(((0, 3),))
    partial.save(((0, 3), (5, 6)))
    partial.close()
    monkeypatch.setattr(partials, "_boot_id", lambda: "another start")
    again = begin(paths)
    assert again.written == ((0, 3),)
    again.close()


@pytest.mark.parametrize(
    "journal",
    [
        b"",
        b"[]",
        b"\xff",
        b'{"model":"m","total_bytes":10,"written":[[0,11]],"synced":[[0,11]]}',
        b'{"model":"m","total_bytes":10,"written":[],"synced":[[4,6],[5,7]]}',
        b'{"model":"m","total_bytes":10,"written":[],"synced":[[-1,2]]}',
        b'{"model":"m","total_bytes":11,"written":[],"synced":[[0,2]]}',
    ],
)
def test_a_journal_that_cannot_be_meant_starts_over(paths: StorePaths, journal: bytes) -> None:
    begin(paths).close()
    (paths.partials / ("sha256-" + "a" * 64 + ".json")).write_bytes(journal)
    again = begin(paths)
    assert again.written == ()
    again.close()


def test_a_journal_without_its_bytes_starts_over(paths: StorePaths) -> None:
    partial = begin(paths)
    partial.save(((0, 3),))
    partial.close()
    (paths.partials / ("sha256-" + "a" * 64)).unlink()
    again = begin(paths)
    assert again.written == ()
    again.close()


def test_nobody_else_can_fetch_or_remove_it_meanwhile(paths: StorePaths) -> None:
    partial = begin(paths)
    assert open_partial(paths, DIGEST, 10, "m") is None
    assert not remove_partial(paths, DIGEST)
    (listed,) = list_partials(paths)
    assert listed.is_in_use
    partial.close()
    (listed,) = list_partials(paths)
    assert not listed.is_in_use


def test_a_process_that_is_killed_lets_it_go(paths: StorePaths) -> None:
    script = (
        "import os, signal, sys; from pathlib import Path;"
        "from server.storage.partials import open_partial; from server.storage.paths import StorePaths;"
        f"p = open_partial(StorePaths(Path(sys.argv[1])), {DIGEST!r}, 10, 'm');"
        "p.write_at(memoryview(b'abc'), 0); p.save(((0, 3),)); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", script, str(paths.root)], check=False)
    again = begin(paths)
    assert again.written == ((0, 3),)
    assert again.read_at(3, 0) == b"abc"
    again.close()


def test_the_list_tells_what_a_download_is_for_and_how_far_it_is(paths: StorePaths) -> None:
    partial = begin(paths)
    partial.save(((0, 3), (5, 6)))
    partial.close()
    (listed,) = list_partials(paths)
    assert (listed.digest, listed.model, listed.total_bytes, listed.completed_bytes) == (
        DIGEST,
        "m:latest",
        10,
        4,
    )
    assert {file.name for file in listed.files} == {"sha256-" + "a" * 64, "sha256-" + "a" * 64 + ".json"}


def test_removed_it_is_gone_with_all_its_files(paths: StorePaths) -> None:
    for digest in (DIGEST, OTHER):
        partial = begin(paths, digest)
        partial.save(())
        partial.close()
    assert remove_partial(paths, DIGEST)
    assert remove_partial(paths, DIGEST)
    assert [partial.digest for partial in list_partials(paths)] == [OTHER]
    assert {file.name[:8] for file in paths.partials.iterdir()} == {"sha256-b"}


def test_whole_it_becomes_a_blob_and_leaves_nothing(paths: StorePaths) -> None:
    partial = begin(paths, total_bytes=3)
    write(partial, b"abc", 0)
    partial.save(((0, 3),))
    partial.make_blob(paths.blob(DIGEST))
    partial.close()
    assert paths.blob(DIGEST).read_bytes() == b"abc"
    assert paths.blob(DIGEST).stat().st_mode & 0o777 == 0o644
    assert list(paths.partials.iterdir()) == []


def test_a_link_in_its_place_is_not_followed(paths: StorePaths) -> None:
    paths.partials.mkdir(parents=True)
    victim = paths.root / "victim"
    victim.write_bytes(b"precious")
    (paths.partials / ("sha256-" + "a" * 64)).symlink_to(victim)
    with pytest.raises(StoreError):
        open_partial(paths, DIGEST, 3, "m")
    assert victim.read_bytes() == b"precious"


def test_room_is_that_of_the_disk_the_store_will_be_on(tmp_path: Path) -> None:
    status = os.statvfs(tmp_path)
    free = free_bytes(StorePaths(tmp_path / "not" / "there"))
    assert free is not None
    assert abs(free - status.f_bavail * status.f_frsize) < 1 << 30
