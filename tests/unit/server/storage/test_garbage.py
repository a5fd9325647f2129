"""What goes and what stays in a collection of garbage, and that exactly what is told goes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from server.storage import garbage
from server.storage.blobs import BlobWriter
from server.storage.config import ModelConfig
from server.storage.garbage import Ages, find_garbage
from server.storage.manifests import Layer
from server.storage.partials import PartialBlob, open_partial
from server.storage.store import ModelStore
from server.types.names import ModelName
from server.types.upkeep import GarbageItem
from tests.support.stores import digest_of, put
from tests.support.tiny_gguf import tiny_llama_bytes

DAY_S = 24 * 3600.0
WEIGHTS = tiny_llama_bytes()
DIGITS = "a" * 64


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    """A store with one model."""
    store = ModelStore(tmp_path / "models")
    layers = [Layer("model", put(store, WEIGHTS), len(WEIGHTS)), Layer("system", put(store, b"hi"), 2)]
    store.write_model(ModelName.parse("m"), ModelConfig(model_format="gguf"), layers)
    return store


def age(path: Path, seconds: float) -> Path:
    then = time.time() - seconds
    os.utime(path, (then, then))
    return path


def orphan(store: ModelStore, data: bytes, seconds: float) -> Path:
    return age(store.blob_path(put(store, data)), seconds)


def files(store: ModelStore) -> set[str]:
    return {path.relative_to(store.root).as_posix() for path in store.root.rglob("*") if path.is_file()}


def by_name(items: tuple[GarbageItem, ...]) -> dict[str, GarbageItem]:
    return {Path(item.name).name: item for item in items}


def test_a_clean_store_has_no_garbage(store: ModelStore) -> None:
    report = store.collect_garbage(0)
    assert (report.items, report.kept, report.note) == ((), (), "")
    assert store.find(ModelName.parse("m")).is_complete


def test_an_orphan_is_told_with_size_age_owner_and_reason_and_removed(store: ModelStore) -> None:
    path = orphan(store, tiny_llama_bytes(seed=1), 2 * DAY_S)
    before = files(store)
    told = store.collect_garbage(dry_run=True)
    assert files(store) == before
    report = store.collect_garbage()
    assert [item.name for item in report.items] == [item.name for item in told.items]
    (item,) = report.items
    assert (item.kind, item.name, item.reason) == ("blob", f"blobs/{path.name}", "no model needs it")
    assert item.what.startswith("weights: llama, ")
    assert item.size_bytes >= len(WEIGHTS)
    assert 2 * DAY_S <= item.age_s < 2 * DAY_S + 600
    assert item.owner
    assert before - files(store) == {item.name}
    assert report.size_bytes == item.size_bytes


def test_what_is_young_stays_whatever_age_is_asked_for(store: ModelStore) -> None:
    path = orphan(store, b"young", 60)
    report = store.collect_garbage(0)
    assert report.items == ()
    assert by_name(report.kept)[path.name].reason == "younger than 5 minutes: a model may be in the making"
    age(path, 400)
    assert store.collect_garbage().items == ()
    assert by_name(store.collect_garbage(0).items).keys() == {path.name}


def test_an_upload_that_waits_for_its_model_stays(store: ModelStore) -> None:
    path = orphan(store, b"uploaded", 10 * DAY_S)
    store.pin(digest_of(b"uploaded"))
    other = ModelStore(store.root)
    assert by_name(other.collect_garbage(0).kept)[path.name].reason == "uploaded, waits for its model"
    assert path.exists()


def test_unfinished_downloads_stay_for_a_week_and_go_as_one(store: ModelStore) -> None:
    parts = [f"sha256-{DIGITS}-partial", f"sha256-{DIGITS}-partial-0", f"sha256-{DIGITS}-partial-11"]
    paths = [store.paths.blobs / part for part in parts]
    for path in paths:
        path.write_bytes(b"x" * 5000)
        age(path, 6 * DAY_S)
    kept = store.collect_garbage().kept
    assert [(item.kind, item.reason) for item in kept] == [
        ("partial", "younger than 7 days: the download can go on")
    ]
    assert kept[0].owner.startswith("Ollama (")
    for path in paths[1:]:
        age(path, 8 * DAY_S)
    assert store.collect_garbage().items == ()
    age(paths[0], 8 * DAY_S)
    (item,) = store.collect_garbage().items
    assert item.reason == "unfinished download"
    assert not any(path.exists() for path in paths)


def test_age_applies_to_downloads_too(store: ModelStore) -> None:
    path = store.paths.blobs / f"sha256-{DIGITS}-partial"
    path.write_bytes(b"x")
    age(path, 3600)
    assert store.collect_garbage(1800).items
    assert not path.exists()


def test_remains_of_a_finished_download_go_after_an_hour(store: ModelStore) -> None:
    hexdigits = digest_of(WEIGHTS).removeprefix("sha256:")
    path = store.paths.blobs / f"sha256-{hexdigits}-partial-3"
    path.write_bytes(b"{}")
    age(path, 2 * 3600)
    (item,) = store.collect_garbage().items
    assert item.reason == "left over from a finished download"
    assert store.find(ModelName.parse("m")).is_complete


def test_files_of_a_writer_that_lives_stay_however_old(store: ModelStore) -> None:
    with BlobWriter(store.paths) as writer:
        writer.write(b"abc")
        (path,) = store.paths.temporary.iterdir()
        age(path, 30 * DAY_S)
        assert (
            by_name(ModelStore(store.root).collect_garbage(0).kept)[path.name].reason == "still being written"
        )
        blob = writer.commit()
    assert store.has_blob(blob.digest)


def test_files_of_a_process_that_was_killed_go(store: ModelStore) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "from server.storage.blobs import BlobWriter; from server.storage.paths import StorePaths\n"
        "writer = BlobWriter(StorePaths(Path(sys.argv[1]))); writer.open(); writer.write(b'x')\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, str(store.root)], check=False)
    (path,) = store.paths.temporary.iterdir()
    age(path, 60)
    (item,) = store.collect_garbage().items
    assert (item.kind, item.reason) == ("temporary", "left behind by a process that died")
    assert not path.exists()
    assert store.collect_garbage().items == ()


def test_prune_removes_files_of_dead_writers_too(store: ModelStore) -> None:
    path = store.paths.temporary / "blob-x"
    path.write_bytes(b"x")
    store.prune()
    assert path.exists()
    age(path, 60)
    store.prune()
    assert not path.exists()


def test_no_blob_goes_while_a_manifest_does_not_read_but_other_garbage_does(store: ModelStore) -> None:
    path = orphan(store, b"old", 10 * DAY_S)
    left = store.paths.temporary / "blob-x"
    left.write_bytes(b"x")
    age(left, DAY_S)
    broken = store.paths.manifest(ModelName.parse("broken"))
    broken.parent.mkdir(parents=True)
    broken.write_text("{")
    report = store.collect_garbage()
    assert [item.kind for item in report.items] == ["temporary"]
    assert "cannot be read and may need any blob" in report.note
    assert by_name(report.kept)[path.name].reason == report.note
    assert path.exists()


def test_a_store_whose_manifests_are_not_there_keeps_everything(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    path = orphan(store, b"old", 10 * DAY_S)
    report = store.collect_garbage()
    assert (report.items, report.note) == ((), "the store has no manifests")
    assert path.exists()


def test_downloads_of_our_own(store: ModelStore) -> None:
    digest = f"sha256:{DIGITS}"
    partial = open_partial(store.paths, digest, 1_000_000, "big:7b")
    assert partial is not None
    partial.write_at(memoryview(b"x" * 500_000), 0)
    partial.save(((0, 500_000),))
    path = orphan(store, b"finished layer of the same model", DAY_S)
    for file in store.paths.partials.iterdir():
        age(file, 8 * DAY_S)
    kept = by_name(store.collect_garbage(0).kept)
    assert kept[f"sha256-{DIGITS}"].reason == "being downloaded"
    assert kept[path.name].reason == "another program is downloading or making a model"
    partial.close()
    for file in store.paths.partials.iterdir():
        age(file, 6 * DAY_S)
    (item,) = store.collect_garbage().items
    assert item.kind == "blob"
    (item,) = store.collect_garbage().kept
    assert item.reason == "younger than 7 days: the download can go on"
    assert item.owner.startswith("olla pull big:7b (")
    assert item.what == "500000 of 1000000 bytes"
    assert 500_000 <= item.size_bytes < 700_000
    (item,) = store.collect_garbage(0).items
    assert item.name == f".olla/partial/sha256-{DIGITS}"
    assert list(store.paths.partials.iterdir()) == []


def test_cve_2025_44779_links_and_folders_are_not_followed_and_stay(
    store: ModelStore, tmp_path: Path
) -> None:
    """Nothing outside the store is removed by way of what lies in it."""
    outside = tmp_path / "outside"
    outside.write_bytes(b"precious")
    link = store.paths.blobs / f"sha256-{DIGITS}"
    link.symlink_to(outside)
    os.utime(link, (1, 1), follow_symlinks=False)
    folder = store.paths.blobs / f"sha256-{'b' * 64}"
    folder.mkdir()
    age(folder, 10 * DAY_S)
    assert store.collect_garbage().items == ()
    assert link.is_symlink()
    assert folder.is_dir()
    assert outside.read_bytes() == b"precious"


def test_a_download_that_ends_while_the_store_is_looked_at_is_none(
    store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = store.paths.partials / f"sha256-{'a' * 64}"
    partial = PartialBlob(
        digest=f"sha256:{'a' * 64}",
        model="m",
        total_bytes=3,
        completed_bytes=1,
        modified_at=0.0,
        is_in_use=False,
        files=(gone,),
    )
    monkeypatch.setattr(garbage, "list_partials", lambda _: (partial,))
    found = find_garbage(store.paths, frozenset(), frozenset(), 1e10, Ages())
    assert {candidate.item.kind for candidate in found} == {"blob"}
