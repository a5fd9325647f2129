"""Blobs: digests, atomic writing, and what is left behind when it fails."""

from __future__ import annotations

import errno
import hashlib
import os
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.errors import BlobNotFound, DigestMismatch, DiskFull, InvalidRequest, StoreError
from server.storage.blobs import BlobWriter, is_blob, read_blob
from server.storage.paths import StorePaths, normal_digest

ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def leftovers(paths: StorePaths) -> list[Path]:
    return list(paths.temporary.iterdir()) if paths.temporary.exists() else []


@pytest.mark.parametrize("text", [f"sha256:{ABC}", f"sha256-{ABC}", f"sha256:{ABC.upper()}"])
def test_digest_forms(text: str) -> None:
    assert normal_digest(text) == f"sha256:{ABC}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nope",
        ABC,
        f"sha256:{ABC[:-1]}",
        f"sha256:{ABC}0",
        f"sha512:{ABC}",
        f"sha256:{ABC}\n",
        "sha256:../../x",
    ],
)
def test_other_digests_are_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match=r"^invalid digest format$"):
        normal_digest(text)


@given(st.text())
def test_no_digest_leads_out_of_the_store(text: str) -> None:
    paths = StorePaths(Path("/store"))
    try:
        path = paths.blob(text)
    except InvalidRequest:
        return
    assert path.parent == paths.blobs
    assert os.path.normpath(path) == str(path)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(pieces=st.lists(st.binary(max_size=200), max_size=5))
def test_a_blob_is_named_by_its_bytes(tmp_path: Path, pieces: list[bytes]) -> None:
    paths = StorePaths(tmp_path)
    with BlobWriter(paths) as writer:
        for piece in pieces:
            writer.write(piece)
        stored = writer.commit()
    data = b"".join(pieces)
    assert stored.digest == f"sha256:{hashlib.sha256(data).hexdigest()}"
    assert stored.size_bytes == len(data)
    assert read_blob(paths, stored.digest, 1 << 20) == data
    assert paths.blob(stored.digest).stat().st_mode & 0o777 == 0o644
    assert leftovers(paths) == []


def test_the_same_bytes_again_restart_the_grace(tmp_path: Path) -> None:
    paths = StorePaths(tmp_path)
    for expected in (True, False):
        with BlobWriter(paths) as writer:
            writer.write(b"abc")
            assert writer.commit(f"sha256:{ABC}").created is expected
        assert time.time() - paths.blob(f"sha256:{ABC}").stat().st_mtime < 60
        os.utime(paths.blob(f"sha256:{ABC}"), (0, 0))


def test_what_is_not_committed_is_gone(tmp_path: Path) -> None:
    paths = StorePaths(tmp_path)
    with pytest.raises(RuntimeError), BlobWriter(paths) as writer:
        writer.write(b"abc")
        assert len(leftovers(paths)) == 1
        raise RuntimeError
    assert leftovers(paths) == []
    assert not paths.blobs.exists()


def test_a_wrong_digest_is_told_in_ollamas_words(tmp_path: Path) -> None:
    paths = StorePaths(tmp_path)
    wrong = "sha256:" + "1" * 64
    with BlobWriter(paths) as writer:
        writer.write(b"abc")
        with pytest.raises(DigestMismatch) as caught:
            writer.commit(wrong)
    assert str(caught.value) == f'digest mismatch, expected "{wrong}", got "sha256:{ABC}"'
    assert is_blob(paths.blob(f"sha256:{ABC}"))
    assert not is_blob(paths.blob(wrong))
    assert leftovers(paths) == []


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = StorePaths(tmp_path)

    def full(descriptor: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with BlobWriter(paths) as writer:
        monkeypatch.setattr("server.storage.disk.os.write", full)
        with pytest.raises(DiskFull, match="no room left") as caught:
            writer.write(b"abc")
        assert caught.value.hint
    assert leftovers(paths) == []
    assert not paths.blobs.exists()


def test_a_store_below_a_file_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"), BlobWriter(StorePaths(tmp_path / "file")):
        pass


def test_symbolic_links_are_no_blobs(tmp_path: Path) -> None:
    paths = StorePaths(tmp_path)
    (tmp_path / "secret").write_bytes(b"abc")
    paths.blobs.mkdir()
    paths.blob(f"sha256:{ABC}").symlink_to(tmp_path / "secret")
    assert not is_blob(paths.blob(f"sha256:{ABC}"))
    with pytest.raises(BlobNotFound):
        read_blob(paths, f"sha256:{ABC}", 100)


def test_writing_replaces_a_link_and_not_its_target(tmp_path: Path) -> None:
    paths = StorePaths(tmp_path)
    (tmp_path / "other").write_bytes(b"other")
    paths.blobs.mkdir()
    paths.blob(f"sha256:{ABC}").symlink_to(tmp_path / "other")
    with BlobWriter(paths) as writer:
        writer.write(b"abc")
        writer.commit()
    assert (tmp_path / "other").read_bytes() == b"other"
    assert read_blob(paths, f"sha256:{ABC}", 100) == b"abc"


def test_a_small_read_is_bounded(tmp_path: Path) -> None:
    paths = StorePaths(tmp_path)
    with BlobWriter(paths) as writer:
        writer.write(b"abc")
        writer.commit()
    with pytest.raises(BlobNotFound, match="larger than 2 bytes"):
        read_blob(paths, f"sha256:{ABC}", 2)


def test_nothing_of_ours_lies_where_ollama_prunes(tmp_path: Path) -> None:
    paths = StorePaths(tmp_path)
    with BlobWriter(paths) as writer:
        writer.write(b"abc")
        assert [p.name for p in tmp_path.iterdir()] == [".olla"]
